"""Trunks: `eth0.20` is a network of its own, its frames are tagged on the wire, and its device comes and goes as asked.

What is said of frames holds for the kernel's VLAN devices and for those made with eBPF. How the latter are kept is
tried on every kernel: `machine` asks for a kind of device that none has.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

import pytest

from datapath.addr import Mac
from datapath.errors import MachineError
from datapath.linux import bpf, messages, tc
from datapath.linux.bpf import Program
from datapath.linux.netlink import Message
from datapath.linux.vlan import popping
from datapath.spec import HostSpec, Interface, Vlan, device_name, namespace
from tests.lab.conftest import Labs
from tests.lab.frames import Dot1Q, Ether, Packet, Raw, datagram, received, sent, token
from tests.lab.labs import TOPOLOGIES, Lab
from tests.lab.test_agent import Lab as Machine
from tests.lab.test_agent import changed, hosts
from tests.lab.test_agent import lab as machine_  # noqa: F401  a fixture

pytestmark = pytest.mark.lab

# ── frames ──

DUAL = """
name: dual
chassis: {hv1: {}, hv2: {}}
networks:
  web: {segment: {vxlan: 100}, subnets: [10.0.0.0/24, "fd00::/64"]}
  db: {segment: {nvgre: 5000}, subnets: [10.0.1.0/24, "fd00:1::/64"], mtu: 1450}
nodes:
  fw: {chassis: hv1, trunk: {native: web, 20: db}}
  only: {chassis: hv1, trunk: {20: db}}
  web1: {chassis: hv2, network: web}
  db1: {chassis: hv2, network: db}
"""


@pytest.fixture(scope="module")
def trunk(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGIES / "trunk.yaml")


@pytest.fixture(scope="module")
def dual(shared_lab: Labs) -> Lab:
    return shared_lab(DUAL)


def wire(lab: Lab, node: str) -> str:
    """The other end of the node's interface, where its frames are as the switch sees them."""
    return device_name("p", node, "eth0")


def tagged(lab: Lab, node: str, tag: int) -> Any:
    (found,) = [port for port in lab.model.ports.values() if port.node == node and port.tag == tag]
    return found


def tags(packet: Packet) -> list[tuple[int, int]]:
    """VLAN id and priority of each tag, the outermost first."""
    return [(layer.vlan, layer.prio) for layer in packet.iterpayloads() if isinstance(layer, Dot1Q)]


def test_the_example_passes_its_own_tests(trunk: Lab) -> None:
    assert [verdict.test.name for verdict in trunk.test() if not verdict.passed] == []
    assert trunk.mesh() == []


def test_both_families_and_a_trunk_without_untagged_frames(dual: Lab) -> None:
    assert dual.mesh() == []


def test_tcp_crosses_a_tagged_network(dual: Lab) -> None:
    outcomes = dual.probe("fw", "db1", "tcp", 8080) + dual.probe("db1", "fw", "tcp", 8080)
    assert outcomes
    assert [each for each in outcomes if not each.passed] == []


def test_its_frames_are_tagged_on_the_wire_and_nowhere_else(dual: Lab) -> None:
    fw, db1 = tagged(dual, "fw", 20), dual.port("db1")
    there, back = token(), token()
    with dual.listen("hv1", wire(dual, "fw")) as on_wire, dual.listen("fw", "eth0.20") as inside:
        dual.send("fw", datagram(fw, db1, there), device="eth0.20")
        dual.send("db1", datagram(db1, fw, back))
        assert tags(on_wire.wait(received(there))[0]) == [(20, 0)]
        assert tags(on_wire.wait(sent(back))[0]) == [(20, 0)]
        assert tags(inside.wait(sent(there))[0]) == []
        (arrived,) = inside.wait(received(back))
    assert bytes(arrived)[:14] == bytes(datagram(db1, fw, back))[:14], "as if it had never had a tag"


def test_untagged_frames_stay_with_the_interface(dual: Lab) -> None:
    (fw,) = [port for port in dual.model.ports.values() if port.node == "fw" and port.tag is None]
    db1, web1, native, other = dual.port("db1"), dual.port("web1"), token(), token()
    with dual.listen("fw", "eth0") as eth0, dual.listen("fw", "eth0.20") as vlan:
        dual.send("web1", datagram(web1, fw, native))
        dual.send("db1", datagram(db1, tagged(dual, "fw", 20), other))
        assert tags(eth0.wait(received(native))[0]) == []
        vlan.wait(received(other))
        assert vlan.matching(received(native)) == []


