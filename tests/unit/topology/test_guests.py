"""Guests of a topology file: what becomes of each key, and where guests are put."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datapath.errors import FileError
from datapath.spec import Kernel, Seed
from sdn.model import Model
from sdn.topology import parse, ports

BASE: dict[str, Any] = {
    "name": "lab",
    "chassis": {"hv[1-3]": {}},
    "networks": {"web": {"segment": {"vxlan": 10}, "subnet": "10.0.0.0/24"}, "db": {"segment": {"nvgre": 5000}}},
}


def model(guests: Mapping[str, Any], previous: Model | None = None, file: str = "lab.yaml", **more: Any) -> Model:
    return parse(yaml.safe_dump(BASE | more | {"guests": dict(guests)}, sort_keys=False), file, previous)


def places(guests: Mapping[str, Any], previous: Model | None = None, **more: Any) -> dict[str, str]:
    return {node.name: node.chassis for node in model(guests, previous, **more).nodes.values()}


def mistake(guests: Mapping[str, Any], **more: Any) -> str:
    with pytest.raises(FileError) as caught:
        model(guests, **more)
    (problem,) = caught.value.problems
    return problem.message


def test_a_guest_is_a_node_with_a_machine() -> None:
    found = model({"db[1-2]": {"network": "web", "chassis": "hv2"}})
    assert list(found.guests) == list(found.nodes) == ["db1", "db2"]
    assert {port.name: port.chassis for port in found.ports.values()} == {"db1:eth0": "hv2", "db2:eth0": "hv2"}
    machine = found.guests["db1"].machine
    assert (machine.builtin, machine.memory, machine.cpus, machine.power) == (True, 128 << 20, 1, "on")


def test_the_files_of_a_guest_are_found_beside_the_topology_and_in_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    for path in ("beside.raw", "vmlinuz", "pool/images/debian.qcow2"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "keys").write_text("# mine\nssh-ed25519 AAAA me\n\n")
    (tmp_path / "data").write_text("#cloud-config\n")
    cloud = {"user": "me", "ssh_keys": ["keys", "ssh-rsa BBBB you"], "user_data": "data"}
    found = model(
        {
            "a": {"network": "web", "image": "beside.raw", "disk": "2G", "cloud": cloud},
            "b": {"network": "web", "image": "debian.qcow2"},
            "c": {"network": "web", "kernel": {"image": "vmlinuz", "append": "quiet"}},
        },
        file=str(tmp_path / "lab.yaml"),
    )
    a, b, c = (found.guests[name].machine for name in "abc")
    assert (a.image, a.disk, a.memory) == (str(tmp_path / "beside.raw"), 2 << 30, 512 << 20)
    assert a.seed == Seed("me", ("ssh-ed25519 AAAA me", "ssh-rsa BBBB you"), "#cloud-config\n")
    assert b.image == str(tmp_path / "pool/images/debian.qcow2")
    assert c.kernel == Kernel(str(tmp_path / "vmlinuz"), "", "quiet")
    assert not c.builtin


def test_nics_and_trunks() -> None:
    nics = [{"network": "web", "dhcp": True}, {"trunk": {"native": "db", 20: "web"}}]
    ports = model({"fw": {"nics": nics}}).ports
    assert {name: (port.network, port.tag, port.dhcp) for name, port in ports.items()} == {
        "fw:eth0": ("web", None, True),
        "fw:eth1": ("db", None, False),
        "fw:eth1.20": ("web", 20, False),
    }


def test_power_stays_as_it_was_where_the_file_does_not_say() -> None:
    off = model({"g": {"network": "web", "power": "off"}})
    assert model({"g": {"network": "web"}}, off).guests["g"].machine.power == "off"
    assert model({"g": {"network": "web", "power": "on"}}, off).guests["g"].machine.power == "on"


def test_tests_may_name_guests() -> None:
    found = model({"g[1-2]": {"network": "web"}}, tests={"mesh": {"from": "g*", "to": "g1", "ping": "ok"}})
    assert found.tests["mesh"].sources == ("g1", "g2")


def test_the_name_of_a_node_is_taken() -> None:
    assert "'a' is the name of a node too" in mistake({"a": {"network": "web"}}, nodes={"a": {"network": "web"}})


def test_the_words_of_power_are_words() -> None:
    """In YAML 1.1 they would be truth values."""
    text = yaml.safe_dump(BASE) + "guests: {a: {network: web, power: off}, b: {network: web, power: on}}\n"
    assert [guest.machine.power for guest in parse(text, "lab.yaml").guests.values()] == ["off", "on"]


@pytest.mark.parametrize(
    ("guest", "said"),
    [
        ({"memory": "64M"}, "the built-in guest does not start with 64M; expected 112M at least"),
        ({"memory": "1.5G"}, "'1.5G' is not a size"),
        ({"memory": "100K"}, "no whole number of MiB"),
        ({"cpus": 0}, "cpus 0 is out of range"),
        ({"cloud": {"user": "me"}}, "the built-in guest lacks; expected an 'image'"),
        ({"disk": "1G"}, "expected an 'image' beside it"),
        ({"image": "nowhere.qcow2"}, "there is no file"),
        ({"kernel": {"image": "/nowhere"}}, "there is no file /nowhere"),
        ({"kernel": {"image": "/etc/hostname", "initrd": "/nowhere"}}, "there is no file /nowhere"),
        ({"image": "/etc/hostname", "cloud": {"ssh_keys": "/nowhere"}}, "/nowhere cannot be read: no such file"),
        ({"image": "/etc/hostname", "cloud": {"user": "Me"}}, "'Me' cannot be a user"),
        ({"image": "/etc/hostname", "cloud": {"user_data": "/usr/bin/env"}}, "/usr/bin/env cannot be read: it"),
        ({"image": "/" + "x" * 300}, "there is no file /xxx"),
        ({"image": "~nobody-has-this-name/x"}, "there is no file"),
        ({"image": "/etc/hostname", "cloud": {"user_data": "/dev/zero"}}, "/dev/zero cannot be read: it is no file"),
        ({"image": "/etc/hostname", "cloud": {"user_data": "/"}}, "/ cannot be read: it is no file"),
        ({"volumes": ["a", "a"]}, "volume 'a' is there twice"),
        ({"volumes": "root"}, "'root' is what a guest calls a disk of another kind"),
        ({"volumes": "a" * 21}, "at most 20 letters"),
        ({"devices": "3"}, "'3' is no PCI address"),
        ({"devices": ["0000:03:10.2", "03:10.2"]}, "device 0000:03:10.2 is there twice"),
        ({"devices": "03:10.2", "migration": "pre-copy"}, "cannot move while it runs; expected no 'migration'"),
        ({"driver": "libvirt", "migration": "post-copy"}, "does not move guests while they run"),
        ({"power": "onn"}, "did you mean 'on'?"),
        ({"restart": "allways"}, "did you mean 'always'?"),
        ({"memroy": "1G"}, "unknown key 'memroy'; did you mean 'memory'?"),
    ],
)
def test_mistakes(guest: dict[str, Any], said: str) -> None:
    assert said in mistake({"g": {"network": "web", **guest}})


@pytest.mark.parametrize(
    ("nic", "said"),
    [
        ({"network": "web", "macvtap": "bridge"}, "macvtap of a guest is not possible yet"),
        ({"trunk": {"native": "web"}, "dhcp": True}, "'dhcp' of a trunk is not possible yet"),
        ({"network": "wbe"}, "unknown network 'wbe'; did you mean 'web'?"),
        ({"dhcp": True}, "expected one of 'network' and 'trunk'"),
    ],
)
def test_mistakes_of_interfaces(nic: dict[str, Any], said: str) -> None:
    assert said in mistake({"g": {"nics": [nic]}})


def test_volumes_and_devices_are_in_one_guest_only() -> None:
    both = {name: {"network": "web", "volumes": ["data"]} for name in "ab"}
    assert "volume 'data' is that of guest 'a' too" in mistake(both)
    assert "device 0000:03:10.2 is that of guest 'g1' too" in mistake(
        {"g[1-2]": {"network": "web", "devices": "03:10.2"}}
    )


def test_all_mistakes_are_told_at_once_with_their_places() -> None:
    text = (
        yaml.safe_dump(BASE)
        + """\
