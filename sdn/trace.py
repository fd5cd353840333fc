"""Follow a packet through the tables of every chassis on its way. PURE, but for what `observed` reads.

Enters: Model and a packet at a port; of a lab that runs, also what its switches really have. Leaves: hops, each with
the tables and flows it met, and a verdict that names the chassis, table and flow which dropped it, and the line of the
topology file behind that flow, or that it is not the lab's. Never: a real packet.

Tables are run by our own interpreter, which a test holds to `ofproto/trace`. Where no switch is asked, or it does not
say, they are those that the controller programs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from typing import Final

from datapath.addr import IPAddress, IPNetwork, Mac
from datapath.errors import FileError, TransientError
from datapath.openflow.flow import Flow
from datapath.openflow.interpreter import Sent, Tables
from datapath.openflow.oxm import VLAN_PRESENT
from datapath.openflow.packet import ARP, IPV4, IPV6, SOLICITATION, Packet
from datapath.openflow.text import Names
from datapath.spec import TUNNEL_OFPORT
from sdn import links
from sdn.model import Chassis, Model, Port
from sdn.model.facts import Facts, FlowFacts
from sdn.names import names
from sdn.pipeline import flows
from sdn.pipeline.fields import NETWORK
from sdn.way import Hop, Place, Trace, shown, verdict

MAX_HOPS: Final = 64
BROADCAST: Final = (1 << 48) - 1
_PROTOCOLS: Final = {"icmp": 1, "tcp": 6, "udp": 17, "icmp6": 58}
_TUNNELS: Final = {ofport: kind for kind, ofport in TUNNEL_OFPORT.items()}
EPHEMERAL: Final = 49152  # RFC 6335 section 6: a source port as a client's system would choose


BRIDGES: Final = "bridges and nftables rules of the kernel, which do what these tables say"
"""The pipeline is the specification of every datapath, so a chassis without tables is traced by it too."""

Observed = Callable[[str], Iterable[Flow]]
"""The flows that a chassis' switch has now. Raises TransientError where it does not say."""


def endpoints(model: Model, source: str, target: str) -> tuple[Port, Port | IPAddress]:
    """The ports that two names mean: a node, a port, or for the target an address.

    Of nodes with several ports, the first pair in one network is taken. Raises FileError.
    """
    from ipaddress import ip_address

    sources = _ports_called(model, source)
    if not sources:
        raise FileError(f"there is no node or port '{source}'", remedy=_known(model))
    targets = _ports_called(model, target)
    if not targets:
        try:
            address = ip_address(target)
        except ValueError:
            raise FileError(
                f"there is no node or port '{target}', and it is no address", remedy=_known(model)
            ) from None
        owner = _owner(model, sources, address)
        if owner:
            return owner
        _check_network(model, source, sources, address)
        asking = (a for a in sources if any(_holds(subnet, address) for subnet in model.networks[a.network].subnets))
        return next(asking), address
    pairs = ((a, b) for a in sources for b in targets if a.network == b.network and a.name != b.name)
    return next(pairs, (sources[0], targets[0]))


def _ports_called(model: Model, name: str) -> list[Port]:
    return [port for port in model.ports.values() if name in (port.name, port.node)]


def _owner(model: Model, sources: list[Port], address: IPAddress) -> tuple[Port, Port] | None:
    """Who has an address: as its own, else as one that it may send from too."""
    peers = [(a, b) for a in sources for b in model.ports.values() if b.network == a.network and a.name != b.name]
    owns = (pair for pair in peers if address in pair[1].ips)
    may = (pair for pair in peers if any(_holds(allowed.subnet, address) for allowed in pair[1].allowed))
    return next(owns, None) or next(may, None)


def _holds(subnet: IPNetwork, address: IPAddress) -> bool:
    return subnet.version == address.version and address in subnet


def _check_network(model: Model, source: str, sources: list[Port], address: IPAddress) -> None:
    """Raises FileError where nobody would ask for the address: no network of the source has it."""
    own = [model.networks[port.network] for port in sources]
    if not any(_holds(subnet, address) for network in own for subnet in network.subnets):
        has = ", ".join(dict.fromkeys(f"{n.name} {subnet}" for n in own for subnet in n.subnets)) or "no subnet"
        raise FileError(f"no network of {source} has {address}", remedy=f"it is in: {has}")


