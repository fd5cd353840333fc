"""A guest as libvirt's XML. Where libvirt's schema is installed it judges what is made here."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest

from datapath.addr import Mac
from datapath.guest.libvirt import domain
from datapath.guest.libvirt.domain import BridgePlug, Files, Plug, TapPlug
from datapath.guest.qemu.command import Disk, Outfit
from datapath.spec import Guest, Interface, Kernel, Machine, Vlan

MIB = 1 << 20
KERNEL = Kernel("/boot/vmlinuz", "/boot/initrd", "console=ttyS0 a=<b>&c")
NO_FILES = Files()
MARK = {"lab": "t", "guest": "web1"}
OWN = Disk("root", Path("/pool/labs/t/web1.qcow2"), "qcow2")
SEED = Disk("seed", Path("/run/seed.iso"), "raw", read_only=True)


def interface(name: str = "eth0", tags: tuple[int, ...] = ()) -> Interface:
    number = int(name.removeprefix("eth"))
    addresses = (ip_interface(f"10.0.{number}.2/24"),)
    vlans = tuple(Vlan(tag, 1400, ()) for tag in tags)
    return Interface("web1", name, f"p-web1-{name}", 64, Mac(0x525400112230 + number), 1450, addresses, vlans)


def guest(*interfaces: Interface, machine: Machine | None = None) -> Guest:
    machine = machine or Machine(128 * MIB, cpus=2, driver="libvirt")
    return Guest("web1", "6f1d8f0e-5b7a-4b0e-9f5e-2d3a7b1c9e02", machine, interfaces)


def made(of: Guest, plugs: list[Plug], files: Files = NO_FILES, accelerator: str = "tcg") -> Element:
    return fromstring(domain.domain(of, "sdn-t-web1", MARK, accelerator, files, plugs))


def test_identity_and_mark() -> None:
    root = made(guest(), [])
    assert root.findtext("name") == "sdn-t-web1"
    assert root.findtext("uuid") == "6f1d8f0e-5b7a-4b0e-9f5e-2d3a7b1c9e02"
    mark = root.find(f"metadata/{{{domain.MARK_NAMESPACE}}}guest")
    assert mark is not None
    assert mark.attrib == MARK


@pytest.mark.parametrize(
    ("accelerator", "kind", "cpu"), [("kvm", "kvm", "host-passthrough"), ("tcg", "qemu", "maximum")]
)
def test_accelerator(accelerator: str, kind: str, cpu: str) -> None:
    root = made(guest(), [], accelerator=accelerator)
    assert root.get("type") == kind
    assert root.find("cpu").get("mode") == cpu
    assert (root.findtext("memory"), root.findtext("vcpu")) == (str(128 * MIB), "2")


def test_boots_a_kernel_directly_with_its_firmware_files() -> None:
    root = made(guest(), [], Files(Outfit(kernel=KERNEL), settings=Path("/run/net")))
    assert root.findtext("os/cmdline") == KERNEL.append
    assert root.findtext("os/initrd") == KERNEL.initrd
    assert root.find("os/boot") is None
    assert root.find("sysinfo/entry").attrib == {"name": "opt/org.sdn/net", "file": "/run/net"}


def test_boots_its_own_disk() -> None:
    data = Disk("a-volume-with-a-long-name", Path("/pool/volumes/data.qcow2"), "qcow2")
    root = made(guest(), [], Files(Outfit((OWN, data, SEED))))
    assert root.find("os/boot").get("dev") == "hd"
    disks = root.findall("devices/disk")
    assert [disk.find("target").get("dev") for disk in disks] == ["vda", "vdb", "vdc"]
    assert [disk.findtext("serial") for disk in disks] == ["root", "a-volume-with-a-long", "seed"]
    assert [disk.find("readonly") is not None for disk in disks] == [False, False, True]


def test_a_tap_of_ours_is_neither_made_nor_removed() -> None:
    of = interface()
    nic = made(guest(of), [TapPlug("p-web1-eth0", 2, True)]).find("devices/interface")
    assert nic.get("type") == "ethernet"
    assert nic.find("target").attrib == {"dev": "p-web1-eth0", "managed": "no"}
    assert nic.find("mac").get("address") == str(of.mac)
    assert nic.find("mtu").get("size") == "1450"
    assert nic.find("driver").attrib == {"queues": "2"}
    assert nic.find("driver/host") is None


def test_without_offloads_no_frame_lacks_its_checksum() -> None:
    driver = made(guest(interface()), [TapPlug("p", 2, False)]).find("devices/interface/driver")
    for end in ("host", "guest"):
        assert set(driver.find(end).attrib.values()) == {"off"}
        assert "csum" in driver.find(end).attrib


def test_a_port_of_open_vswitch_is_named_by_a_uuid() -> None:
    of = interface()
    port = domain.port_identity("t", of)
    nic = made(guest(of), [BridgePlug("br-int", port)]).find("devices/interface")
    assert nic.find("source").get("bridge") == "br-int"
    assert nic.find("virtualport").get("type") == "openvswitch"
    assert nic.find("virtualport/parameters").attrib == {"interfaceid": port, "profileid": "web1:eth0"}
    assert nic.find("vlan") is None
    assert port != domain.port_identity("t", interface("eth1")) != domain.port_identity("u", interface("eth1"))


def test_a_long_name_fits_into_a_profile() -> None:
    of = replace(interface(), node="a" * 60)
    nic = made(guest(of), [BridgePlug("br-int", "u")]).find("devices/interface/virtualport/parameters")
    assert len(nic.get("profileid")) == 39


def test_the_bridge_of_a_kernel_has_no_port_type() -> None:
    nic = made(guest(interface()), [BridgePlug("brv-lan")]).find("devices/interface")
    assert nic.find("virtualport") is None


def test_a_trunk_passes_its_tags_and_no_others() -> None:
    of = interface(tags=(20, 30))
    assert domain.trunk(of, untagged=False) == (20, 30)
    assert domain.trunk(of, untagged=True) == (0, 20, 30)
    assert domain.trunk(interface(), untagged=True) == ()
    nic = made(guest(of), [BridgePlug("br-int", "u", (0, 20, 30))]).find("devices/interface")
    assert nic.find("vlan").get("trunk") == "yes"
    assert [tag.get("id") for tag in nic.findall("vlan/tag")] == ["0", "20", "30"]


def test_sockets_are_where_the_other_driver_has_them() -> None:
    root = made(guest(), [], Files(directory=Path("/run/sdn/t/guests/web1")))
    serial = root.find("devices/serial")
    assert serial.find("source").attrib == {"mode": "bind", "path": "/run/sdn/t/guests/web1/serial.sock"}
    assert serial.find("log").attrib == {"file": "/run/sdn/t/guests/web1/console.log", "append": "on"}
    arguments = " ".join(each.get("value", "") for each in root.iter() if each.tag.endswith("}arg"))
    assert "path=/run/sdn/t/guests/web1/agent.sock" in arguments
    assert "path=/run/sdn/t/guests/web1/monitor.sock" in arguments
    assert root.find("devices/channel") is None


def test_what_it_reads() -> None:
    files = Files(Outfit((OWN,), kernel=KERNEL), settings=Path("/run/net"))
    assert [str(path) for path in files.paths] == [str(OWN.path), KERNEL.image, KERNEL.initrd, "/run/net"]
    assert Files().paths == ()


def test_elsewhere_they_are_libvirts() -> None:
    root = made(guest(), [])
    assert root.find("devices/channel/target").get("name") == "org.qemu.guest_agent.0"
    assert root.find("devices/serial").get("type") == "pty"
    assert not any(each.tag.endswith("}commandline") for each in root)


def test_a_host_device_by_its_address() -> None:
    root = made(guest(machine=Machine(MIB, devices=("0000:03:10.2",))), [])
    address = root.find("devices/hostdev/source/address").attrib
    assert address == {"domain": "0x0000", "bus": "0x03", "slot": "0x10", "function": "0x2"}


def test_there_are_slots_for_what_comes_later() -> None:
    few = made(guest(), [])
    more = made(guest(interface(), interface("eth1")), [TapPlug("a", 2, True), TapPlug("b", 2, True)])
    ports = "devices/controller[@model='pcie-root-port']"
    assert len(more.findall(ports)) == len(few.findall(ports)) + 2


@pytest.mark.skipif(not shutil.which("virt-xml-validate"), reason="libvirt-clients is not installed")
@pytest.mark.parametrize("place", [Path("/run/sdn/t/guests/web1"), None])
def test_libvirt_finds_it_valid(tmp_path: Path, place: Path | None) -> None:
    everything = guest(
        interface(tags=(20,)), interface("eth1"), machine=Machine(128 * MIB, cpus=4, devices=("0000:03:10.2",))
    )
    plugs: list[Plug] = [TapPlug("p-web1-eth0", 4, False), TapPlug("p-web1-eth1", 4, True)]
    if place is None:
        plugs = [BridgePlug("br-int", domain.port_identity("t", interface()), (0, 20)), BridgePlug("brv-lan")]
    files = Files(Outfit((OWN, SEED), Path("/run/state.qcow2"), KERNEL), Path("/run/net"), place)
    path = tmp_path / "domain.xml"
    path.write_text(domain.domain(everything, "sdn-t-web1", MARK, "kvm", files, plugs))
    done = subprocess.run(["virt-xml-validate", path, "domain"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
