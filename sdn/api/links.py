"""Links: what connects two things of the lab: a port's interface, a tunnel between two chassis, an uplink.

Enters: the model and its facts. Leaves: `sdn.links`, with whether each is up and by which names it is counted. Never: a
write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sdn import links
from sdn.api.derived import BOOLEAN, STRING, STRINGS, Derived
from sdn.api.lists import Item
from sdn.api.live import Live
from sdn.api.samples import Outlet
from sdn.links import Link
from sdn.model import Chassis, Model
from sdn.model.facts import Facts, FlowFacts, HostFacts, PortFacts


def all_links(live: Live) -> dict[str, Item]:
    model, facts = live.model, live.facts
    carried = _up_by_interface(model, facts)
    return {name: _link(model, facts, link, carried) for name, link in links.links(model).items()}


def _link(model: Model, facts: Facts, link: Link, carried: Mapping[str, bool]) -> Item:
    up = carried[link.name] if link.kind == "port" else _works(model, facts, link)
    return {
        "name": link.name,
        "kind": link.kind,
        "medium": link.medium or None,
        "ends": [{"kind": end.kind, "name": end.name, "port": end.port} for end in link.ends],
        "networks": list(link.networks),
        "chassis": _chassis_of(model, link),
        "up": up,
        "counters": list(_counted_at(model, link)),
    }


def _counted_at(model: Model, link: Link) -> Iterator[str]:
    """Under which names /v1/counters has it: a tunnel at both ends, where others may be counted with it."""
    if link.kind != "tunnel":
        yield link.name
        return
    ends = [end.name for end in link.ends]
    for here, there in (ends, reversed(ends)):
        chassis = model.chassis[here]
        if not chassis.ours:
            continue
        names = [""] if chassis.has_tables else link.networks
        peer = there if link.medium == "nvgre" and not chassis.has_tables else ""
        yield from (Outlet(here, "tunnel", link.medium, network, peer).label for network in names)


def _chassis_of(model: Model, link: Link) -> list[str]:
    chassis = {end.name for end in link.ends if end.kind == "chassis"}
    return sorted(chassis | {model.nodes[end.name].chassis for end in link.ends if end.kind == "node"})


def _up_by_interface(model: Model, facts: Facts) -> dict[str, bool]:
    """An interface is up when all ports on it are."""
    found: dict[str, bool] = {}
    for port in model.ports.values():
        name = links.of_port(port)
        found[name] = found.get(name, True) and facts.ports.get(port.name, PortFacts()).up
    return found


def _works(model: Model, facts: Facts, link: Link) -> bool:
    """Whether those of its chassis that are ours have built it, and their switches know what to do with it."""
    ours = (model.chassis[end.name] for end in link.ends if end.kind == "chassis" and model.chassis[end.name].ours)
    return all(_is_built(facts, chassis) for chassis in ours)


def _is_built(facts: Facts, chassis: Chassis) -> bool:
    host, flows = facts.hosts.get(chassis.name, HostFacts()), facts.flows.get(chassis.name, FlowFacts())
    is_programmed = not chassis.has_tables or (flows.connected and flows.revision > 0 and not flows.error)
    return host.revision > 0 and not host.errors and is_programmed


LINKS: Final = Derived(
    "links",
    "link",
    all_links,
    {
        "type": "object",
        "required": ["name", "kind", "medium", "ends", "networks", "chassis", "up", "counters"],
        "properties": {
            "name": {**STRING, "examples": ["web1:eth0", "hv1--hv2/vxlan", "hv1--office"]},
            "kind": {"type": "string", "enum": ["port", "tunnel", "uplink"]},
            "medium": {"type": ["string", "null"], "description": "Of a tunnel its encapsulation."},
            "ends": {
                "type": "array",
                "minItems": 2,
                "maxItems": 2,
                "items": {
                    "type": "object",
                    "required": ["kind", "name", "port"],
                    "properties": {
                        "kind": {"type": "string", "enum": ["node", "chassis", "physnet"]},
                        "name": STRING,
                        "port": {"type": ["string", "integer", "null"], "description": "Interface, or bridge port."},
                    },
                },
            },
            "networks": STRINGS,
            "chassis": STRINGS,
            "up": BOOLEAN,
            "counters": {**STRINGS, "description": "Its names in /v1/counters; a tunnel has one at each end."},
        },
    },
    ("kind", "networks", "chassis", "up", "medium"),
)
