"""A model changed by entries: the same as the whole file written and built again, and the same mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapath.errors import FileError
from sdn.model import REVISION, Model, Source
from sdn.topology import confinement, edit, parse, read, written
from tests.topologies import NETWORKS, NODES, files, model_of

LAB = """
name: t
chassis: {'hv[1-2]': {}}
networks:
  web: {segment: {vxlan: 10}, subnet: 10.0.0.0/29}
  db: {segment: {vxlan: 11}, subnet: 10.1.0.0/24}
nodes: {'web[1-3]': {network: web, place: spread}}
tests: {all: {from: web*, to: web*, ping: ok}}
"""


@pytest.fixture
def model() -> Model:
    return parse(LAB, "t.yaml").with_revision(7)


ENTRIES = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"network": st.sampled_from(NETWORKS)},
        optional={
            "chassis": st.sampled_from(["hv1", "hv2", "hv9"]),
            "mac": st.sampled_from(["02:00:00:00:00:01", "02:00:00:00:00:02"]),
            "ip": st.sampled_from(["10.1.0.5", "10.2.0.5", "10.3.0.9"]),
            "spoof_guard": st.booleans(),
            "allowed_addresses": st.just([{"ip": "10.1.0.6"}]),
        },
    ),
    st.fixed_dictionaries(
        {"ports": st.lists(st.fixed_dictionaries({"network": st.sampled_from(NETWORKS)}), max_size=3)}
    ),
)
EDITS = st.dictionaries(
    st.tuples(st.just("nodes"), st.sampled_from([*NODES, "x", "hv1"])), ENTRIES, min_size=1, max_size=3
)


@settings(max_examples=300)
@given(files(kinds=("vxlan", "geneve", "vlan"), guests=True), st.lists(EDITS, min_size=1, max_size=3))
def test_nodes_alone_come_to_the_same_as_the_whole(file: dict[str, Any], steps: list[edit.Edits]) -> None:
    model = model_of(file)
    for edits in steps:
        whole, quick = _outcome(edit._whole, model, edits), _outcome(edit._nodes, model, edits)
        if not edit._is_about_nodes(model, edits):
            continue
        assert isinstance(whole, Model) == isinstance(quick, Model), (whole, quick)
        if isinstance(whole, Model) and isinstance(quick, Model):
            assert quick == whole
            model = quick
        else:
            same = "what is wrong with the nodes themselves is told in the same words"
            assert set(map(_told, quick)) <= set(map(_told, whole)), same


def _outcome(build: Any, model: Model, edits: edit.Edits) -> Model | list[str]:
    try:
        return edit._as_before(build(model, edits, False), model)
    except FileError as error:
        return [str(problem) for problem in error.problems]


def _told(problem: str) -> str:
    """Of two nodes with one MAC that is told which is built later: among all, or among those that are edited."""
    return problem.partition(": ")[2].partition(" of '")[0] if "is the MAC of" in problem else problem


def test_what_stays_is_the_same_object(model: Model) -> None:
    """So that whoever compares two models looks at a few of a thousand."""
    after = edit.edited(model, {("nodes", "new"): {"network": "db"}})
    assert after.nodes.keys() - model.nodes.keys() == {"new"}
    assert all(after.ports[name] is port for name, port in model.ports.items())
    assert after.networks["web"] is model.networks["web"]


def test_sources(model: Model) -> None:
    """What is changed keeps its line in the file, what is new tells the revision that it comes with."""
    after = edit.edited(model, {("nodes", "web1"): {"network": "db"}, ("nodes", "new"): {"network": "db"}})
    assert after.nodes["web1"].source == model.nodes["web1"].source
    assert str(after.nodes["new"].source) == f"{REVISION}:8:1"
    assert after.ports["new:eth0"].source == after.nodes["new"].source


def test_numbers_of_others_stay(model: Model) -> None:
    after = edit.edited(
        model, {("networks", "web"): None, **{("nodes", f"web{n}"): None for n in (1, 2, 3)}, ("tests", "all"): None}
    )
    assert not after.ports
    assert after.networks == {"db": model.networks["db"]}


MISTAKES: list[tuple[edit.Edits, str]] = [
    ({("nodes", "x"): {"network": "wbe"}}, "/nodes/x/network: unknown network 'wbe'; did you mean 'web'?"),
    ({("nodes", "x"): {"network": "web", "ip": "10.0.0.99"}}, "/nodes/x/ip: 10.0.0.99 is not in network 'web'"),
    ({("nodes", "x"): {"netwrok": "web"}}, "/nodes/x/netwrok: unknown key 'netwrok'; did you mean 'network'?"),
    ({("nodes", "hv1"): {"network": "web"}}, "/nodes/hv1: 'hv1' is the name of a chassis too (/chassis/hv1)"),
    ({("nodes", "web1"): None}, "/tests/all/from/0: unknown node 'web1'"),
    (
        {("networks", "db"): {"segment": {"vxlan": 10}}},
        "/networks/db/segment/vxlan: vxlan 10 is the segment of 'web' too",
    ),
]


@pytest.mark.parametrize(("edits", "problem"), MISTAKES)
def test_mistakes_have_pointers(model: Model, edits: edit.Edits, problem: str) -> None:
    with pytest.raises(FileError) as caught:
        edit.edited(model, edits)
    told = [str(problem) for problem in caught.value.problems]
    assert any(each.startswith(problem) for each in told), told


def test_an_address_that_somebody_has(model: Model) -> None:
    taken = model.ports["web2:eth0"].ips[0]
    with pytest.raises(FileError, match="is the address of 'web2:eth0' too"):
        edit.edited(model, {("nodes", "x"): {"network": "web", "ip": str(taken)}})
    mac = model.ports["web2:eth0"].mac
    with pytest.raises(FileError, match="is the MAC of 'web2' too"):
        edit.edited(model, {("nodes", "x"): {"network": "web", "mac": str(mac)}})


def test_a_subnet_that_is_full(model: Model) -> None:
    after = edit.edited(model, {("nodes", f"x{n}"): {"network": "web"} for n in range(2)})
    with pytest.raises(FileError, match="is exhausted: 1 ports need an address and 0 are free"):
        edit.edited(after, {("nodes", "y"): {"network": "web"}})


def test_confined_to_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may not have this machine's files; what an operator's file named stays."""
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    (tmp_path / "pool" / "images").mkdir(parents=True)
    (tmp_path / "pool" / "images" / "in.raw").write_bytes(b"x")
    (tmp_path / "out.raw").write_bytes(b"x")
    file = tmp_path / "t.yaml"
    file.write_text(LAB + "guests: {g: {network: db, image: out.raw}}\n")
    model = read(file)
    entry = written.entry(model, "guests", "g")
    edit.edited(model, {("guests", "g"): entry | {"cpus": 2}}, confined=True)
    inside = edit.edited(model, {("guests", "h"): {"network": "db", "image": "in.raw"}}, confined=True)
    assert inside.guests["h"].machine.image == str(tmp_path / "pool" / "images" / "in.raw")
    other = tmp_path / "other.raw"
    other.write_bytes(b"x")
    for field in (
        {"image": str(other)},
        {"image": "in.raw", "cloud": {"ssh_keys": str(other)}},
        {"kernel": {"image": str(other)}},
    ):
        with pytest.raises(FileError, match="is not in the pool"):
            edit.edited(model, {("guests", "h"): {"network": "db", **field}}, confined=True)


