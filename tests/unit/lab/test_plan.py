"""What a plan says of networks, switches and interfaces of the machine; what keeps an interface from being had."""

from __future__ import annotations

import pytest

from datapath.errors import ConflictError, MachineError
from datapath.linux.uplink import Found
from sdn.lab import interfaces
from sdn.lab.plan import PlanStep, plan
from sdn.model import Model
from sdn.topology import parse

TEXT = """\
name: lab
chassis:
  hv1: {datapath: linux, addresses: {office: 203.0.113.2/24}}
physnets:
  office: {interface: eth1, addresses: move}
  yard: {interface: eth2}
networks:
  default: {segment: local, subnet: 192.168.122.0/24, forward: {nat: office}}
nodes:
  vm: {network: default}
"""
MOVES = {"office": "interface eth1 joins physnet office; its address 192.0.2.7/24 and 2 routes move to bridge sdn-1"}


def model(*changes: tuple[str, str]) -> Model:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse(text, "lab.yaml")


def steps(new: Model, old: Model | None, where: str) -> list[PlanStep]:
    return [step for step in plan(new, old, MOVES).steps if step.where == where]


class TestPlan:
    def test_a_new_lab(self) -> None:
        taken, joined = steps(model(), None, "machine")
        assert (taken.verb, taken.what, taken.disturbs) == ("add", "interface eth1", "its traffic pauses")
        assert taken.why == "joins physnet office; its address 192.0.2.7/24 and 2 routes move to bridge sdn-1"
        assert (joined.what, joined.why, joined.disturbs) == ("interface eth2", "joins physnet yard", "")
        (network,) = steps(model(), None, "lab")
        assert network.why == "new in the file; nat into office, gateway 192.168.122.1"
        assert steps(model(), None, "hv1")[0].why == "new, with the kernel's bridges (datapath linux)"

    def test_the_machine_is_told_first(self) -> None:
        assert [step.where for step in plan(model(), None).steps[:2]] == ["machine", "machine"]

    def test_nothing(self) -> None:
        assert not plan(model(), model(), MOVES)

    def test_an_interface_goes_back(self) -> None:
        (step,) = steps(model(("yard: {interface: eth2}", "yard: {}")), model(), "machine")
        assert (step.verb, step.what) == ("remove", "interface eth2")
        assert step.why == "leaves physnet yard; the machine's addresses are put back"

    def test_an_interface_goes_to_another_physnet(self) -> None:
        swapped = model(("eth1", "eth9"), ("eth2", "eth1"), ("eth9", "eth2"))
        assert {(step.verb, step.what) for step in steps(swapped, model(), "machine")} == {
            ("change", "interface eth1"),
            ("change", "interface eth2"),
        }

    @pytest.mark.parametrize(
        ("old", "new", "why"),
        [
            (
                "{nat: office}",
                "isolated",
                "forward nat into office, gateway 192.168.122.1 → isolated, gateway 192.168.",
            ),
            (", forward: {nat: office}", "", "forward nat into office, gateway 192.168.122.1 → none"),
            ("192.168.122.0/24,", "192.168.123.0/24,", "subnets 192.168.122.0/24 → 192.168.123.0/24, forward nat"),
        ],
    )
    def test_a_network_changes(self, old: str, new: str, why: str) -> None:
        (step,) = steps(model((old, new)), model(), "lab")
        assert (step.verb, step.what) == ("change", "network default")
        assert step.why.startswith(why)

    def test_a_chassis_gets_another_switch(self) -> None:
        ovs = model(
            (", addresses: {office: 203.0.113.2/24}", ""), ("datapath: linux", ""), (", forward: {nat: office}", "")
        )
        (step, *_) = steps(ovs, model(), "hv1")
        assert (step.what, step.why) == ("chassis hv1", "switch linux → ovs")


GUESTS = """\
name: lab
chassis: {'hv[1-2]': {}}
networks:
  web: {segment: {vxlan: 10}, subnet: 10.0.0.0/24}
  db: {segment: {nvgre: 5000}, subnet: 10.0.1.0/24}
guests:
  db1: {chassis: hv1, nics: [{network: web}]}
  db2: {chassis: hv1, network: web, power: off}
"""


