"""Anti-spoofing of a Linux chassis: a port sends only from its own MAC and addresses, in IPv4, IPv6, ARP and ND. PURE.

Enters: which bridge port has which attachment. Leaves: a table of family bridge that says what table spoof_guard says
to Open vSwitch (sdn/pipeline/spoof_guard.py), and of `classify` that a tag leads into no network but its own. Never: a
rule per port: a port is some elements of sets, and every frame takes the same few steps.

Example: a TCP segment of web1 is found in set `ipv4` by (device, MAC, source) and passes, one lookup in all. What
comes from a tunnel was checked where it entered. Everything else becomes (mark of its port, MAC, …) and is looked up
in the sets of its kind; what none has is dropped, and so is what comes from a device that nobody has spoken of.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Final, NamedTuple

from datapath.addr import IPNetwork, Mac
from datapath.linux.ruleset import Ruleset, Set
from datapath.spec import Attachment, alias

ND_HEADER: Final = 24
"""Octets of a solicitation or an advertisement before its options (RFC 4861 sections 4.3 and 4.4)."""
OPTION: Final = 8
"""The unit of an option's length."""
OPTIONS: Final = 7
"""The most units of options that are looked at; a longer message is dropped. What hosts send has three."""


class Plug(NamedTuple):
    """A network of a node's interface at the bridge port that its frames come in by.

    `tag` is what they carry there; None, if nothing: those of a device such as `p-x.20` have lost it by then.
    """

    device: str
    tag: int | None
    attachment: Attachment


class Far(NamedTuple):
    """A bridge port that leads away: a tunnel's or an uplink's. `tagged`: its frames may have a tag, which the bridge
    filters; else those with one are dropped (RFC 7348 section 6.1, RFC 7637 section 3.3)."""

    device: str
    tagged: bool = False


_DECLARATIONS: Final = {
    "ipv4": "type ifname . ether_addr . ipv4_addr",
    "ipv6": "type ifname . ether_addr . ipv6_addr",
    "ipv4_tagged": "typeof vlan id . iifname . ether saddr . ip saddr",
    "ipv6_tagged": "typeof vlan id . iifname . ether saddr . ip6 saddr",
    "anything": "type mark",
    "any_address": "type mark . ether_addr",
    "has_ipv4": "type mark . ether_addr",
    "has_ipv6": "type mark . ether_addr",
    "own_mac": "typeof meta mark . ether saddr . @th,208,48",
    "own_ipv4": "type mark . ether_addr . ipv4_addr",
    "own_ipv4_range": "type mark . ether_addr . ipv4_addr; flags interval",
    "own_ipv6": "type mark . ether_addr . ipv6_addr",
    "own_ipv6_range": "type mark . ether_addr . ipv6_addr; flags interval",
    "own_target": "typeof meta mark . ether saddr . ip6 saddr . @th,64,128",
    "own_target_range": "typeof meta mark . ether saddr . ip6 saddr . @th,64,128; flags interval",
    "places": "type ifname : verdict",
    "port": "type ifname : mark",
    "port_tagged": "typeof vlan id . iifname : meta mark",
}
_MAPS: Final = ("places", "port", "port_tagged")

_TAGS: Final = "{ 8021q, 8021ad }"
"""`ether type` shows the tag that a frame came with, though the kernel keeps it beside the frame; `meta protocol` shows
what follows it: a second tag, for one."""

_SORTED_OUT: Final = f"""
chain prerouting {{
    type filter hook prerouting priority -300; policy accept;
    ether type ip iifname . ether saddr . ip saddr @ipv4 accept
    iifname vmap @places
    ether type ip6 ip6 nexthdr {{ tcp, udp }} iifname . ether saddr . ip6 saddr @ipv6 accept
    ether type 8021q vlan type ip vlan id . iifname . ether saddr . ip saddr @ipv4_tagged accept
    ether type 8021q vlan type ip6 ip6 nexthdr {{ tcp, udp }} vlan id . iifname . ether saddr . ip6 saddr \\
        @ipv6_tagged accept
    meta protocol {_TAGS} drop
    ether type 8021q meta mark set vlan id . iifname map @port_tagged goto port
    ether type {_TAGS} drop
    meta mark set iifname map @port goto port
    drop
}}
chain untagged {{
    ether type {_TAGS} drop
    accept
}}
chain tagged_once {{
    ether type 8021ad drop
    meta protocol {_TAGS} drop
    accept
}}
chain input {{
    type filter hook input priority -300; policy accept;
    ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
}}
"""
"""A frame to a reserved group address (IEEE 802.1D table 7-10) goes to the bridge itself, which learns from it."""

