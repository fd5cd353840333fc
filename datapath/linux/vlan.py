"""The tagged networks of a node's interface, each a device `eth0.<tag>`: of the kernel's kind, else made with eBPF.

Enters: ends with `vlans`. Leaves: their devices; a note where the kernel's kind was not to be had. Never: an untagged
frame is looked into twice; a frame with a tag that nobody asked for is taken from the interface.

Without 8021q `eth0.20` is a veth whose other end, `tag-eth0-20`, stays in the node. What the node sends to `eth0.20`
comes in there, gets its tag and leaves by eth0; what comes in at eth0 with the tag loses it and goes the way back:

    node ⇄ eth0.20 ⇄ tag-eth0-20 ─ push 20 ─▶ eth0 ─▶ switch
                     tag-eth0-20 ◀─ pop 20 ── eth0 ◀─ switch

Order: a pair, its programs, then the end at which they wait is set up; a program forgets a tag before its pair goes.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datapath.errors import MachineError
from datapath.linux import bpf, messages, tc
from datapath.linux.bpf import Program
from datapath.linux.devices import Device
from datapath.linux.host import Host, Namespace
from datapath.linux.wires import Wires
from datapath.linux.wiring import End, Pair, tagger, tagging_pair, vlan_end, vlan_name
from datapath.spec import Vlan, alias

_VLAN: Final = socket.htons(0x8100)
"""The EtherType of a tag (IEEE 802.1Q), as programs see it: in the network's byte order."""
_VLAN_ID: Final = 0xFFF
"""The rest of a tag is priority and drop eligibility."""

_PUSH, _POP, _REDIRECT = 18, 19, 23  # BPF_FUNC_skb_vlan_push, BPF_FUNC_skb_vlan_pop, BPF_FUNC_redirect
_PRESENT, _TAG, _PROTOCOL = 20, 24, 28  # of struct __sk_buff: vlan_present, vlan_tci, vlan_proto
_PASS, _DROP = -1, 2  # TC_ACT_UNSPEC: whatever comes after this filter; TC_ACT_SHOT


def pushing(tag: int, index: int) -> Program:
    """Whatever comes in gets the tag and leaves by the device with this index."""
    listing = [
        bpf.move(2, _VLAN),
        bpf.move(3, tag),
        bpf.call(_PUSH),
        bpf.unless_equal(0, 0, "drop"),
        bpf.move(1, index),
        bpf.move(2, 0),
        bpf.call(_REDIRECT),
        bpf.leave(),
        bpf.label("drop"),
        bpf.move(0, _DROP),
        bpf.leave(),
    ]
    return Program("sdn_push", bpf.assemble(listing))


def popping(indexes: Mapping[int, int]) -> Program:
    """What comes in with one of these tags loses it and leaves by the tag's device; anything else passes."""
    listing = [
        bpf.copy(6, 1),
        bpf.load_word(2, 1, _PRESENT),
        bpf.if_equal(2, 0, "pass"),
        bpf.load_word(2, 1, _PROTOCOL),
        bpf.unless_equal(2, _VLAN, "pass"),
        bpf.load_word(2, 1, _TAG),
        bpf.mask(2, _VLAN_ID),
    ]
    for tag, index in indexes.items():
        listing += [bpf.move(7, index), bpf.if_equal(2, tag, "pop")]
    listing += [
        bpf.label("pass"),
        bpf.move(0, _PASS),
        bpf.leave(),
        bpf.label("pop"),
        bpf.copy(1, 6),
        bpf.call(_POP),
        bpf.unless_equal(0, 0, "drop"),
        bpf.copy(1, 7),
        bpf.move(2, 0),
        bpf.call(_REDIRECT),
        bpf.leave(),
        bpf.label("drop"),
        bpf.move(0, _DROP),
        bpf.leave(),
    ]
    return Program("sdn_pop", bpf.assemble(listing))


@dataclass(frozen=True, slots=True)
class Hook:
    """A program where it belongs: at the ingress of a device. Its filter's name says whose it is and what it does."""

    index: int
    about: str
    program: Program

    @property
    def name(self) -> str:
        return f"{self.about} {self.program.digest}"


