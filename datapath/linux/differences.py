"""How the devices of a namespace differ from what was made of them.

Enters: ends as they shall be, a namespace as it is, the devices of which the kernel has told something. Leaves:
Differences. Never: a device of which nothing was told; one that never was there; what others have added to ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from datapath.drift import Difference, changed
from datapath.linux import link_local, wiring
from datapath.linux.devices import Device, raw
from datapath.linux.host import Namespace
from datapath.linux.netlink import Message
from datapath.linux.wires import changes
from datapath.linux.wiring import Bridge, DatapathType, End
from datapath.spec import HostSpec, Node, alias


def of_node(spec: HostSpec, node: Node, home: Namespace, datapath: DatapathType) -> Iterator[Difference]:
    """In the node itself."""
    news = home.devices.take_news()
    yield from _of_end(f"interface {node.name}:{wiring.LOOPBACK}", wiring.loopback(spec, node), home, news)
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
    yield from changed(label, changes(end, device, home.devices))
    whose = label.removeprefix("interface ")
    for address in end.addresses or ():
        if (device.index, raw(address)) in home.devices.lost and (device.up or not end.is_loopback):
            yield Difference(f"address {address} of {whose}", "removed")
    own = link_local.lacking(home, device, end)
    if own and (device.index, raw(own)) in home.devices.lost:
        yield Difference(f"address {own} of {whose}", "removed")
    if device.up:
        yield from (Difference(each, "removed") for each in _lost_routes(whose, end, device, home))


def _lost_routes(whose: str, end: End, device: Device, home: Namespace) -> Iterator[str]:
    if end.addresses is not None and not end.is_loopback:
        for lost in home.lost_routes(device, end.addresses):
            yield f"route {lost.route.prefix} dev {end.device} of {whose}"
    if end.leads and end.gateway is not None and any(home.lead(end.alias, device.index, end.gateway)):
        yield f"default route by {end.gateway} of {whose}"


def _name(lab: str, end: End) -> str:
    return end.alias.removeprefix(alias(lab, ""))


def of_repair(spec: HostSpec, journal: Iterable[Message], home: Namespace) -> Iterator[Difference]:
    """Of a switch that puts itself right, by what it has sent to the kernel. What a node lacks is told of the node; of
    a device that was made anew not all that it has."""
    mark = alias(spec.lab, "")
    home.devices.take_news()
    lost = [each for each in spec.interfaces if each.bridge_port not in home.devices.by_name]
    missing = {alias(spec.lab, f"{each.node}:{each.name}") for each in lost}
    gone = {device.alias for device in home.devices.gone.values()}
    undone: dict[str, list[Message]] = defaultdict(list)
    for message in journal:
        undone[message.about.removeprefix("remove ")].append(message)
    for about, sent in undone.items():
        if about in missing:
            continue
        label = f"{about.replace(f'{mark}{spec.chassis}:', '').replace(mark, '')} on {spec.chassis}"
        if undoes := [each for message in sent for each in message.undoes if about not in gone]:
            yield from changed(label, undoes)
        else:
            yield Difference(label, "added" if all(message.how == "added" for message in sent) else "removed")