_PORT: Final = """
chain port {
    meta mark @anything goto pass
    meta mark . ether saddr @any_address goto pass
    meta protocol ip goto from_ipv4
    meta protocol arp goto arp_of_ethernet
    meta protocol ip6 goto from_ipv6
    meta protocol 0x8035 goto reverse_arp
    drop
}
chain reverse_arp {
    @nh,0,64 != 0x0001080006040003 drop
    @nh,112,32 != 0 drop
    meta mark . ether saddr . @nh,64,48 @own_mac goto pass
    drop
}
chain pass {
    meta mark set 0
    accept
}
"""
"""Reverse ARP (RFC 903) is how a machine that has moved tells switches where its MAC is now: QEMU sends it. It has a
chain of its own: `nft list` (1.0.6) ends by an assertion where a rule has its EtherType and raw fields."""

_IPV4: Final = """
chain from_ipv4 {
    meta mark . ether saddr . ip saddr @own_ipv4 goto pass
    meta mark . ether saddr . ip saddr @own_ipv4_range goto pass
    ip saddr 0.0.0.0 ip frag-off & 0x3fff == 0 udp sport 68 udp dport 67 meta mark . ether saddr @has_ipv4 goto pass
    drop
}
chain arp_of_ethernet {
    @nh,0,48 != 0x000108000604 drop
    meta mark . ether saddr . @nh,64,48 @own_mac goto arp_sender
    drop
}
chain arp_sender {
    meta protocol arp meta mark . ether saddr . arp saddr ip @own_ipv4 goto pass
    meta protocol arp meta mark . ether saddr . arp saddr ip @own_ipv4_range goto pass
    meta protocol arp arp saddr ip 0.0.0.0 meta mark . ether saddr . arp daddr ip @own_ipv4 goto pass
    meta protocol arp arp saddr ip 0.0.0.0 meta mark . ether saddr . arp daddr ip @own_ipv4_range goto pass
    drop
}
"""
"""DHCP (RFC 2131) and probes (RFC 5227 section 2.1.1) come from 0.0.0.0. That it is no fragment is asked: in family
bridge the kernel (6.18) takes what stands in one for a transport header. In ARP every length and type is Ethernet's and
IPv4's, or the fields are elsewhere (RFC 826). `meta protocol arp` is said in each rule, or libnftables puts `ether type
arp` there, which a frame with a tag does not have."""

_IPV6: Final = """
chain from_ipv6 {
    meta protocol ip6 frag frag-off != 0 goto ipv6_source
    meta l4proto icmpv6 goto icmpv6_message
    meta l4proto != { icmpv6, ah } goto ipv6_source
    meta l4proto ah @th,0,8 != { 0, 43, 44, 51, 58, 60 } goto ipv6_source
    drop
}
chain ipv6_source {
    meta mark . ether saddr . ip6 saddr @own_ipv6 goto pass
    meta mark . ether saddr . ip6 saddr @own_ipv6_range goto pass
    drop
}
chain icmpv6_message {
    meta protocol ip6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } goto neighbour_discovery
    meta protocol ip6 icmpv6 type mld2-listener-report ip6 saddr :: meta mark . ether saddr @has_ipv6 goto pass
    meta protocol ip6 icmpv6 type != { nd-router-advert, nd-redirect } goto ipv6_source
    drop
}
chain neighbour_discovery {
    ip6 nexthdr != icmpv6 drop
    meta protocol ip6 icmpv6 code != 0 drop
    @th,64,128 0 drop
    meta protocol ip6 icmpv6 type nd-neighbor-advert ip6 saddr :: drop
    meta mark . ether saddr . ip6 saddr . @th,64,128 @own_target goto options
    meta mark . ether saddr . ip6 saddr . @th,64,128 @own_target_range goto options
    meta protocol ip6 icmpv6 type nd-neighbor-solicit meta mark . ether saddr . ip6 saddr @own_ipv6 goto options
    meta protocol ip6 icmpv6 type nd-neighbor-solicit meta mark . ether saddr . ip6 saddr @own_ipv6_range goto options
    drop
}
chain options {
    meta protocol ip6 icmpv6 type nd-neighbor-solicit @th,192,16 0x0101 goto first_option
    meta protocol ip6 icmpv6 type nd-neighbor-advert @th,192,16 0x0201 goto first_option
    goto options_24
}
chain first_option {
    meta mark . ether saddr . @th,208,48 @own_mac goto options_32
    goto options_24
}
"""
"""Only the head of a datagram says what it is, so that a later fragment has but a source; the kernel finds the head of
what is behind extension headers, other than an authentication header. ND in fragments or behind any of them is not
believed by hosts (RFC 6980 section 5) and dropped here. A link-layer address comes first among the options.
`meta protocol ip6` is there for the same reason as `meta protocol arp` above."""


