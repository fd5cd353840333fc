"""QEMU's command line, whole for the built-in guest, and what differs from it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from datapath.addr import Mac
from datapath.guest.qemu import command
from datapath.guest.qemu.command import Arrival, Descriptors, Disk, Outfit, Ports
from datapath.spec import Guest, Interface, Kernel, Machine

RUN = Path("/run/sdn/lab/guests/web")
KERNEL = Kernel("/cache/vmlinuz", "/cache/initrd", "console=ttyS0 quiet")
BUILTIN = Outfit(state=Path("/pool/labs/lab/web.qcow2"), kernel=KERNEL, settings=b"hostname web\n")
SOCKETS = {"qmp.sock": 3, "monitor.sock": 4, "serial.sock": 5, "agent.sock": 6}


def interface(number: int) -> Interface:
    mac = Mac.parse(f"02:00:00:00:00:0{number}")
    return Interface("web", f"eth{number}", f"tap{number}", 64 + number, mac, 1450, (ip_interface("10.0.0.1/24"),))


def guest(*interfaces: Interface, **machine: Any) -> Guest:
    uuid = "6a3c1e5e-0b1d-4c8e-9e0f-5f6d7c8b9a01"
    return Guest("web", uuid, replace(Machine(memory=128 << 20), **machine), interfaces)


def arguments(
    wanted: Guest,
    outfit: Outfit = BUILTIN,
    *,
    ports: Ports | None = None,
    accelerator: str = "tcg",
    vhost: bool = False,
    incoming: Arrival | None = None,
) -> list[str]:
    taps = {each.name: [10 * number + 10, 10 * number + 11] for number, each in enumerate(wanted.interfaces)}
    if wanted.machine.cpus == 1:
        taps = {name: descriptors[:1] for name, descriptors in taps.items()}
    places = ports or command.ports(wanted, outfit.disks)
    opened = Descriptors(SOCKETS, taps)
    return command.arguments(wanted, RUN, outfit, places, opened, accelerator, vhost=vhost, incoming=incoming)


def values(line: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(line) if name == option]


def devices(line: list[str], driver: str) -> list[str]:
    return [each for each in values(line, "-device") if each.startswith(f"{driver},")]


GOLDEN = """
-nodefaults
-no-user-config
-display none
-S
-name guest=web,debug-threads=on
-uuid 6a3c1e5e-0b1d-4c8e-9e0f-5f6d7c8b9a01
-machine q35,memory-backend=ram,usb=off,sata=off,smbus=off,vmport=off,dump-guest-core=off
-accel tcg,tb-size=32
-cpu max
-smp 1
-m size=131072k
-object memory-backend-memfd,id=ram,size=134217728,share=on
-rtc base=utc
-boot strict=on,menu=off
-action shutdown=pause,reboot=reset,panic=pause
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-pidfile /run/sdn/lab/guests/web/pid
-kernel /cache/vmlinuz
-initrd /cache/initrd
-append console=ttyS0 quiet
-fw_cfg name=opt/org.sdn/net,file=/run/sdn/lab/guests/web/net
-chardev socket,id=qmp,fd=3,server=on,wait=off
-chardev socket,id=monitor,fd=4,server=on,wait=off
-chardev socket,id=serial,fd=5,server=on,wait=off,logfile=/run/sdn/lab/guests/web/console.log,logappend=on
-chardev socket,id=agent,fd=6,server=on,wait=off
-mon chardev=qmp,mode=control
-mon chardev=monitor,mode=control
-serial chardev:serial
-device virtio-serial-pci,id=lines,bus=pcie.0,addr=0x2
-device virtserialport,id=agent,bus=lines.0,nr=1,chardev=agent,name=org.qemu.guest_agent.0
-object rng-random,id=entropy,filename=/dev/urandom
-device virtio-rng-pci,id=rng,rng=entropy,bus=pcie.0,addr=0x3
-device virtio-balloon-pci,id=balloon,bus=pcie.0,addr=0x4,deflate-on-oom=on,free-page-reporting=off
-device pvpanic-pci,id=panic,bus=pcie.0,addr=0x5
-netdev tap,id=net-eth0,fds=10
-device virtio-net-pci,id=nic-eth0,netdev=net-eth0,bus=nicport0,addr=0x0,mac=02:00:00:00:00:00,host_mtu=1450,romfile=,ctrl_vlan=off
"""


class TestTheBuiltInGuest:
    def test_its_whole_line_but_for_root_ports_and_the_disk_without_a_device(self) -> None:
        line = arguments(guest(interface(0)))
        said = []
        for word in line:
            if word.startswith("-") and not word.startswith("--"):
                said.append(word)
            else:
                said[-1] += f" {word}"
        shown = [each for each in said if "pcie-root-port" not in each and not each.startswith("-blockdev")]
        assert shown == GOLDEN.strip().splitlines()

    def test_its_memory_is_kept_on_a_disk_that_no_device_shows(self) -> None:
        (node,) = values(arguments(guest()), "-blockdev")
        file = {"driver": "file", "node-name": "state-file", "filename": "/pool/labs/lab/web.qcow2"}
        common = {"read-only": False, "discard": "unmap"}
        assert json.loads(node) == {"driver": "qcow2", "node-name": "state", **common, "file": {**file, **common}}

    def test_kvm_brings_the_machine_s_own_cpu(self) -> None:
        line = arguments(guest(interface(0)), accelerator="kvm", vhost=True)
        assert (values(line, "-accel"), values(line, "-cpu")) == (["kvm"], ["host"])
        assert values(line, "-netdev") == ["tap,id=net-eth0,fds=10,vhost=on"]

    def test_each_cpu_has_a_queue(self) -> None:
        line = arguments(guest(interface(0), cpus=2))
        assert values(line, "-netdev") == ["tap,id=net-eth0,fds=10:11"]
        (nic,) = devices(line, "virtio-net-pci")
        assert nic.endswith(",mq=on,vectors=6")


class TestRootPorts:
    def test_they_are_functions_of_few_slots_and_all_different(self) -> None:
        ports = devices(arguments(guest()), "pcie-root-port")
        assert ports[0] == (
            "pcie-root-port,id=nicport0,bus=pcie.0,addr=0x10.0x0,multifunction=on,chassis=1,slot=1,io-reserve=0"
        )
        assert ports[8] == (
            "pcie-root-port,id=diskport0,bus=pcie.0,addr=0x14.0x0,multifunction=on,chassis=9,slot=9,io-reserve=0"
        )
        assert len(ports) == command.NIC_PORTS + command.DISK_PORTS
        assert len({part for port in ports for part in port.split(",") if part.startswith("chassis=")}) == len(ports)

    def test_there_are_some_to_spare(self) -> None:
        crowd = guest(*map(interface, range(10)))
        places = command.ports(crowd, ())
        assert places.nic_count == 13
        assert "addr=0x11.0x4" in devices(arguments(crowd), "pcie-root-port")[12]

    @pytest.mark.parametrize(("taken", "free"), [({}, 0), ({"a": 0, "b": 2}, 1), ({"a": 0, "b": 1, "c": 2}, None)])
    def test_the_first_one_that_is_free_is_next(self, taken: dict[str, int], free: int | None) -> None:
        assert command.free_port(taken, 3) == free

    def test_one_that_arrives_has_everything_where_it_was(self) -> None:
        ports = Ports({"eth1": 3}, {}, 8, 4)
        line = arguments(guest(interface(1)), ports=ports, incoming=Arrival(ports, "/proc/77/fd/9"))
        (nic,) = devices(line, "virtio-net-pci")
        assert "bus=nicport3," in nic
        assert line[-2:] == ["-incoming", "defer"]
        assert "memory-backend-file,id=ram,size=134217728,mem-path=/proc/77/fd/9,share=on" in values(line, "-object")


class TestDisks:
    IMAGE = Outfit(
        disks=(
            Disk("root", Path("/pool/labs/lab/web.qcow2"), "qcow2"),
            Disk("data", Path("/pool/volumes/data, of web.qcow2"), "qcow2"),
            Disk("seed", Path("/run/seed.iso"), "raw", read_only=True),
        )
    )

    def test_the_seed_is_behind_all_others_and_read_only(self) -> None:
        line = arguments(guest(image="/i.qcow2"), self.IMAGE)
        root, data, seed = devices(line, "virtio-blk-pci")
        assert "bus=diskport0,addr=0x0,serial=root,write-cache=on,bootindex=1" in root
        assert "bus=diskport1,addr=0x0,serial=data,write-cache=on" in data
        assert "bus=diskport5,addr=0x0,serial=seed,write-cache=on" in seed
        nodes = {node["node-name"]: node for node in map(json.loads, values(line, "-blockdev"))}
        assert [name for name, node in nodes.items() if node["read-only"]] == ["disk5"]
        assert nodes["disk1"]["file"]["filename"] == "/pool/volumes/data, of web.qcow2"

    def test_a_long_name_is_cut_to_what_a_serial_number_holds(self) -> None:
        made = command.disk(Disk("a-name-that-is-rather-long", Path("/x"), "qcow2"), 1)
        assert made["serial"] == "a-name-that-is-rathe"
        assert made["drive"] == "disk1"

    def test_it_boots_by_its_firmware(self) -> None:
        line = arguments(guest(image="/i.qcow2"), self.IMAGE)
        assert not {"-kernel", "-append", "-fw_cfg"} & set(line)


class TestOtherThings:
    def test_devices_of_the_machine_have_ports_of_their_own(self) -> None:
        line = arguments(guest(devices=("0000:03:10.2",)))
        assert devices(line, "vfio-pci") == ["vfio-pci,id=host0,host=0000:03:10.2,bus=hostport0,addr=0x0"]
        assert any("id=hostport0,bus=pcie.0,addr=0x18.0x0" in port for port in devices(line, "pcie-root-port"))

    def test_a_comma_in_a_path_is_no_separator(self) -> None:
        made = command.arguments(guest(), Path("/run/a,b"), BUILTIN, Ports(), Descriptors(SOCKETS, {}), "tcg")
        assert "name=opt/org.sdn/net,file=/run/a,,b/net" in values(made, "-fw_cfg")
        assert values(made, "-pidfile") == ["/run/a,b/pid"]