def _known(model: Model) -> str:
    some = list(model.nodes)[:8]
    return f"nodes are: {', '.join(some)}{', …' if len(model.nodes) > len(some) else ''}"


def trace(
    fabric: Fabric | Model,
    source: Port,
    target: Port | IPAddress,
    protocol: str = "icmp",
    port: int = 0,
    version: int = 0,
) -> Trace:
    """Send a packet from `source` to `target`: `protocol` is icmp, tcp, udp or arp, `port` the destination port.

    `version` is the IP version, by default one that both ends have. An address that no port of the network has is
    asked for by ARP or ND, as a node would do. Raises FileError where no such packet can be made.
    """
    asked = fabric if isinstance(fabric, Fabric) else Fabric(fabric)
    return _followed(asked, source, target, packet_between(source, target, protocol, port, version))


def answer(
    fabric: Fabric, source: Port, target: Port, protocol: str = "icmp", port: int = 0, version: int = 0
) -> Trace:
    """What `target` sends back when it has got such a packet from `source`."""
    return _followed(fabric, target, source, _answer_to(packet_between(source, target, protocol, port, version)))


_TURNED: Final = ("eth", "ipv4", "ipv6", "tcp", "udp")
_ECHO_REPLY: Final = {"icmp_type": 0, "icmpv6_type": 129}  # RFC 792, RFC 4443 section 4.2


def _answer_to(packet: Packet) -> Packet:
    turned = dict(packet)
    for layer in _TURNED:
        if f"{layer}_src" in packet:
            turned[f"{layer}_src"], turned[f"{layer}_dst"] = packet[f"{layer}_dst"], packet[f"{layer}_src"]
    return turned | {name: reply for name, reply in _ECHO_REPLY.items() if name in packet}


def _followed(fabric: Fabric, source: Port, target: Port | IPAddress, packet: Packet) -> Trace:
    model = fabric.model
    hops, delivered = fabric.send(source, packet)
    name = target.name if isinstance(target, Port) else str(target)
    answered = _is_question(packet) and source.name in delivered
    reached = answered or name in delivered
    words = verdict(hops, delivered, name, answered, reached)
    if reached and not answered and isinstance(target, Port) and model.chassis[target.chassis].datapath == "external":
        words = f"delivered to {name} on {target.chassis}, which is external: what it does there is not ours to know"
    if isinstance(target, Port) and source.network != target.network:
        words = f"{source.node} and {target.node} share no network{_by_gateway(model, source)}; sent anyway: {words}"
    return Trace(tuple(hops), tuple(delivered), name, words, reached)


def _by_gateway(model: Model, source: Port) -> str:
    """What else leads out of the source's network: that is routed by a kernel, and not followed."""
    forward = model.networks[source.network].forward
    if forward is None or forward.mode == "isolated":
        return ""
    return f", and {forward.gateway.ip} on {source.chassis} leads into {forward.physnet} ({forward.mode}), not traced"


def packet_between(source: Port, target: Port | IPAddress, protocol: str, port: int = 0, version: int = 0) -> Packet:
    """The fields of a packet as the source's system would send it."""
    ours, theirs = _addresses(source, target, version)
    if protocol == "arp" or not isinstance(target, Port):
        return _question(source, ours, theirs)
    return {
        "eth_src": int(source.mac),
        "eth_dst": int(target.mac),
        **_ip_fields(ours, theirs),
        **_transport_fields(protocol, port, ours.version),
    }


def _addresses(source: Port, target: Port | IPAddress, version: int) -> tuple[IPAddress, IPAddress]:
    theirs = target.ips if isinstance(target, Port) else (target,)
    pairs = [(a, b) for a in source.ips for b in theirs if a.version == b.version and version in (0, a.version)]
    if pairs:
        return pairs[0]
    if isinstance(target, Port) and version == 0:  # ports without addresses still exchange frames
        return IPv4Address(0), IPv4Address(0)
    wanted = f"IPv{version} " if version else ""
    raise FileError(f"{source.name} has no {wanted}address that can talk to {target if version == 0 else 'the target'}")


def _ip_fields(ours: IPAddress, theirs: IPAddress) -> Packet:
    if ours.version == 4:
        return {"eth_type": IPV4, "ipv4_src": int(ours), "ipv4_dst": int(theirs), "nw_ttl": 64}
    return {"eth_type": IPV6, "ipv6_src": int(ours), "ipv6_dst": int(theirs), "nw_ttl": 64}