def _options() -> Iterator[str]:
    """One chain for each octet at which an option may begin: neither a link-layer address, nor beyond the message."""
    end = ND_HEADER + OPTION * OPTIONS
    for at in range(ND_HEADER, end, OPTION):
        lengths = range(1, (end - at) // OPTION + 1)
        following = ", ".join(f"{length} : goto options_{at + OPTION * length}" for length in lengths)
        yield f"""chain options_{at} {{
    ip6 length {at} goto pass
    ip6 length < {at + OPTION} drop
    @th,{8 * at},8 {{ 1, 2 }} drop
    @th,{8 * at + 8},8 vmap {{ {following} }}
    drop
}}"""
    yield f"chain options_{end} {{\n    ip6 length {end} goto pass\n    drop\n}}"


RULES: Final = "\n".join((_SORTED_OUT, _PORT, _IPV4, _IPV6, *reversed(list(_options()))))


def ruleset(lab: str, chassis: str, plugs: Iterable[Plug], far: Iterable[Far]) -> Ruleset:
    """The table of a chassis. Its chains are always the same, so that a change of ports is one of elements."""
    elements: dict[str, set[str]] = defaultdict(set)
    for each in far:
        elements["places"].add(f'"{each.device}" : goto {"tagged_once" if each.tagged else "untagged"}')
    for plug, mark in _marked(plugs):
        for name, element in _elements(plug, mark):
            elements[name].add(element)
    sets = (
        Set(name, declaration, frozenset(elements[name]), name in _MAPS) for name, declaration in _DECLARATIONS.items()
    )
    return Ruleset("bridge", alias(lab, chassis), tuple(sets), RULES)


def _marked(plugs: Iterable[Plug]) -> Iterator[tuple[Plug, int]]:
    """Each with a number of its own, which does not change with those of others."""
    taken: set[int] = set()
    for plug in sorted(plugs, key=lambda plug: (plug.device, plug.tag or 0)):
        digest = hashlib.blake2b(f"{plug.device} {plug.tag}".encode(), digest_size=4).digest()
        mark = int.from_bytes(digest, "big") or 1
        while mark in taken:
            mark = mark + 1 & 0xFFFFFFFF or 1
        taken.add(mark)
        yield plug, mark


@lru_cache(maxsize=1 << 12)
def _elements(plug: Plug, mark: int) -> tuple[tuple[str, str], ...]:
    """Names of sets, and what of the plug is in them. Most plugs are the same as the last time."""
    return tuple(_of_plug(plug, mark))


def _of_plug(plug: Plug, mark: int) -> Iterator[tuple[str, str]]:
    device, tag, attachment = plug
    if tag is None:
        yield "port", f'"{device}" : {mark}'
    else:
        yield "port_tagged", f'{tag} . "{device}" : {mark}'
    if attachment.senders is None:
        yield "anything", f"{mark}"
        return
    if not attachment.senders:
        yield from (("any_address", f"{mark} . {mac}") for mac in attachment.macs)
        return
    for version in {sender.subnet.version for sender in attachment.senders}:
        yield f"has_ipv{version}", f"{mark} . {attachment.macs[0]}"
    for mac, subnets in _by_mac(attachment).items():
        yield "own_mac", f"{mark} . {mac} . {int(mac):#x}"
        for subnet in subnets:
            yield from _sender(plug, str(mac), mark, subnet)


def _by_mac(attachment: Attachment) -> dict[Mac, list[IPNetwork]]:
    """The subnets of each MAC, none within another: ranges of a set must not overlap."""
    found: dict[Mac, list[IPNetwork]] = defaultdict(list)
    for mac, subnet in attachment.senders or ():
        found[mac].append(subnet)
    return {
        mac: [
            *collapse_addresses(subnet for subnet in subnets if isinstance(subnet, IPv4Network)),
            *collapse_addresses(subnet for subnet in subnets if isinstance(subnet, IPv6Network)),
        ]
        for mac, subnets in found.items()
    }


def _sender(plug: Plug, mac: str, mark: int, subnet: IPNetwork) -> Iterator[tuple[str, str]]:
    family = f"ipv{subnet.version}"
    one = subnet.prefixlen == subnet.max_prefixlen
    suffix, own = ("", str(subnet.network_address)) if one else ("_range", str(subnet))
    yield f"own_{family}{suffix}", f"{mark} . {mac} . {own}"
    if subnet.version == 6:
        first, last = int(subnet.network_address), int(subnet.broadcast_address)
        target = f"{first:#x}" if one else f"{first:#x}-{last:#x}"
        for source in (own, "::"):
            yield f"own_target{suffix}", f"{mark} . {mac} . {source} . {target}"
    if one and plug.tag is None:
        yield family, f'"{plug.device}" . {mac} . {own}'
    elif one:
        yield f"{family}_tagged", f'{plug.tag} . "{plug.device}" . {mac} . {own}'