guests:
  a: {network: wbe, memory: lots}
  b: {network: web, image: gone.raw,
      power: onn}
  hv1: {network: web}
"""
    )
    with pytest.raises(FileError) as caught:
        parse(text, "lab.yaml")
    first = text.splitlines().index("guests:") + 1
    places = [(problem.line - first, problem.column) for problem in caught.value.problems]
    assert places == [(1, 16), (1, 29), (2, 28), (3, 14), (4, 3)]


def test_spread_goes_by_number_and_packed_guests_fill_the_first() -> None:
    assert places({"g[1-4]": {"network": "web"}}) == {"g1": "hv1", "g2": "hv2", "g3": "hv3", "g4": "hv1"}
    assert set(places({"g[1-4]": {"network": "web", "place": "pack"}}).values()) == {"hv1"}


def test_a_full_chassis_gets_no_more() -> None:
    small = {"hv1": {"memory": "256M"}, "hv2": {"cpus": 1}, "hv3": {}}
    packed = {"g[1-5]": {"network": "web", "place": "pack"}}
    assert list(places(packed, chassis=small).values()) == ["hv1", "hv1", "hv2", "hv3", "hv3"]


def test_what_fits_nowhere_is_a_mistake_with_the_reasons() -> None:
    small = {"hv[1-2]": {"memory": "192M"}, "hv3": {"cpus": 1}}
    said = mistake({"big": {"network": "web", "memory": "256M", "cpus": 2}}, chassis=small)
    assert "there is no room for 'big' (256M memory and 2 cpus)" in said
    assert "hv1 has 192M of its 192M memory left" in said
    assert "hv3 has 1 of its 1 cpus left" in said


def test_a_given_chassis_must_have_room_too() -> None:
    fixed = {"a": {"network": "web", "chassis": "hv1"}, "b": {"network": "web", "chassis": "hv1"}}
    assert "hv1 has 0M of its 128M" in mistake(fixed, chassis={"hv1": {"memory": "128M"}, "hv2": {}})


def test_what_fits_in_another_order_fits() -> None:
    """The file's order fills hv1 with what could have been elsewhere."""
    chassis = {"hv1": {"memory": "1G"}, "hv2": {"memory": "768M"}, "hv3": {"memory": "128M"}}
    found = places(
        {
            "a[1-2]": {"network": "web", "memory": "384M", "place": "pack"},
            "b": {"network": "web", "memory": "1G", "place": "pack"},
        },
        chassis=chassis,
    )
    assert found == {"a1": "hv2", "a2": "hv2", "b": "hv1"}