def test_a_file_of_a_client_is_confined_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name neither: relative paths would be beside it. Nor is it told which files there are."""
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    (tmp_path / "pool" / "images").mkdir(parents=True)
    (tmp_path / "out.raw").write_bytes(b"x")
    name, text = str(tmp_path / "t.yaml"), LAB + "guests: {g: {network: db, image: %s}}\n"
    model = parse(text % "out.raw", name)
    told = []
    for image in ("out.raw", "none.raw"):
        for path in (f"./{image}", f"../{tmp_path.name}/{image}", str(tmp_path / image)):
            with pytest.raises(FileError) as caught:
                parse(text % path, name, confined=True)
            told.append(str(caught.value).replace(path, "IT"))
    assert all("IT is not in the pool" in each for each in told), told
    assert len(set(told)) == 1
    assert parse(text % str(tmp_path / "out.raw"), name, model, confined=True) == model
    (tmp_path / "pool" / "images" / "in.raw").symlink_to(tmp_path / "out.raw")
    with pytest.raises(FileError, match="is not in the pool"):
        parse(text % "in.raw", name, confined=True)


OF_MACHINE: list[tuple[dict[str, Any], str]] = [
    (
        {"physnets": {"office": {"interface": "eth7"}}},
        "/physnets/office/interface: interface eth7 is the machine's own",
    ),
    (
        {"physnets": {"office": {"interface": "eth7", "addresses": "move"}}},
        "/physnets/office/interface: interface eth7 is the machine's own",
    ),
    (
        {"physnets": {"office": {"interface": "eth8", "addresses": "move"}}},
        "/physnets/office/addresses: the machine has its addresses on eth8",
    ),
    (
        {"guests": {"h": {"network": "db", "devices": ["0000:00:01.0", "0000:00:02.0"]}}},
        "/guests/h/devices/1: device 0000:00:02.0 is the machine's own",
    ),
]


@pytest.mark.parametrize(("sections", "problem"), OF_MACHINE)
def test_confined_to_what_the_lab_has_of_the_machine(sections: dict[str, Any], problem: str) -> None:
    """Interfaces and devices are given to the lab by root; then who may change the lab may use them."""
    lab = LAB + "physnets: {office: {interface: eth8}}\nguests: {g: {network: db, devices: ['0000:00:01.0']}}\n"
    model = parse(lab, "t.yaml")
    assert edit.built(written.document(model), model, confined=True) == model
    sections = written.document(model) | sections
    with pytest.raises(FileError) as caught:
        edit.built(sections, model, confined=True)
    assert [str(each).startswith(problem) for each in caught.value.problems] == [True], caught.value.problems
    freely = edit.built(sections, model)
    with pytest.raises(FileError) as again:
        confinement.check(freely, model)
    assert problem.partition(": ")[2] in str(again.value.problems[0])
    confinement.check(model, model)
    confinement.check(freely, freely)
    assert edit.built(sections, freely, confined=True) == freely


def test_a_past_model_is_confined_to_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    (tmp_path / "pool" / "images").mkdir(parents=True)
    for path in (tmp_path / "out.raw", tmp_path / "pool" / "images" / "in.raw"):
        path.write_bytes(b"x")
    without = parse(LAB, str(tmp_path / "t.yaml"))
    of = {
        name: parse(LAB + f"guests: {{g: {{network: db, image: {name}}}}}\n", str(tmp_path / "t.yaml"))
        for name in ("out.raw", "in.raw")
    }
    confinement.check(of["in.raw"], without)
    confinement.check(of["out.raw"], of["out.raw"])
    with pytest.raises(FileError) as caught:
        confinement.check(of["out.raw"], without)
    assert str(caught.value.problems[0]).endswith(f"guest 'g': {tmp_path}/out.raw is not in the pool")


def test_a_whole_file_of_plain_values(model: Model) -> None:
    sections = written.document(model)
    assert edit.built(sections, model) == model
    with pytest.raises(FileError, match=r"^'chassis' is missing"):
        edit.built({"name": "t"}, model)
    new = Source(REVISION, 1)
    assert edit.built(sections).ports == {name: replace(port, source=new) for name, port in model.ports.items()}
