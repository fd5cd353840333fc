"""What a write to a resource comes to: edits of the topology's entries.

Enters: a Model, a kind, a name, what was sent. Leaves: Edits for `sdn.topology.edit`. Never: a look at what was sent
beyond its shape: the file's own checks do that, in the file's words.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final

from datapath.addr import IPNetwork
from datapath.errors import FileError
from sdn.api import ports
from sdn.api.resources import GIVEN, Kind
from sdn.model import Model
from sdn.topology import written
from sdn.topology.edit import Edits
from sdn.topology.values import parse_subnet

Fields = dict[str, Any]

_SEVERAL: Final = {"nodes": "ports", "guests": "nics"}
_ATTACHING: Final = ("network", "trunk", "ip")
"""An interface that gets another network gets another address."""
_NETWORKS: Final = ("network", "trunk")
_OF_INTERFACE: Final = (*_ATTACHING, "mac", "allowed_addresses", "spoof_guard", "macvlan", "macvtap", "dhcp")
"""Words that a node with one interface has for itself."""


def replaced(model: Model, kind: Kind, name: str, fields: Fields) -> Edits:
    """The resource with these fields and no others."""
    entry = {key: value for key, value in fields.items() if key not in GIVEN}
    if not kind.section:
        return ports.with_port(model, name, entry)
    _check_name(kind, name)
    rehomed = _rehomed(model, name, entry) if kind.section == "networks" and name in model.networks else {}
    return {**rehomed, (kind.section, name): entry}


def patched(model: Model, kind: Kind, name: str, patch: Fields) -> Edits:
    """The resource with a JSON merge patch applied (RFC 7396). Null is what the file does not say: left to sdn."""
    entry, rest = kind.entry(model, name), {key: value for key, value in patch.items() if key not in GIVEN}
    for key in _left_open(kind, rest):
        entry.pop(key, None)
    if kind.section in _SEVERAL:
        entry, rest = _with_interface(entry, rest, _SEVERAL[kind.section])
    return replaced(model, kind, name, merged(entry, rest))


def _with_interface(entry: Fields, patch: Fields, several: str) -> tuple[Fields, Fields]:
    """The entry with what the patch says of its only interface, and the rest of the patch. Where there are several
    interfaces, the file's checks say that such words do not stand beside them."""
    given = {key: patch[key] for key in _OF_INTERFACE if key in patch}
    if not given or several in patch or len(entry[several]) != 1:
        return entry, patch
    (only,) = entry[several]
    left = {key: value for key, value in only.items() if key not in _ATTACHING or given.keys().isdisjoint(_NETWORKS)}
    rest = {key: value for key, value in patch.items() if key not in given}
    return {**entry, several: [merged(left, given)]}, rest


def removed(model: Model, kind: Kind, name: str) -> Edits:
    return {(kind.section, name): None} if kind.section else ports.without_port(model, name)


def merged(value: Any, patch: Any) -> Any:
    """RFC 7396 section 2."""
    if not isinstance(patch, dict):
        return patch
    found = dict(value) if isinstance(value, dict) else {}
    for key, each in patch.items():
        if each is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), each)
    return found


def _left_open(kind: Kind, patch: Fields) -> set[str]:
    """What a new value leaves to be chosen anew, unless the patch says that too: an address is one of its network."""
    found: set[str] = set()
    if kind.path == "ports" and "network" in patch:
        found = {"ip"}
    elif kind.path == "networks" and "segment" in patch:
        found = {"mtu", "unknown_unicast", "segment"}
    elif kind.path == "networks" and patch.keys() & {"subnet", "subnets"}:
        found = {"subnets"}
    elif kind.path == "tests" and patch.keys() & {"ping", "tcp", "udp"}:
        found = {"ping", "tcp", "udp", "expect"}
    return found


def _rehomed(model: Model, name: str, entry: Fields) -> dict[tuple[str, str], Any]:
    """Ports whose address is in none of the network's new subnets get another: their entries no longer say it."""
    subnets = _subnets(entry)
    homeless = {
        port.node for port in model.ports_of[name] if any(all(ip not in each for each in subnets) for ip in port.ips)
    }
    found: dict[tuple[str, str], Any] = {}
    for node in homeless:
        section = "guests" if node in model.guests else "nodes"
        node_entry = written.entry(model, section, node)
        for interface in node_entry["nics" if section == "guests" else "ports"]:
            for link in (interface, *interface.get("trunk", {}).values()):
                if link.get("network") == name:
                    link["ip"] = [ip for ip in link["ip"] if any(ip_address(ip) in each for each in subnets)]
                    _drop_empty(link)
        found[section, node] = node_entry
    return found


def _drop_empty(link: Fields) -> None:
    if not link["ip"]:
        del link["ip"]


def _subnets(entry: Fields) -> list[IPNetwork]:
    """As the file's check reads them. What is none is refused by the check of the whole entry (422), with its place and
    every other mistake: then nothing is stored, and where ports would have gone does not matter."""
    several = entry.get("subnets")
    found: list[IPNetwork] = []
    for text in several if isinstance(several, list) else [entry.get("subnet")]:
        with suppress(ValueError):
            found.append(parse_subnet(text))
    return found


def _check_name(kind: Kind, name: str) -> None:
    """A range would be several resources."""
    if "[" in name and kind.section != "tests":
        raise FileError(f"'{name}' is a range", remedy=f"create one {kind.noun} after the other, or PUT /v1/topology")
