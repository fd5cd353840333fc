"""VLAN devices where the kernel has a kind for them (a played kernel, as they differ), and programs where not."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from ipaddress import ip_interface
from typing import Any, cast

import pytest

from datapath.addr import Mac
from datapath.linux import messages
from datapath.linux.connected import Lost
from datapath.linux.devices import Device, Devices
from datapath.linux.host import Host
from datapath.linux.netlink import RTM_NEWADDR, RTM_NEWLINK, Message, Notice, Refusal
from datapath.linux.vlan import Trunks, popping, pushing
from datapath.linux.wires import Wires
from datapath.linux.wiring import End
from datapath.spec import Vlan

MAC = Mac.parse("02:00:00:00:00:07")
ADDRESS = ip_interface("10.0.1.1/24")
ETH0 = End("sdn-lab-fw", "eth0", "sdn:lab:fw:eth0", 1450, mac=MAC, vlans=(Vlan(20, 1400, (ADDRESS,)),))


class Kernel:
    """A namespace whose kernel takes VLAN devices, or refuses them with `refusal`. It notifies as the real one does."""

    def __init__(self, refusal: int = 0) -> None:
        self.name = ETH0.namespace
        self.channel = None
        self.devices = Devices()
        self.ours = {2}
        self.journal = None
        self.sent: list[str] = []
        self._refusal = refusal
        self.devices.fold(self._link(messages.set_link("", "eth0", up=True, mac=MAC, alias=ETH0.alias), 2))

    def _link(self, message: Message, index: int) -> Notice:
        body = bytearray(message.data[16:])
        body[4:8] = index.to_bytes(4, "little")
        return Notice(RTM_NEWLINK, bytes(body))

    def lead(self, about: str, device: int, gateway: object) -> Sequence[Message]:
        assert gateway is None
        return ()

    def lost_routes(self, _device: Device, _addresses: object) -> Sequence[Lost]:
        return ()

    def send(self, batch: Sequence[Message]) -> list[Refusal]:
        refusals = []
        for message in batch:
            self.sent.append(message.about)
            kind = int.from_bytes(message.data[4:6], "little")
            if kind == RTM_NEWLINK and b"vlan\0" in message.data:
                if self._refusal:
                    refusals.append(Refusal(message.about, self._refusal, "no"))
                else:
                    self.devices.fold(self._link(message, 3))
            elif kind == RTM_NEWADDR:
                self.devices.fold(Notice(kind, message.data[16:]))
            elif kind == RTM_NEWLINK:
                self._set("eth0.20")
        return refusals

    def _set(self, name: str) -> None:
        """What `settle` asks of the new device."""
        known = self.devices.by_name[name]
        self.devices.by_name[name] = Device(
            known.index, name, "vlan", MAC, 1400, f"{ETH0.alias}.20", True, True, 0, known.peer, known.tag
        )


def settled(kernel: Kernel, end: End) -> Wires:
    host = cast("Host", type("Played", (), {"lab": "lab", "namespaces": {"sdn-lab-fw": kernel}})())
    wires = Wires(host)
    Trunks(host, wires).settle([end])
    return wires


@pytest.fixture(autouse=True)
def no_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datapath.linux.tc.filters", lambda *_: [])


def test_the_kernels_own_device_is_made_and_set_once() -> None:
    kernel = Kernel()
    wires = settled(kernel, ETH0)
    made = kernel.devices.by_name["eth0.20"]
    assert (made.kind, made.peer, made.tag) == ("vlan", 2, 20)
    device, address = "sdn:lab:fw:eth0.20", "sdn:lab:fw:eth0.20 address 10.0.1.1/24"
    assert kernel.sent == [device, device, address, device], "made, its MTU, its address, and then up"
    assert not wires.notes
    settled(kernel, ETH0)
    assert len(kernel.sent) == 4


def test_a_no_for_another_reason_is_told_as_it_is() -> None:
    kernel = Kernel(errno.EINVAL)
    wires = settled(kernel, ETH0)
    assert [each.errno for each in wires.refusals["sdn-lab-fw"]] == [errno.EINVAL]
    assert not wires.notes
    assert set(kernel.devices.by_name) == {"eth0"}


def test_a_first_no_for_lack_of_the_kind_is_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(errno.EOPNOTSUPP)
    asked: list[Any] = []
    monkeypatch.setattr(Trunks, "_tag", lambda _self, _space, _end, _parent, vlans: asked.append(list(vlans)) or "")
    end = End(ETH0.namespace, "eth0", ETH0.alias, 1450, vlans=tuple(Vlan(tag, 1400, ()) for tag in (20, 30, 40)))
    wires = settled(kernel, end)
    assert kernel.sent == ["sdn:lab:fw:eth0.20"]
    assert asked == [list(end.vlans)]
    assert wires.notes["sdn-lab-fw"] == ["kernel lacks 8021q: eth0.20 and 2 more of fw are made with eBPF"]


def test_programs_hold_their_tags_and_devices() -> None:
    assert len(pushing(20, 2).code) == 10 * 8
    assert len(popping({20: 4, 30: 6}).code) == len(popping({}).code) + 2 * 2 * 8
    assert popping({20: 4}).digest != popping({20: 6}).digest != pushing(20, 4).digest