class Trunks:
    """The VLAN devices of one round of changes; refusals and notes are those of its Wires."""

    def __init__(self, host: Host, wires: Wires) -> None:
        self._host = host
        self._wires = wires

    def settle(self, ends: Iterable[End]) -> None:
        """Makes what is missing and sets what differs. Devices of tags that went are only cut off, not removed."""
        for end in ends:
            namespace = self._host.namespaces.get(end.namespace)
            parent = namespace.devices.by_name.get(end.device) if namespace else None
            if namespace is None or parent is None or not self._wires.may_be_ours(end, parent):
                continue
            if end.vlans or _had_tags(namespace, end):
                self._trunk(namespace, end, parent)

    def forget(self, ends: Iterable[End]) -> None:
        """Takes our programs off devices that have no tags any more, and whose devices of tags are gone already."""
        for end in ends:
            namespace = self._host.namespaces.get(end.namespace)
            parent = namespace.devices.by_name.get(end.device) if namespace else None
            if namespace is not None and parent is not None:
                self._detach(namespace, end, parent)

    def _trunk(self, namespace: Namespace, end: End, parent: Device) -> None:
        lacking = self._add(namespace, end, parent)
        found = namespace.devices.by_name
        tagged = [vlan for vlan in end.vlans if vlan in lacking or _kind(found, end, vlan) == "veth"]
        self._wires.settle(vlan_end(end, vlan) for vlan in end.vlans if _kind(found, end, vlan) == "vlan")
        refused = self._tag(namespace, end, parent, tagged)
        if tagged:
            self._wires.notes[end.namespace].append(_note(self._host.lab, end, tagged, refused))

    def _add(self, namespace: Namespace, end: End, parent: Device) -> list[Vlan]:
        """Asks the kernel for devices of its own; those that it has no kind for. Its first no is for all of them."""
        missing = [vlan for vlan in end.vlans if not _kind(namespace.devices.by_name, end, vlan)]
        wishes = [(vlan_end(end, vlan), vlan.tag) for vlan in missing]
        batch = [messages.add_vlan(wish.alias, wish.device, parent.index, tag) for wish, tag in wishes]
        refused = namespace.send(batch[:1]) if batch else []
        if any(refusal.errno == errno.EOPNOTSUPP for refusal in refused):
            return missing
        self._wires.refusals[end.namespace] += refused + (namespace.send(batch[1:]) if batch[1:] else [])
        return []

    def _tag(self, namespace: Namespace, end: End, parent: Device, vlans: Sequence[Vlan]) -> str:
        """Makes pairs and programs for these tags and no others. Why the kernel refused, or ''."""
        pairs = [tagging_pair(end, vlan) for vlan in vlans]
        known = namespace.devices.by_name
        missing = [vlan for vlan in vlans if tagger(end.device, vlan.tag) not in known]
        refused = _refusal(missing[0], parent) if missing else ""  # pairs that would go again are not made
        if not refused:
            self._wires.connect(pairs)
        taggers = {} if refused else self._taggers(namespace, end, vlans)
        refused = refused or self._attach(namespace, _hooks(end, parent, taggers))
        if refused:
            self._remove(namespace, pairs)
        if refused or not taggers:
            self._detach(namespace, end, parent)
        else:
            self._open(namespace, taggers.values())
        return refused

    def _taggers(self, namespace: Namespace, end: End, vlans: Sequence[Vlan]) -> dict[int, Device]:
        """By tag, the ends where programs wait. Those that could not be made are among the refusals: another's device
        may have the name."""
        found = namespace.devices.by_name
        there = self._wires.connected(tagging_pair(end, vlan) for vlan in vlans)
        names = {tagger(end.device, vlan.tag): vlan.tag for vlan in vlans}
        return {names[pair.near.device]: found[pair.near.device] for pair in there}

    def _attach(self, namespace: Namespace, hooks: Iterable[Hook]) -> str:
        """Puts programs where others or none are. Why the kernel refused one, or ''."""
        with ExitStack() as stack:
            batch = []
            for hook in hooks:
                if tc.Filter(tc.PRIORITY, hook.name) in tc.filters(namespace.channel, hook.index):
                    continue
                try:
                    descriptor = bpf.load(hook.program)
                except MachineError as error:
                    return error.message
                stack.callback(os.close, descriptor)
                batch.append(tc.add_clsact(hook.about, hook.index))
                batch.append(tc.set_filter(hook.about, hook.index, hook.name, descriptor))
            refused = namespace.send(batch) if batch else []
        return f"tc: {refused[0].text}" if refused else ""

    def _detach(self, namespace: Namespace, end: End, parent: Device) -> None:
        """Takes our program off the interface, and the place for programs too if nobody else has one there."""
        found = tc.filters(namespace.channel, parent.index)
        others = [each for each in found if each.priority != tc.PRIORITY or not each.name.startswith(f"{end.alias} ")]
        if len(others) == len(found):
            return
        batch = [tc.delete_filter(end.alias, parent.index)]
        if not others and not tc.filters(namespace.channel, parent.index, tc.EGRESS):
            batch.append(tc.delete_clsact(end.alias, parent.index))
        self._wires.refusals[end.namespace] += namespace.send(batch)

    def _remove(self, namespace: Namespace, pairs: Iterable[Pair]) -> None:
        devices = [namespace.devices.by_name.get(pair.near.device) for pair in pairs]
        found = [device for device in devices if device and device.alias.startswith(alias(self._host.lab, ""))]
        batch = messages.delete_links([(f"remove {device.alias}", device.index) for device in found])
        self._wires.refusals[namespace.name] += namespace.send(list(batch))

    def _open(self, namespace: Namespace, taggers: Iterable[Device]) -> None:
        """Sets up the ends whose programs are in place. They have nothing to say themselves, so no IPv6 either."""
        closed = [device for device in taggers if not device.up]
        if not closed:
            return
        self._host.visit(namespace, lambda: _silence(closed))
        batch = [messages.set_link(device.alias, device.index, up=True) for device in closed]
        self._wires.refusals[namespace.name] += namespace.send(batch)


