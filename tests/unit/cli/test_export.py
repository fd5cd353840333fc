"""`sdn export libvirt`: a guest of a lab for somebody's own host."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest

from datapath.guest import accel
from datapath.guest.qemu import outfit
from datapath.spec import Accelerator, Kernel, Machine
from sdn.cli import target
from sdn.cli.main import main
from sdn.model import Guest, Model, Segment
from tests.unit.cli.sample import Builder, facts, network, source

MACHINE = Machine(256 << 20, kernel=Kernel("/boot/vmlinuz", "", "console=ttyS0"))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    """db1 is a trunk, web1 has one network, only1 has tags only, node1 is no guest."""
    web = network(1, "web", Segment("vxlan", 100), IPv4Network("10.1.0.0/24"))
    db = network(2, "db", Segment("vxlan", 200), IPv4Network("10.2.0.0/24"))
    built = Builder(2, [web, db])
    built.node("db1", "hv1", "web", trunk={20: "db"}).node("web1", "hv1", "web").node("node1", "hv2", "web")
    built.node("only1", "hv2", trunk={20: "db"})
    made = built.model
    made.guests.update({name: Guest(name, MACHINE, (), source(70)) for name in ("db1", "web1", "only1")})
    monkeypatch.setattr(target, "running", lambda _: (made, facts(made)))
    monkeypatch.setattr(accel, "accelerator", lambda: Accelerator("kvm", "a test"))
    return made


def linux(model: Model) -> None:
    model.chassis.update({name: replace(each, datapath="linux") for name, each in model.chassis.items()})


def exported(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Element, str]:
    assert main(["export", "libvirt", *arguments]) == 0
    said = capsys.readouterr()
    return fromstring(said.out), said.err


@pytest.mark.usefixtures("model")
def test_a_port_of_open_vswitch(capsys: pytest.CaptureFixture[str]) -> None:
    root, said = exported(capsys, "web1")
    assert (root.get("type"), root.findtext("name")) == ("kvm", "web1")
    nic = root.find("devices/interface")
    assert nic.find("source").get("bridge") == "br-int"
    assert nic.find("virtualport").get("type") == "openvswitch"
    assert nic.find("vlan") is None
    assert "bridges that it is plugged into: br-int" in said
    assert "file: /boot/vmlinuz" in said


@pytest.mark.usefixtures("model")
def test_a_trunk(capsys: pytest.CaptureFixture[str]) -> None:
    root, _ = exported(capsys, "db1")
    assert [tag.get("id") for tag in root.findall("devices/interface/vlan/tag")] == ["0", "20"]
    root, _ = exported(capsys, "only1")
    assert [tag.get("id") for tag in root.findall("devices/interface/vlan/tag")] == ["20"]


def test_the_bridge_of_a_kernel(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    linux(model)
    root, said = exported(capsys, "db1")
    nic = root.find("devices/interface")
    assert nic.find("source").get("bridge") == "brv-web"
    assert nic.find("virtualport") is None
    assert nic.find("vlan") is None
    assert "eth0: its tags (20) pass a bridge that does not filter VLANs" in said


def test_tags_alone_cannot_be_said_of_a_bridge(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    linux(model)
    assert main(["export", "libvirt", "only1"]) == 2
    assert "only1:eth0 has tagged networks only" in capsys.readouterr().err


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("name", "said"), [("node1", "is a namespace and not a guest"), ("web9", "there is no node web9")]
)
def test_what_is_no_guest(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "libvirt", name]) == 2
    assert said in capsys.readouterr().err


def test_the_built_in_guest_has_its_settings_beside(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model.guests["web1"] = Guest("web1", Machine(128 << 20), (), source(70))
    monkeypatch.setattr(outfit, "settings", lambda guest: f"{guest.interfaces[0].mac}".encode())
    monkeypatch.setattr(outfit, "kernel", lambda _: Kernel("/k", "/i", "quiet"))
    file = tmp_path / "web1.xml"
    assert main(["export", "libvirt", "web1", "-O", str(file)]) == 0
    said = capsys.readouterr()
    assert (said.out, f"wrote {file}" in said.err) == ("", True)
    settings = tmp_path / "web1.net"
    assert fromstring(file.read_text()).find("sysinfo/entry").get("file") == str(settings)
    assert settings.read_text() == str(model.ports["web1.eth0"].mac)

    root, said_then = exported(capsys, "web1")
    named = root.find("sysinfo/entry").get("file")
    assert named.endswith("/overlay/guests/web1/net")
    assert f"file: {named} (not there yet" in said_then


@pytest.mark.usefixtures("model")
def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "libvirt", "web1", "-O", str(tmp_path / "no" / "web1.xml")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_the_whole_as_a_file(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sdn import topology

    read = topology.read(Path("topologies/trunk.yaml"))
    model.__dict__.update(read.__dict__)
    assert main(["export", "topology"]) == 0
    printed = capsys.readouterr().out
    assert "  db1: {chassis: hv1, network: db, ip: 10.0.1.124}\n" in printed
    assert main(["export", "topology", "-O", str(tmp_path / "now.yaml")]) == 0
    assert (tmp_path / "now.yaml").read_text() == printed
    assert topology.read(tmp_path / "now.yaml").ports.keys() == read.ports.keys()
    assert main(["export", "topology", "web1"]) == 2
    assert main(["export", "libvirt"]) == 2
