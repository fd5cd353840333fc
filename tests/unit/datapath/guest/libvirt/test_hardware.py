"""What a domain that runs has, and what of a guest it has not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from datapath.addr import Mac
from datapath.guest.libvirt import domain, hardware
from datapath.guest.libvirt.domain import Files, TapPlug
from datapath.guest.qemu.command import Disk, Outfit
from datapath.spec import Guest, Interface, Kernel, Machine, Seed

MACHINE = Machine(128 << 20, cpus=2, image="/i.qcow2", kernel=Kernel("/k", "", ""), seed=Seed("me", (), ""))


def interface(number: int) -> Interface:
    return Interface("web1", f"eth{number}", f"p-web1-eth{number}", 64, Mac(0x525400112230 + number), 1450, ())


def guest(*numbers: int, machine: Machine = MACHINE) -> Guest:
    return Guest("web1", "6f1d8f0e-5b7a-4b0e-9f5e-2d3a7b1c9e02", machine, tuple(map(interface, numbers)))


def running(of: Guest) -> hardware.Hardware:
    return hardware.read(running_xml(of))


def running_xml(of: Guest) -> str:
    plugs = [TapPlug(each.bridge_port, 2, True) for each in of.interfaces]
    disks = (Disk("root", Path("/own.qcow2"), "qcow2"), Disk("data", Path("/data.qcow2"), "qcow2"))
    files = Files(Outfit(disks))
    mark = {"lab": "t", **hardware.fixed(of.machine)}
    return domain.domain(of, "sdn-t-web1", mark, "tcg", files, plugs)


def test_as_it_was_launched_nothing_differs() -> None:
    of = guest(0, 1)
    found = running(of)
    assert hardware.difference(found, of, of.interfaces) == hardware.Difference((), (), frozenset())
    assert hardware.later(found, of.machine) == ()
    assert hardware.as_it_is(found, of) == of
    assert found.accelerator == "tcg"
    assert found.mark["lab"] == "t"
    assert set(found.volumes) == {"/data.qcow2"}


def test_one_more_interface_waits_until_it_is_ready() -> None:
    found, wanted = running(guest(0)), guest(0, 1)
    waiting = hardware.difference(found, wanted, (interface(0),))
    assert waiting == hardware.Difference((), (), frozenset({"eth1"}))
    assert hardware.difference(found, wanted, wanted.interfaces).plug == (interface(1),)
    assert hardware.as_it_is(found, wanted).interfaces == (interface(0),)


def test_one_less_interface_is_unplugged() -> None:
    todo = hardware.difference(running(guest(0, 1)), guest(0), (interface(0),))
    assert [hardware.name(each) for each in todo.unplug] == ["p-web1-eth1"]


def test_another_mac_is_another_interface() -> None:
    changed = replace(interface(0), mac=Mac(0x525400990000))
    wanted = replace(guest(), interfaces=(changed,))
    stays = hardware.difference(running(guest(0)), wanted, ())
    assert stays == hardware.Difference((), (), frozenset({"eth0"}))
    todo = hardware.difference(running(guest(0)), wanted, (changed,))
    assert [hardware.name(each) for each in todo.unplug] == ["p-web1-eth0"]
    assert todo.plug == (changed,)


def test_a_tap_that_was_removed_is_plugged_anew_when_its_successor_is_ready() -> None:
    of = guest(0, 1)
    xml = running_xml(of)
    found = hardware.read(xml, {"p-web1-eth1"})
    assert hardware.as_it_is(found, of).interfaces == (interface(1),)
    assert hardware.difference(found, of, (interface(1),)) == hardware.Difference((), (), frozenset({"eth0"}))
    todo = hardware.difference(found, of, of.interfaces)
    assert [hardware.name(each) for each in todo.unplug] == ["p-web1-eth0"]
    assert todo.plug == (interface(0),)
    assert [hardware.name(each) for each in hardware.difference(found, guest(1), ()).unplug] == ["p-web1-eth0"]
    assert hardware.difference(hardware.read(xml, hardware.names(found)), of, ()).unplug == ()


def test_what_waits_for_the_next_start_is_told_in_words() -> None:
    found = running(guest(0))
    later = hardware.later(found, replace(MACHINE, memory=256 << 20, cpus=4, seed=None))
    assert [words.split(" will")[0] for words in later] == ["its memory", "its number of CPUs", "its seed"]
    assert hardware.as_it_is(found, guest(0, machine=replace(MACHINE, memory=1, cpus=9))) == guest(0)
    assert hardware.later(found, replace(MACHINE, power="off", restart="always", volumes=("data",))) == ()


def test_a_further_disk_has_a_free_place() -> None:
    assert hardware.free_place(running(guest())) == 2
    assert hardware.free_place(hardware.read(hardware.NOTHING)) == 0
    disks = (Disk("root", Path("/own.qcow2"), "qcow2"), Disk("seed", Path("/seed.iso"), "raw"))
    seeded = domain.domain(guest(), "g", {}, "tcg", Files(Outfit(disks)), [])
    assert hardware.free_place(hardware.read(seeded)) == 2


def test_somebody_elses_domain_has_no_mark() -> None:
    assert hardware.read("<domain type='kvm'><metadata/></domain>").mark == {}
    assert hardware.read(hardware.NOTHING).accelerator == "tcg"