def _hooks(end: End, parent: Device, taggers: Mapping[int, Device]) -> list[Hook]:
    found = [Hook(device.index, f"{end.alias}.{tag}", pushing(tag, parent.index)) for tag, device in taggers.items()]
    if taggers:
        found.append(Hook(parent.index, end.alias, popping({tag: each.index for tag, each in taggers.items()})))
    return found


def _refusal(vlan: Vlan, parent: Device) -> str:
    """Why the kernel does not take the program of a tag, or ''."""
    try:
        os.close(bpf.load(pushing(vlan.tag, parent.index)))
    except MachineError as error:
        return error.message
    return ""


def _silence(devices: Iterable[Device]) -> None:
    """In a thread within their namespace."""
    for device in devices:
        setting = Path(f"/proc/sys/net/ipv6/conf/{device.name}/disable_ipv6")
        if setting.exists():  # a kernel without IPv6 is silent anyway
            setting.write_text("1")


def _had_tags(namespace: Namespace, end: End) -> bool:
    return any(device.alias.startswith(f"{end.alias}.") for device in namespace.devices.by_name.values())


def _kind(found: Mapping[str, Device], end: End, vlan: Vlan) -> str:
    """'vlan' or 'veth', as which the device is there; '' if it is not, or the name is another's."""
    device, parent = found.get(vlan_name(end.device, vlan.tag)), found.get(end.device)
    if device is None or parent is None:
        return ""
    if device.kind == "vlan":
        return "vlan" if (device.peer, device.tag) == (parent.index, vlan.tag) else ""
    return device.kind if device.kind == "veth" else ""


def _note(lab: str, end: End, vlans: Sequence[Vlan], refused: str) -> str:
    node, _, device = end.alias.removeprefix(alias(lab, "")).partition(":")
    more = f" and {len(vlans) - 1} more" if len(vlans) > 1 else ""
    if refused:
        return f"kernel lacks 8021q, and {refused}: frames of tagged networks stay tagged in {node} at {device}"
    return f"kernel lacks 8021q: {device}.{vlans[0].tag}{more} of {node} {'are' if more else 'is'} made with eBPF"
