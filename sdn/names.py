"""Names for the numbers in flows: tables, registers, ports, the object behind a cookie and its line in the file. PURE.

Enters: Model and the chassis looked at. Leaves: `Names`, which `datapath.openflow.text` and the trace print by.
"""

from __future__ import annotations

from functools import partial

from datapath.openflow.text import Names
from datapath.spec import TUNNEL_OFPORT
from sdn.model import Model, Source
from sdn.pipeline.fields import (
    FLAG_NAMES,
    FLAGS,
    FLOOD,
    INPORT,
    NETWORK,
    OUTPORT,
    REGISTER_NAMES,
    UPLINK,
    USER_MARK,
    Cookie,
    Kind,
)
from sdn.pipeline.layout import Table

_PLACES = {0: "nowhere", FLOOD: "flood", UPLINK: "uplink", **{number: kind for kind, number in TUNNEL_OFPORT.items()}}


def names(model: Model, chassis: str = "") -> Names:
    """How flows of `chassis` print; without one, OpenFlow port numbers of nodes stay numbers."""
    objects = {
        Kind.CHASSIS: {item.id: (item.name, item.source) for item in model.chassis.values()},
        Kind.NETWORK: {item.id: (item.name, item.source) for item in model.networks.values()},
        Kind.PORT: {item.id: (item.name, item.source) for item in model.ports.values()},
    }
    return Names(
        table=table_name,
        fields=REGISTER_NAMES,
        value=partial(_value, objects),
        flags={FLAGS: FLAG_NAMES},
        port=_ofports(model, chassis).get,
        cookie=partial(_about, objects),
    )


def whose(known: Names, cookie: int) -> str:
    """Why a flow is there, or who has put it there."""
    return known.cookie(cookie) or ("yours, by REST" if cookie >> 48 == USER_MARK else "not ours")


def table_name(number: int) -> str:
    """A table that is not ours keeps its number."""
    return Table(number).label if number in Table._value2member_map_ else str(number)


_Objects = dict[Kind, dict[int, tuple[str, Source]]]


def _value(objects: _Objects, field: str, value: int) -> str | None:
    if field == NETWORK:
        return objects[Kind.NETWORK].get(value, (None,))[0]
    if field == "tun_id":
        return str(value)
    if field in (INPORT, OUTPORT):
        return _PLACES.get(value) or objects[Kind.PORT].get(value, (None,))[0]
    return None


def _ofports(model: Model, chassis: str) -> dict[int, str]:
    """Ports of one trunk share a number, and then the interface's name without a tag."""
    ports = {port.ofport: f"{port.node}:{port.interface}" for port in model.ports.values() if port.chassis == chassis}
    uplinks = {physnet.ofport: physnet.name for physnet in model.physnets.values()}
    return {**{number: kind for kind, number in TUNNEL_OFPORT.items()}, **uplinks, **ports}


def _about(objects: _Objects, number: int) -> str | None:
    """`port web1:eth0 (overlay.yaml:12:3)`; None for a flow that is not ours."""
    cookie = Cookie.unpack(number)
    if cookie is None:
        return None
    kind = Kind.NETWORK if cookie.kind is Kind.LEARNED else cookie.kind
    name, source = objects[kind].get(cookie.id, (None, None))
    label = "learned in" if cookie.kind is Kind.LEARNED else cookie.kind.name.lower()
    return f"{label} {name} ({source})" if name else f"{label} {cookie.id} (not in the model)"