def test_a_tag_put_on_by_hand_leaves_as_it_is(dual: Lab) -> None:
    fw, db1, mark = tagged(dual, "fw", 20), dual.port("db1"), token()
    frame = datagram(fw, db1, mark)
    by_hand = Ether(src=frame.src, dst=frame.dst) / Dot1Q(vlan=20, prio=3) / frame.payload
    with dual.listen("hv1", wire(dual, "fw")) as on_wire, dual.capture("db1") as far:
        dual.send("fw", by_hand)
        assert tags(on_wire.wait(received(mark))[0]) == [(20, 3)]
        assert tags(far.wait(received(mark))[0]) == []


def test_priority_is_no_part_of_the_id_and_other_tags_are_left(dual: Lab) -> None:
    fw = tagged(dual, "fw", 20)
    known, unknown = token(), token()
    with dual.listen("fw", "eth0") as eth0, dual.listen("fw", "eth0.20") as vlan:
        for tag, priority, mark in ((77, 0, unknown), (20, 5, known)):
            head = Ether(src="02:00:00:00:00:99", dst=str(fw.mac)) / Dot1Q(vlan=tag, prio=priority, type=0x88B5)
            dual.send("hv1", head / Raw(mark), device=wire(dual, "fw"))
        assert tags(vlan.wait(received(known))[0]) == []
        assert tags(eth0.wait(received(unknown))[0]) == [(77, 0)]
        assert vlan.matching(received(unknown)) == []


# ── devices made with eBPF ──

VLAN20 = Vlan(20, 1400, (IPv4Interface("10.20.0.1/24"), IPv6Interface("fd20::1/64")))
VLAN30 = Vlan(30, 1300, (IPv4Interface("10.30.0.1/24"),))