def _transport_fields(protocol: str, port: int, version: int) -> Packet:
    if protocol not in _PROTOCOLS:
        raise FileError(f"cannot trace '{protocol}'", remedy="expected icmp, arp, tcp/PORT or udp/PORT")
    if protocol == "icmp":
        return {"ip_proto": 1, "icmp_type": 8} if version == 4 else {"ip_proto": 58, "icmpv6_type": 128}
    return {"ip_proto": _PROTOCOLS[protocol], f"{protocol}_src": EPHEMERAL, f"{protocol}_dst": port}


def _question(source: Port, ours: IPAddress, theirs: IPAddress) -> Packet:
    """An ARP request (RFC 826) or a neighbour solicitation (RFC 4861 section 4.3) for an address."""
    if ours.version == 4:
        return {
            "eth_src": int(source.mac),
            "eth_dst": BROADCAST,
            "eth_type": ARP,
            "arp_op": 1,
            "arp_sha": int(source.mac),
            "arp_spa": int(ours),
            "arp_tpa": int(theirs),
        }
    return {
        "eth_src": int(source.mac),
        "eth_dst": 0x3333_FF00_0000 | int(theirs) & 0xFFFFFF,  # RFC 2464 section 7 and RFC 4291 section 2.7.1
        "eth_type": IPV6,
        "ip_proto": 58,
        "ipv6_src": int(ours),
        "ipv6_dst": 0xFF02_0000_0000_0000_0000_0001_FF00_0000 | int(theirs) & 0xFFFFFF,
        "nw_ttl": 255,
        "icmpv6_type": SOLICITATION,
        "nd_target": int(theirs),
        "nd_sll": int(source.mac),
        "nd_options_type": 1,
    }


def _is_question(packet: Packet) -> bool:
    return packet["eth_type"] == ARP or packet.get("icmpv6_type") == SOLICITATION