def test_guests_of_a_local_network_are_where_they_fit_together() -> None:
    chassis = {"hv1": {"memory": "256M"}, "hv2": {}}
    local = {"lan": {"segment": "local", "subnet": "10.9.0.0/24"}}
    assert set(places({"g[1-3]": {"network": "lan"}}, chassis=chassis, networks=local).values()) == {"hv2"}
    assert set(places({"g[1-2]": {"network": "lan"}}, chassis=chassis, networks=local).values()) == {"hv1"}


def test_of_a_range_without_room_one_mistake_is_told() -> None:
    assert "there is no room for 'g3'" in mistake({"g[1-9]": {"network": "web"}}, chassis={"hv1": {"memory": "256M"}})


def test_guests_that_must_not_meet_do_not() -> None:
    apart = {"g[1-3]": {"network": "web", "place": "pack", "anti_affinity": "quorum"}}
    assert sorted(places(apart).values()) == ["hv1", "hv2", "hv3"]
    said = mistake({"g[1-4]": {"network": "web", "anti_affinity": "quorum"}})
    assert "hv1 has 'g1', which is of anti-affinity 'quorum' too" in said


def test_a_guest_that_runs_stays_where_it_is() -> None:
    before = model({"g2": {"network": "web"}})
    after = places(
        {"a[1-2]": {"network": "web", "place": "pack", "anti_affinity": "x"}, "g2": {"network": "web"}}, before
    )
    assert after["g2"] == before.nodes["g2"].chassis == "hv2"


