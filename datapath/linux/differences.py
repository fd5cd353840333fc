"""How the devices of a namespace differ from what was made of them.

Enters: ends as they shall be, a namespace as it is, the devices of which the kernel has told something. Leaves:
Differences. Never: a device of which nothing was told; one that never was there; what others have added to ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from datapath.drift import Difference
from datapath.linux import wiring
from datapath.linux.devices import Device, raw
from datapath.linux.host import Namespace
from datapath.linux.wiring import Bridge, DatapathType, End
from datapath.spec import HostSpec, Node, alias


def of_node(spec: HostSpec, node: Node, home: Namespace, datapath: DatapathType) -> Iterator[Difference]:
    """In the node itself."""
    news = home.devices.take_news()
    for interface in node.interfaces:
        end = wiring.node_end(spec, node, interface, datapath)
        yield from _of_end(f"interface {_name(spec.lab, end)}", end, home, news)
        for vlan in end.vlans:
            tagged = wiring.vlan_end(end, vlan)
            yield from _of_end(f"interface {_name(spec.lab, tagged)}", tagged, home, news)


def of_chassis(spec: HostSpec, home: Namespace, datapath: DatapathType) -> Iterator[Difference]:
    """The devices of a chassis' own namespace. A veth that is gone is told of where its other end was."""
    news = home.devices.take_news()
    for pair in wiring.chassis_pairs(spec, datapath):
        yield from _of_end(f"wire {_name(spec.lab, pair.near)}", pair.near, home, news)
    ends = [pair.near for node in spec.nodes for pair in wiring.node_pairs(spec, node, datapath)]
    for end in ends:
        if end.device in home.devices.by_name:
            yield from _of_end(f"bridge port of {_name(spec.lab, end)}", end, home, news)
    for tap in wiring.taps(spec, datapath):
        yield from _of_end(f"tap of {_name(spec.lab, tap)}", tap, home, news)


def of_vtep(spec: HostSpec, home: Namespace) -> Iterator[Difference]:
    """With the userspace datapath. The switch makes its device anew whenever it starts: of such a one nothing is
    missed."""
    end = wiring.underlay_end(spec)
    device = home.devices.by_name.get(end.device)
    if device is not None and end.device in home.devices.gone:
        if {raw(address) for address in end.addresses or ()} <= home.devices.addresses(device):
            del home.devices.gone[end.device]
    elif device is not None:
        yield from _of_end(f"vtep of {spec.chassis}", end, home, (end.device,))


def of_lab(bridges: Iterable[Bridge], specs: Iterable[HostSpec], home: Namespace) -> Iterator[tuple[str, Difference]]:
    """In the lab's own namespace, with the chassis concerned; '' where that is all of them."""
    news = home.devices.take_news()
    for bridge in bridges:
        end = End(bridge.namespace, bridge.device, bridge.alias, 0)
        yield from (("", each) for each in _of_end(f"bridge {bridge.device} of the lab", end, home, news))
    for spec in specs:
        for pair in wiring.chassis_pairs(spec, "system"):
            if pair.far.device in home.devices.by_name:
                label = f"wire {_name(spec.lab, pair.far)}"
                yield from ((spec.chassis, each) for each in _of_end(label, pair.far, home, news))


def _of_end(label: str, end: End, home: Namespace, news: Collection[str]) -> Iterator[Difference]:
    if end.device not in news:
        return
    device = home.devices.by_name.get(end.device)
    if device is None:
        if end.device in home.devices.gone:
            yield Difference(label, "removed")
        return
    if changes := ", ".join(_changes(end, device, home)):
        yield Difference(f"{label} ({changes})", "changed")
    for address in end.addresses or ():
        if (device.index, raw(address)) in home.devices.lost:
            yield Difference(f"address {address} of {label.removeprefix('interface ')}", "removed")
    if end.leads and end.gateway is not None and device.up and any(home.lead(end.alias, device.index, end.gateway)):
        yield Difference(f"default route by {end.gateway} of {label.removeprefix('interface ')}", "removed")


def _changes(end: End, device: Device, home: Namespace) -> Iterator[str]:
    if end.up and not device.up:
        yield "set down"
    if end.mtu not in (0, device.mtu):
        yield f"MTU {device.mtu} instead of {end.mtu}"
    if end.mac not in (None, device.mac) and end.up:
        yield f"MAC {device.mac} instead of {end.mac}"
    master = home.devices.by_name.get(end.master) if end.master else None
    if master is not None and master.index != device.master:
        yield f"out of bridge {end.master}"


def _name(lab: str, end: End) -> str:
    return end.alias.removeprefix(alias(lab, ""))


def of_repair(spec: HostSpec, journal: Iterable[str], home: Namespace) -> Iterator[Difference]:
    """Of a switch that puts itself right, by what it has sent to the kernel. What a node lacks is told of the node."""
    mark = alias(spec.lab, "")
    home.devices.take_news()
    lost = [each for each in spec.interfaces if each.bridge_port not in home.devices.by_name]
    missing = {alias(spec.lab, f"{each.node}:{each.name}") for each in lost}
    gone = {device.alias for device in home.devices.gone.values()}
    for about in dict.fromkeys(journal):
        if about not in missing:
            label = about.replace(f"{mark}{spec.chassis}:", "").replace(mark, "")
            yield Difference(f"{label} on {spec.chassis}", "removed" if about in gone else "changed")
