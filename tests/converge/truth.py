"""What a running lab has against what its model says it must have, looked at from outside: switches, kernel, processes.

Enters: a lab. Leaves: everything that differs, in words. Never: what agent or controller think that they have done.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from datapath.linux.namespaces import names
from datapath.openflow.codec import FlowStats
from datapath.openflow.flow import Flow, FlowKey
from datapath.openflow.text import format_flow
from datapath.spec import INTEGRATION_BRIDGE, UNDERLAY_DEVICE, HostSpec, Node, namespace
from sdn.compile import host_specs
from sdn.lab import processes
from sdn.model import Model
from sdn.model.facts import Facts
from sdn.pipeline import flows
from sdn.pipeline.fields import Cookie, Kind
from sdn.southbound.client import connect
from tests.lab.labs import Lab, run

PAIR = ("ovsdb-server", "ovs-vswitchd")
Dump = Mapping[FlowKey, FlowStats]


def differences(lab: Lab) -> list[str]:
    """Empty where the lab is exactly what its model says."""
    model, facts = lab.model, lab.facts
    specs = host_specs(model, model.ports)
    return [
        *_flow_differences(lab, model, facts, list(specs)),
        *_compared("namespaces", set(namespaces_of(lab)), _namespaces(model, specs)),
        *_compared("directories of chassis", {p.parent.name for p in lab.run.path.glob("*/conf.db")}, set(specs)),
        *(found for spec in specs.values() for found in _chassis_differences(lab, spec)),
        *(found for spec in specs.values() for node in spec.nodes for found in _node_differences(node)),
        *_lab_differences(lab, specs.values()),
    ]


def _compared(what: str, observed: set[Any], desired: set[Any]) -> list[str]:
    more, less = sorted(map(str, observed - desired)), sorted(map(str, desired - observed))
    return [f"{what}: {', '.join(more)} too many"] * bool(more) + [f"{what}: {', '.join(less)} missing"] * bool(less)


# ── switches ──


def _flow_differences(lab: Lab, model: Model, facts: Facts, chassis: list[str]) -> list[str]:
    dumps = asyncio.run(_dumps(lab, chassis))
    found: list[str] = []
    for name, dump in dumps.items():
        observed = {stats.flow for stats in dump.values() if _ours(stats.flow)}
        desired = set(flows(model, name, facts))
        found += [f"{name}: too many: {format_flow(flow)}" for flow in observed - desired]
        found += [f"{name}: missing: {format_flow(flow)}" for flow in desired - observed]
    return found


def _ours(flow: Flow) -> bool:
    """Not learned by the switch, not somebody else's."""
    about = Cookie.unpack(flow.cookie)
    return about is not None and about.kind is not Kind.LEARNED


async def _dumps(lab: Lab, chassis: list[str]) -> dict[str, Dump]:
    return dict(zip(chassis, await asyncio.gather(*(_dump(lab, name) for name in chassis)), strict=True))


async def _dump(lab: Lab, chassis: str) -> Dump:
    async with connect(lab.chassis_dir(chassis) / f"{INTEGRATION_BRIDGE}.mgmt", name=chassis) as switch:
        return await switch.dump()


def _chassis_differences(lab: Lab, spec: HostSpec) -> Iterator[str]:
    devices = {interface.bridge_port for interface in spec.interfaces} | {uplink.bridge_port for uplink in spec.uplinks}
    yield from _compared(f"veths of {spec.chassis}", set(links(spec.namespace, "veth")), devices | {UNDERLAY_DEVICE})
    asked = {interface.bridge_port: interface.ofport for interface in spec.interfaces}
    asked |= {port.bridge_port: port.ofport for port in (*spec.uplinks, *spec.tunnels)}
    yield from _compared(f"ports of {spec.chassis}", set(ports(lab, spec.chassis).items()), set(asked.items()))
    for daemon in PAIR:
        pid = int((lab.chassis_dir(spec.chassis) / f"{daemon}.pid").read_text())
        if not processes.exists(pid):
            yield f"{daemon} of {spec.chassis} does not run"


def ports(lab: Lab, chassis: str) -> dict[str, int]:
    """OpenFlow ports of the integration bridge that are marked as the lab's, by name; not the bridge's own."""
    columns = "--columns=name,ofport,external_ids"
    table = json.loads(lab.vsctl(chassis, "--format=json", columns, "list", "Interface"))
    on_bridge = set(lab.vsctl(chassis, "list-ports", INTEGRATION_BRIDGE).split())
    return {name: ofport for name, ofport, ids in table["data"] if name in on_bridge and ["sdn", lab.name] in ids[1]}


# ── kernel ──


def namespaces_of(lab: Lab) -> list[str]:
    """Every one whose name is the lab's or begins with it, whoever made it."""
    home = namespace(lab.name)
    return [name for name in names(home) if name == home or name.startswith(f"{home}-")]


def _namespaces(model: Model, specs: Mapping[str, HostSpec]) -> set[str]:
    nodes = {node.namespace for spec in specs.values() for node in spec.nodes}
    return {namespace(model.lab), *(spec.namespace for spec in specs.values()), *nodes}


def links(where: str, kind: str = "") -> dict[str, Any]:
    """Devices of a namespace with their addresses, by name; none where there is no namespace."""
    if where not in names(where):
        return {}
    selection = ["type", kind] if kind else []
    found = json.loads(run("ip", "-n", where, "-json", "-details", "address", "show", *selection) or "[]")
    return {link["ifname"]: link for link in found if link}  # iproute2 prints {} for what it leaves out


def _node_differences(node: Node) -> Iterator[str]:
    desired = set(_devices(node))
    observed = {
        (name, link["mtu"], link["address"], "UP" in link["flags"], frozenset(_addresses(link)))
        for name, link in links(node.namespace).items()
        if name != "lo" and not name.startswith("tag-")
    }
    yield from _compared(f"devices of {node.name}", observed, desired)


def _devices(node: Node) -> Iterator[tuple[str, int, str, bool, frozenset[str]]]:
    for interface in node.interfaces:
        mac = str(interface.mac)
        yield interface.name, interface.mtu, mac, True, frozenset(map(str, interface.addresses))
        for vlan in interface.vlans:
            yield f"{interface.name}.{vlan.tag}", vlan.mtu, mac, True, frozenset(map(str, vlan.addresses))


def _addresses(link: dict[str, Any]) -> Iterator[str]:
    for address in link["addr_info"]:
        if address["scope"] != "link":
            yield f"{address['local']}/{address['prefixlen']}"


def _lab_differences(lab: Lab, specs: Iterable[HostSpec]) -> Iterator[str]:
    """In the lab's own namespace: a bridge for each physical network, a cable for each uplink and each underlay."""
    home = lab.namespace()
    bridges = {"underlay"} | {uplink.lab_bridge for spec in specs for uplink in spec.uplinks}
    yield from _compared("bridges", set(links(home, "bridge")), bridges)
    masters = [link.get("master") for link in links(home, "veth").values()]
    for bridge in bridges:
        wanted = sum(bridge == "underlay" or bridge in {u.lab_bridge for u in spec.uplinks} for spec in specs)
        if masters.count(bridge) != wanted:
            yield f"{bridge}: {masters.count(bridge)} cables instead of {wanted}"
    if None in masters:
        yield "a cable without a bridge in the lab's namespace"