def test_a_guest_that_moves_keeps_the_number_of_its_bridge_port() -> None:
    before = model({"g[1-9]": {"network": "web", "chassis": "hv1"}})
    after = model({"g[1-9]": {"network": "web", "chassis": "hv2"}}, before)
    assert {n: p.ofport for n, p in after.ports.items()} == {n: p.ofport for n, p in before.ports.items()}


def test_a_guest_s_number_is_nobody_else_s_on_any_chassis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among numbers so few that they would meet."""
    monkeypatch.setattr(ports, "LAST_OFPORT", ports.FIRST_PORT_OFPORT + 29)
    nodes = {"n[1-9]": {"network": "web", "chassis": "hv2"}}
    first = model({}, nodes=nodes)
    nodes["m[1-9]"] = {"network": "web", "chassis": "hv3"}
    here, there = ({"g[1-9]": {"network": "web", "chassis": chassis}} for chassis in ("hv1", "hv2"))
    before = model(here, first, nodes=nodes)
    after = model(there, before, nodes=nodes)
    theirs = {port.ofport for port in before.ports.values() if port.node in before.guests}
    assert len(theirs) == 9
    assert not theirs & {port.ofport for port in before.ports.values() if port.node not in before.guests}
    assert {n: p.ofport for n, p in after.ports.items()} == {n: p.ofport for n, p in before.ports.items()}
    assert all(before.ports[name].ofport == port.ofport for name, port in first.ports.items())


def test_somebody_elses_chassis_runs_no_guests() -> None:
    chassis = {"hv1": {}, "tor": {"datapath": "external", "vtep": "172.31.0.200"}}
    assert "runs no guests" in mistake({"g": {"network": "web", "chassis": "tor"}}, chassis=chassis)
    assert places({"g[1-3]": {"network": "web"}}, chassis=chassis) == {"g1": "hv1", "g2": "hv1", "g3": "hv1"}


SIZES = st.sampled_from([128, 256, 384, 512])


@st.composite
def crowds(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Chassis with room for this and that, and guests that want some."""
    rooms = {f"hv{n}": {"memory": f"{draw(SIZES) * 2}M", "cpus": draw(st.integers(1, 6))} for n in range(1, 4)}
    wishes = {
        f"g{n}": {
            "network": "web",
            "memory": f"{draw(SIZES)}M",
            "cpus": draw(st.integers(1, 2)),
            "place": draw(st.sampled_from(["spread", "pack"])),
            "anti_affinity": draw(st.lists(st.sampled_from(["a", "b"]), max_size=1)),
        }
        for n in range(1, draw(st.integers(1, 6)) + 1)
    }
    return rooms, wishes


@settings(deadline=None, max_examples=60)
@given(crowds(), st.data())
def test_nobody_is_put_where_there_is_no_room(
    crowd: tuple[dict[str, Any], dict[str, Any]], data: st.DataObject
) -> None:
    rooms, wishes = crowd
    try:
        found = model(wishes, chassis=rooms)
    except FileError as error:
        said = [problem.message for problem in error.problems]
    else:
        said = []
    assert all("there is no room for" in message for message in said)
    assume(not said)
    assert model(wishes, chassis=rooms) == found
    for name, host in found.chassis.items():
        there = [found.guests[node.name] for node in found.nodes.values() if node.chassis == name]
        assert sum(guest.machine.memory for guest in there) <= host.memory
        assert sum(guest.machine.cpus for guest in there) <= host.cpus
        labels = [label for guest in there for label in guest.anti_affinity]
        assert len(labels) == len(set(labels))
    gone = data.draw(st.sets(st.sampled_from(sorted(wishes)), max_size=len(wishes) - 1))
    rest = {name: wish for name, wish in wishes.items() if name not in gone}
    assert places(rest, found, chassis=rooms) == {name: found.nodes[name].chassis for name in rest}