@pytest.fixture
def machine(machine_: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:  # noqa: F811
    """On a kernel without VLAN devices, whichever it is."""
    made = messages.add_vlan

    def unknown(about: str, name: str, parent: int, tag: int) -> Message:
        message = made(about, name, parent, tag)
        return message._replace(data=message.data.replace(b"vlan\0", b"none\0"))

    monkeypatch.setattr(messages, "add_vlan", unknown)
    return machine_


def trunks(machine: Machine, *vlans: Vlan, **changes: object) -> dict[str, HostSpec]:
    """One node whose eth0 has these tags."""
    return {"hv1": changed(hosts(machine.name, 1, 1)["hv1"], "n1", vlans=vlans, **changes)}


def with_second(specs: Mapping[str, HostSpec], machine: Machine) -> dict[str, HostSpec]:
    """The node has an eth1 too, with tag 20."""
    (node,) = specs["hv1"].nodes
    second = Interface("n1", "eth1", device_name("p", "n1", "eth1"), 65, Mac(9), 1450, (), (VLAN20,), ready=True)
    return {"hv1": replace(specs["hv1"], nodes=(replace(node, interfaces=(*node.interfaces, second)),))}


def found(machine: Machine, *, chassis: str = "n1") -> dict[str, tuple[int, str]]:
    """Index and alias of all but lo."""
    links = machine.links(chassis)
    return {name: (each["ifindex"], each.get("ifalias", "")) for name, each in links.items() if name != "lo"}  # type: ignore[misc]


def programs(machine: Machine, device: str) -> list[str]:
    """Names of the filters at a device's ingress."""
    shown = machine.inside("n1", "tc", "-j", "filter", "show", "dev", device, "ingress").stdout
    return [each["options"]["bpf_name"] for each in json.loads(shown or "[]") if "options" in each]


def disciplines(machine: Machine, device: str) -> list[str]:
    return [
        each["kind"] for each in json.loads(machine.inside("n1", "tc", "-j", "qdisc", "show", "dev", device).stdout)
    ]


def addresses(machine: Machine, device: str) -> set[str]:
    return {each["local"] for each in machine.links("n1")[device]["addr_info"] if each["scope"] == "global"}  # type: ignore[attr-defined]


async def test_what_is_made_and_that_it_is_said(machine: Machine) -> None:
    agent = machine.agent()
    await agent.apply(trunks(machine, VLAN20))
    links = machine.links("n1")
    child, tagger = links["eth0.20"], links["tag-eth0-20"]
    assert (child["address"], child["mtu"]) == (links["eth0"]["address"], 1400)
    assert child["ifalias"] == tagger["ifalias"] == f"sdn:{machine.name}:n1:eth0.20"
    assert addresses(machine, "eth0.20") == {"10.20.0.1", "fd20::1"}
    assert not any(each.get("tentative") for each in child["addr_info"])  # type: ignore[attr-defined]
    assert tagger["addr_info"] == [], "it has nothing to say itself"
    assert "NOARP" in tagger["flags"]  # type: ignore[operator]
    assert "tx-checksumming: off" in machine.inside("n1", "ethtool", "-k", "eth0.20").stdout
    state = machine.chassis_states()["hv1"]
    assert not state.errors
    assert "kernel lacks 8021q: eth0.20 of n1 is made with eBPF" in state.notes


async def test_a_second_time_and_a_new_agent_do_nothing(machine: Machine) -> None:
    agent = machine.agent()
    await agent.apply(trunks(machine, VLAN20, VLAN30))
    work, before = agent.work, found(machine)
    await agent.apply(trunks(machine, VLAN20, VLAN30))
    assert agent.work == work
    machine.close()
    machine.events.clear()
    adopting = machine.agent()
    await adopting.apply(trunks(machine, VLAN20, VLAN30))
    assert adopting.work == (0, 0)
    assert found(machine) == before
    notes = machine.chassis_states()["hv1"].notes
    assert "kernel lacks 8021q: eth0.20 and 1 more of n1 are made with eBPF" in notes


async def test_changes_are_made_in_place(machine: Machine) -> None:
    agent = machine.agent()
    await agent.apply(trunks(machine, VLAN20, VLAN30))
    before, attached = found(machine), programs(machine, "eth0")
    other = Vlan(20, 1200, (IPv4Interface("10.20.0.2/24"),))
    await agent.apply(trunks(machine, other, VLAN30, mac=Mac(2 << 40 | 0x77)))
    links = machine.links("n1")
    assert (links["eth0.20"]["mtu"], links["eth0.20"]["address"]) == (1200, "02:00:00:00:00:77")
    assert addresses(machine, "eth0.20") == {"10.20.0.2"}
    assert (found(machine), programs(machine, "eth0")) == (before, attached)


async def test_a_tag_that_goes_takes_everything_with_it(machine: Machine) -> None:
    agent = machine.agent()
    await agent.apply(trunks(machine, VLAN20, VLAN30))
    before = programs(machine, "eth0")
    await agent.apply(trunks(machine, VLAN30))
    assert set(found(machine)) == {"eth0", "eth0.30", "tag-eth0-30"}
    assert len(programs(machine, "eth0")) == 1
    assert programs(machine, "eth0") != before
    machine.close()
    await machine.agent().apply(trunks(machine))
    assert set(found(machine)) == {"eth0"}
    assert programs(machine, "eth0") == []
    assert "clsact" not in disciplines(machine, "eth0")
    assert not machine.chassis_states()["hv1"].errors
    assert not any("8021q" in note for note in machine.chassis_states()["hv1"].notes)


async def test_somebody_elses_filter_stays(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = machine.agent()
    await agent.apply(trunks(machine, VLAN20))
    index, _ = found(machine)["eth0"]
    with monkeypatch.context() as theirs:
        theirs.setattr(tc, "PRIORITY", 7)
        descriptor = bpf.load(popping({77: index}))
        home = agent._host.namespaces[namespace(machine.name, "n1")]
        assert home.send([tc.set_filter("", index, "theirs", descriptor)]) == []
        os.close(descriptor)
    assert len(programs(machine, "eth0")) == 2
    await agent.apply(trunks(machine))
    assert programs(machine, "eth0") == ["theirs"]


async def test_an_interface_that_goes_takes_its_tags_with_it(machine: Machine) -> None:
    specs = trunks(machine, VLAN20)
    agent = machine.agent()
    await agent.apply(with_second(specs, machine))
    assert {"eth0.20", "tag-eth0-20", "eth1.20", "tag-eth1-20"} <= set(found(machine))
    await agent.apply(specs)
    assert set(found(machine)) == {"eth0", "eth0.20", "tag-eth0-20"}
    work = agent.work
    await agent.apply(specs)
    assert agent.work == work


@pytest.mark.parametrize(
    "damage",
    [
        ("tc", "qdisc", "del", "dev", "eth0", "clsact"),
        ("tc", "filter", "del", "dev", "tag-eth0-20", "ingress"),
        ("ip", "link", "del", "eth0.20"),
        ("ip", "link", "del", "eth0"),
        ("ip", "link", "set", "tag-eth0-20", "down"),
        ("ip", "addr", "flush", "dev", "eth0.20"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("restarted", [False, True], ids=["same agent", "new agent"])
async def test_damage_is_made_good(machine: Machine, damage: tuple[str, ...], restarted: bool) -> None:
    agent = machine.agent()
    await agent.apply(trunks(machine, VLAN20, VLAN30))
    assert machine.inside("n1", *damage).returncode == 0
    if restarted:
        machine.close()
        agent = machine.agent()
    await agent.apply(trunks(machine, VLAN20, VLAN30))
    assert not machine.chassis_states()["hv1"].errors
    assert [len(programs(machine, device)) for device in ("eth0", "tag-eth0-20", "tag-eth0-30")] == [1, 1, 1]
    links = machine.links("n1")
    assert all("UP" in links[name]["flags"] for name in ("eth0", "eth0.20", "tag-eth0-20"))  # type: ignore[operator]
    assert addresses(machine, "eth0.20") == {"10.20.0.1", "fd20::1"}
    assert links["tag-eth0-20"]["addr_info"] == []
    work = agent.work
    await agent.apply(trunks(machine, VLAN20, VLAN30))
    assert agent.work == work


async def test_it_is_set_up_when_its_parent_is_ready(machine: Machine) -> None:
    agent = machine.agent()
    await agent.apply(trunks(machine, VLAN20, ready=False))
    assert "UP" not in machine.links("n1")["eth0.20"]["flags"]  # type: ignore[operator]
    assert not machine.chassis_states()["hv1"].errors
    await agent.apply(trunks(machine, VLAN20, ready=True))
    assert "UP" in machine.links("n1")["eth0.20"]["flags"]  # type: ignore[operator]


async def test_another_ones_device_is_left_alone(machine: Machine) -> None:
    agent = machine.agent()
    await agent.apply(trunks(machine))
    machine.inside("n1", "ip", "link", "add", "eth0.20", "type", "veth", "peer", "name", "theirs")
    machine.inside("n1", "ip", "link", "set", "eth0.20", "alias", "somebody")
    await agent.apply(trunks(machine, VLAN20))
    assert found(machine)["eth0.20"][1] == "somebody"
    assert addresses(machine, "eth0.20") == set()
    assert any("eth0.20" in error for error in machine.chassis_states()["hv1"].errors)


async def test_where_ebpf_is_refused_too_frames_stay_tagged(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(program: Program) -> int:
        raise MachineError("eBPF", f"eBPF program {program.name} refused: Operation not permitted")

    monkeypatch.setattr(bpf, "load", refuse)
    agent = machine.agent()
    await agent.apply(trunks(machine, VLAN20))
    assert set(found(machine)) == {"eth0"}
    state = machine.chassis_states()["hv1"]
    assert not state.errors
    expected = "refused: Operation not permitted: frames of tagged networks stay tagged in n1 at eth0"
    assert state.notes[-1].endswith(expected)
    work = agent.work
    await agent.apply(trunks(machine, VLAN20))
    assert agent.work == work


async def test_how_long_many_tags_take(machine: Machine) -> None:
    vlans = tuple(Vlan(tag, 1400, (IPv4Interface(f"10.21.{tag}.1/24"),)) for tag in range(1, 101))
    times = [time.monotonic()]
    await machine.agent().apply(trunks(machine))
    for _ in ("made", "adopted"):
        times.append(time.monotonic())
        await machine.agents[-1].apply(trunks(machine, *vlans))
        times.append(time.monotonic())
        machine.close()
        machine.agent()
    await machine.agents[-1].apply(trunks(machine))
    times.append(time.monotonic())
    assert set(found(machine)) == {"eth0"}
    _, start, made, again, adopted, gone = times
    print(f"100 tags: made {made - start:.3f} s, adopted {adopted - again:.3f} s, removed {gone - adopted:.3f} s")
    assert gone - start < 5


def test_the_verifier_says_why() -> None:
    with pytest.raises(MachineError, match="eBPF program wrong refused: R0 !read_ok"):
        bpf.load(Program("wrong", bpf.assemble([bpf.leave()])))