class Fabric:
    """The tables of all chassis and the cables between them; read, or compiled, when a packet first needs them."""

    def __init__(self, model: Model, observed: Observed | None = None, facts: Facts | None = None) -> None:
        """Without `observed` the tables are those that the model says. A switch is not asked where it does not answer
        the controller either, by `facts`."""
        self.model = model
        self._observed = observed
        self._facts = facts or Facts()
        self._unread: dict[str, str] = {}
        self._tables: dict[str, Tables] = {}
        self._names: dict[str, Names] = {}
        self._by_vtep = {int(chassis.vtep.ip): chassis for chassis in model.chassis.values()}
        self._by_ofport: dict[tuple[str, int, int], Port] = {
            (port.chassis, port.ofport, VLAN_PRESENT | port.tag if port.tag else 0): port
            for port in model.ports.values()
        }
        self._physnet_of = {physnet.ofport: physnet.name for physnet in model.physnets.values()}

    def send(self, source: Port, packet: Packet) -> tuple[list[Hop], list[str]]:
        """Put a packet on the wire of a port. Returns the hops, nearest first, and the ports that got it, by name."""
        tagged = {**packet, "vlan_vid": VLAN_PRESENT | source.tag if source.tag else 0, "in_port": source.ofport}
        waiting = deque([(source.chassis, tagged)])
        hops: list[Hop] = []
        delivered: list[str] = []
        while waiting and len(hops) < MAX_HOPS:
            chassis, arriving = waiting.popleft()
            hop = self._hop(chassis, arriving)
            hops.append(hop)
            for sent in hop.walk.outputs:
                waiting.extend(self._beyond(chassis, sent, delivered))
        return hops, delivered

    def _hop(self, chassis: str, packet: Packet) -> Hop:
        walk = self.tables(chassis).run(packet)
        printed = self.names(chassis)
        return Hop(
            chassis,
            printed.port(packet["in_port"]) or str(packet["in_port"]),
            packet,
            walk,
            tuple(shown(step, printed) for step in walk.steps),
            tuple(self._left_by(chassis, sent) for sent in walk.outputs),
            walk.ended(printed),
            self._place(chassis, packet["in_port"], packet.get("tun_src", 0), packet),
            tuple(self._place(chassis, sent.port, sent.packet.get("tun_dst", 0), sent.packet) for sent in walk.outputs),
            "" if self.model.chassis[chassis].has_tables else BRIDGES,
            self._unread.get(chassis, ""),
        )

    def _place(self, chassis: str, ofport: int, vtep: int, packet: Packet) -> Place:
        """What is at the other end of a bridge port; `vtep` is that of a tunnel's."""
        if ofport in _TUNNELS:
            peer = self._by_vtep.get(vtep)
            name = links.of_tunnel(chassis, peer.name, _TUNNELS[ofport]) if peer else ""
            return Place(name, "tunnel", peer.name if peer else "")
        if ofport in self._physnet_of:
            return Place(links.of_uplink(chassis, self._physnet_of[ofport]), "uplink")
        port = self._by_ofport.get((chassis, ofport, packet.get("vlan_vid", 0)))
        return Place(links.of_port(port) if port else "", "port", "", port.name if port else "")

    def tables(self, chassis: str) -> Tables:
        if chassis not in self._tables:
            self._tables[chassis] = Tables(self._flows(chassis))
        return self._tables[chassis]

    def _flows(self, chassis: str) -> Iterable[Flow]:
        if self._observed and self.model.chassis[chassis].has_tables:
            try:
                return self._asked(self._observed, chassis)
            except TransientError as error:
                self._unread[chassis] = error.message
        return flows(self.model, chassis)

    def _asked(self, observed: Observed, chassis: str) -> Iterable[Flow]:
        if self._facts.flows.get(chassis, FlowFacts()).silent:
            raise TransientError(f"{chassis}: its switch does not answer")
        return observed(chassis)

    def names(self, chassis: str) -> Names:
        if chassis not in self._names:
            self._names[chassis] = names(self.model, chassis)
        return self._names[chassis]

    def _beyond(self, chassis: str, sent: Sent, delivered: list[str]) -> Iterator[tuple[str, Packet]]:
        """Where a sent packet arrives next; ports that it reaches are noted in `delivered`."""
        if sent.port in _TUNNELS:
            peer = self._by_vtep.get(sent.packet.get("tun_dst", 0))
            if peer is not None:
                yield from self._into_tunnel(chassis, peer, sent, delivered)
        elif sent.port in self._physnet_of:
            for name in self._on_physnet(self._physnet_of[sent.port], chassis):
                yield name, _on_the_wire(sent)
        elif port := self._by_ofport.get((chassis, sent.port, sent.packet.get("vlan_vid", 0))):
            delivered.append(port.name)

    def _into_tunnel(
        self, chassis: str, peer: Chassis, sent: Sent, delivered: list[str]
    ) -> Iterator[tuple[str, Packet]]:
        if peer.datapath == "external":  # its tables are not ours: whoever has the MAC there gets it
            delivered += self._ports_of_external(peer, sent)
            return
        ours = self.model.chassis[chassis].vtep.ip
        yield peer.name, _on_the_wire(sent) | {"tun_id": sent.packet.get("tun_id", 0), "tun_src": int(ours)}

    def _ports_of_external(self, peer: Chassis, sent: Sent) -> Iterable[str]:
        network, wanted = sent.packet.get(NETWORK, 0), Mac(sent.packet["eth_dst"])
        for port in self.model.ports.values():
            here = port.chassis == peer.name and self.model.networks[port.network].id == network
            if here and (wanted.is_group or wanted == port.mac):
                yield port.name

    def _on_physnet(self, physnet: str, but: str) -> Iterator[str]:
        """A physical network is one broadcast domain: all other chassis with an uplink into it see the frame."""
        return (item.name for item in self.model.chassis.values() if physnet in item.physnets and item.name != but)

    def _left_by(self, chassis: str, sent: Sent) -> str:
        name = self.names(chassis).port(sent.port) or str(sent.port)
        if sent.port in _TUNNELS:
            peer = self._by_vtep.get(sent.packet.get("tun_dst", 0))
            return f"{name} to {peer.name if peer else IPv4Address(sent.packet.get('tun_dst', 0))}"
        vlan = sent.packet.get("vlan_vid", 0)
        return f"{name} tagged {vlan ^ VLAN_PRESENT}" if vlan else name


_SWITCH_ONLY: Final = ("reg", "tun_", "metadata", "in_port")


def _on_the_wire(sent: Sent) -> Packet:
    """What of a packet reaches the next switch: registers and tunnel fields do not."""
    packet = {name: value for name, value in sent.packet.items() if not name.startswith(_SWITCH_ONLY)}
    return packet | {"in_port": sent.port}