class TestGuests:
    def told(self, *changes: tuple[str, str], text: str = GUESTS) -> list[str]:
        """What the plan says of a change to `text`."""
        new = text
        for was, now in changes:
            assert was in new
            new = new.replace(was, now)
        before = parse(text, "lab.yaml")
        found = plan(parse(new, "lab.yaml", before), before).steps
        return [f"{step.where}: {step.verb} {step.what}: {step.why}; {step.disturbs}".rstrip("; ") for step in found]

    def test_one_moves_live_in_one_step(self) -> None:
        assert self.told(("db1: {chassis: hv1", "db1: {chassis: hv2")) == [
            "hv2: change guest db1: moves here live from hv1; it stands still for a moment"
        ]

    def test_one_that_moves_may_change_too(self) -> None:
        moved = (
            "db1: {chassis: hv1, nics: [{network: web}]",
            "db1: {chassis: hv2, nics: [{network: web}, {network: db}]",
        )
        assert self.told(
            moved, ("web}, {network: db}]}", "web}, {network: db}], restart: always, migration: post-copy}")
        ) == [
            "hv2: change guest db1: moves here live from hv1 (post-copy); it stands still for a moment",
            "hv2: change guest db1: restart on-failure → always, migration auto → post-copy",
            "hv2: add db1:eth1: plugged in while it runs",
        ]

    def test_one_that_is_off_moves_unseen(self) -> None:
        assert self.told(("db2: {chassis: hv1", "db2: {chassis: hv2")) == [
            "hv2: change guest db2: moves here from hv1, while it is off"
        ]

    @pytest.mark.parametrize(
        ("before", "after", "why"),
        [
            ("devices: '0000:03:10.2'", "devices: '0000:03:10.2'", "it has host devices"),
            ("driver: libvirt", "driver: libvirt", "libvirt does not move it"),
            ("memory: 256M", "memory: 1G, cpus: 2", "first it needs a start with its new memory and cpus"),
        ],
    )
    def test_what_does_not_move_while_it_runs(self, before: str, after: str, why: str) -> None:
        text = GUESTS.replace("[{network: web}]", f"[{{network: web}}], {before}")
        step, *_ = self.told(("db1: {chassis: hv1", "db1: {chassis: hv2"), (before, after), text=text)
        assert step.startswith(f"hv2: change guest db1: stays on hv1: {why}; nothing, but it is an error")

    def test_its_chassis_goes(self) -> None:
        gone = (
            ("hv[1-2]", "hv2"),
            ("db1: {chassis: hv1", "db1: {chassis: hv2"),
            ("db2: {chassis: hv1", "db2: {chassis: hv2"),
        )
        assert self.told(*gone) == [
            "hv2: change guest db1: moves here from hv1, which goes; it may start anew",
            "hv2: change guest db2: moves here from hv1, while it is off",
            "hv1: remove chassis hv1: no longer wanted; its nodes and its traffic end",
        ]

    def test_a_node_becomes_a_guest(self) -> None:
        text = GUESTS.replace("guests:", "nodes: {n: {network: web, chassis: hv1}}\nguests:")
        change = ("nodes: {n: {network: web, chassis: hv1}}\nguests:", "guests:\n  n: {network: web, chassis: hv2}")
        assert self.told(change, text=text) == [
            "hv1: remove node n: no longer wanted; its processes lose their network",
            "hv2: add guest n: new: the built-in guest, 128M, 1 cpu",
        ]


FREE = Found("eth1", 3, 1500, up=True)
USED = Found("eth1", 3, 1500, up=True, addresses=("192.0.2.7/24",), routes=("default via 192.0.2.1",))


class TestInterfaces:
    def look(self, **found: Found) -> dict[str, str]:
        return interfaces.inspect(model(), lambda name: found[name])

    def test_free(self) -> None:
        told = self.look(eth1=FREE, eth2=Found("eth2", 4, 1500, up=True))
        assert told == {"office": "interface eth1 joins physnet office", "yard": "interface eth2 joins physnet yard"}

    def test_addresses_move(self) -> None:
        told = self.look(eth1=USED, eth2=Found("eth2", 4, 1500, up=True))["office"]
        assert "192.0.2.7/24" in told
        assert "come back with `sdn down`" in told

    def test_all_that_is_in_the_way_at_once(self) -> None:
        taken = Found("eth1", 3, 1500, up=True, master="br0")
        with pytest.raises(ConflictError) as caught:
            self.look(eth1=taken, eth2=Found("eth2", 4, 1500, addresses=("198.51.100.7/24",)))
        lines = caught.value.message.splitlines()
        assert lines[0].startswith("lab.yaml:5:3: interface eth1 is a port of br0")
        assert lines[1].strip().startswith("lab.yaml:6:3: interface eth2 is in use by this machine: 198.51.100.7/24")
        assert "`addresses: move` at physnet yard" in caught.value.remedy

    def test_one_that_is_not_there_is_for_the_machine_to_have(self) -> None:
        with pytest.raises(MachineError) as caught:
            self.look(eth1=Found("eth1", 3, 1500, master="br0"), eth2=Found("eth2", others=("eth0", "eth1")))
        assert caught.value.exit_code == 3
        assert "this machine has no interface eth2; it has: eth0, eth1" in caught.value.message
        assert "br0" in caught.value.message

    def test_a_file_without_interfaces_asks_nobody(self) -> None:
        assert interfaces.inspect(model(("interface: eth1, addresses: move", ""), ("interface: eth2", ""))) == {}
