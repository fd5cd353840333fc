"""A guest of a running lab that shall be elsewhere: what changes in the model, what forbids it, when it is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from datapath.errors import CheckError, FileError, MachineError
from sdn.cli import migrate as command
from sdn.cli import target
from sdn.cli.main import main
from sdn.lab import guests as lab_guests
from sdn.lab import migrate
from sdn.model import Model, Segment
from sdn.model.facts import Facts, FlowFacts, GuestFacts, HostFacts
from tests.unit.cli.sample import guest_facts, machines

THERE = GuestFacts("running", "hv2", note="moved from hv1 to hv2 in 0.3 s, paused for 5 ms, in-place")


@pytest.fixture
def model() -> Model:
    """vm1 is on hv1, and nothing forbids it hv2."""
    found = machines().with_revision(7)
    return replace(found, guests={name: replace(each, anti_affinity=()) for name, each in found.guests.items()})


@dataclass
class FakeWork:
    """A store, and an agent that answers each wish with the facts that it was given."""

    model: Model
    facts: Facts
    store: Any = None
    wishes: list[Model] = field(default_factory=list)
    later: Facts | None = None

    def __post_init__(self) -> None:
        self.store = self

    def change(self, edit: Callable[[Model], Model]) -> Model:
        self.wishes.append(edit(self.wishes[-1] if self.wishes else self.model))
        return self.wishes[-1]

    def within(self, _: float) -> FakeWork:
        """By then it is as `later` says."""
        self.facts = self.later or self.facts
        return self

    def wait(self, model: Model, met: Callable[[Model, Facts, str], bool], names: tuple[str, ...]) -> Facts:
        if not all(met(model, self.facts, name) for name in names):
            raise lab_guests.LateError("not done in time", self.facts)
        return self.facts


def facts(model: Model, seen: GuestFacts) -> Facts:
    hosts = {name: HostFacts(revision=7) for name in model.chassis}
    return replace(guest_facts(model, vm1=seen), hosts=hosts)


def work(model: Model, seen: GuestFacts) -> Any:
    made = FakeWork(model, facts(model, seen))
    made.store = type("Store", (), {"model": lambda _: made.wishes[-1] if made.wishes else model})()
    return made


def test_its_node_and_its_ports_are_elsewhere(model: Model) -> None:
    there = migrate.moved(model, "vm1", "hv2")
    assert there.nodes["vm1"].chassis == "hv2"
    assert {port.chassis for port in there.ports.values() if port.node == "vm1"} == {"hv2"}
    assert [port for port in there.ports.values() if port.node != "vm1"] == [
        port for port in model.ports.values() if port.node != "vm1"
    ]


def test_numbers_stay_where_they_are_free(model: Model) -> None:
    own = next(port for port in model.ports.values() if port.node == "vm1")
    other = next(port for port in model.ports.values() if port.node == "vm2")
    assert migrate.moved(model, "vm1", "hv2").ports[own.name].ofport == own.ofport
    taken = replace(model, ports=model.ports | {other.name: replace(other, ofport=own.ofport)})
    ports = migrate.moved(taken, "vm1", "hv2").ports
    assert ports[own.name].ofport != ports[other.name].ofport == own.ofport


def test_the_mode_is_for_this_time(model: Model) -> None:
    done = work(model, THERE)
    migrate.move(done, "vm1", "hv2", "post-copy")
    assert [each.guests["vm1"].machine.migration for each in done.wishes] == ["post-copy", "auto"]
    assert done.wishes[-1].nodes["vm1"].chassis == "hv2"


def test_one_that_did_not_move_shall_be_where_it_is(model: Model) -> None:
    stays = work(model, GuestFacts("running", "hv1", error="move to hv2: QEMU did not start"))
    with pytest.raises(CheckError, match="vm1 has not moved: move to hv2: QEMU did not start"):
        migrate.move(stays, "vm1", "hv2")
    assert stays.wishes[-1] == model


def test_nor_one_that_takes_too_long(model: Model) -> None:
    with pytest.raises(
        CheckError, match="vm1 has not moved to hv2 in time\n  it is moving on hv1 now, and shall be on hv1"
    ):
        migrate.move(moving := work(model, GuestFacts("moving", "hv1")), "vm1", "hv2")
    assert moving.wishes[-1] == model


def test_one_that_was_on_its_way_is_awaited(model: Model) -> None:
    back = work(model, GuestFacts("moving", "hv1"))
    back.later = facts(model, GuestFacts("running", "hv1", note="moved from hv2 to hv1 in 0.1 s, in-place"))
    with pytest.raises(CheckError, match=r"in time\n  it was moved back, and is running on hv1: moved from hv2 to hv1"):
        migrate.move(back, "vm1", "hv2")
    back = work(model, GuestFacts("moving", "hv1"))
    back.later = facts(model, GuestFacts("running", "hv1"))
    with pytest.raises(CheckError, match=r"in time\n  it is running on hv1\n"):
        migrate.move(back, "vm1", "hv2")


@pytest.mark.parametrize(
    ("flows", "host", "why"),
    [
        (FlowFacts(True, 6), HostFacts(6), "the switch of hv2 has not confirmed flows of revision 7 .it has 6."),
        (FlowFacts(False, 6), HostFacts(6), "the switch of hv2 is not connected"),
        (FlowFacts(True, 7), HostFacts(6), "its interfaces on hv2 are ready"),
        (FlowFacts(True, 7), HostFacts(6, errors=("no room for a tap",)), "in time: no room for a tap\n"),
    ],
)
def test_what_was_not_ready_there(model: Model, flows: FlowFacts, host: HostFacts, why: str) -> None:
    stays = work(model, GuestFacts("running", "hv1"))
    stays.facts = replace(
        stays.facts, flows=stays.facts.flows | {"hv2": flows}, hosts=stays.facts.hosts | {"hv2": host}
    )
    with pytest.raises(CheckError, match=why) as error:
        migrate.move(stays, "vm1", "hv2")
    assert error.value.message.endswith("it is running on hv1")


def _superseded(model: Model, seen: GuestFacts, edit: Callable[[Model], Model]) -> Any:
    """Somebody else's edit is in the store before the agent has dealt with ours."""
    made = work(model, seen)
    wait = made.wait

    def late(*arguments: Any) -> Facts:
        made.change(edit)
        return wait(*arguments)  # type: ignore[no-any-return]

    made.wait = late
    return made


@pytest.mark.parametrize("mode", [None, "post-copy"])
@pytest.mark.parametrize("seen", [GuestFacts("moving", "hv1"), GuestFacts("running", "hv1", error="no"), THERE])
def test_what_somebody_else_has_wished_meanwhile_stays(model: Model, seen: GuestFacts, mode: Any) -> None:
    other = _superseded(model, seen, lambda now: migrate.moved(now, "vm1", "hv3"))
    with pytest.raises(CheckError, match="vm1 has not moved to hv2: somebody else wished it on hv3"):
        migrate.move(other, "vm1", "hv2", mode)
    assert other.wishes[-1] == other.wishes[1]
    assert other.wishes[-1].nodes["vm1"].chassis == "hv3"


def test_another_mode_is_another_wish(model: Model) -> None:
    other = _superseded(model, GuestFacts("moving", "hv1"), lambda now: migrate.moved(now, "vm1", "hv2", "post-copy"))
    with pytest.raises(CheckError, match="somebody else wished it on hv2"):
        migrate.move(other, "vm1", "hv2")
    assert other.wishes[-1] == other.wishes[1]


def test_one_that_was_removed_meanwhile_does_not_come_back(model: Model) -> None:
    gone = _superseded(model, GuestFacts("moving", "hv1"), lambda now: lab_guests.without(now, ["vm1"]))
    with pytest.raises(CheckError, match="somebody else removed it"):
        migrate.move(gone, "vm1", "hv2")
    assert "vm1" not in gone.wishes[-1].nodes


def test_it_is_looked_at_again_when_it_is_taken_back(model: Model) -> None:
    """The wait was over first, and then came somebody else."""
    wish = migrate.moved(model, "vm1", "hv2")
    theirs = migrate.moved(wish, "vm1", "hv3")
    assert migrate._as_before(theirs, "vm1", model, wish) == theirs
    assert migrate._as_before(wish, "vm1", model, wish) == model


def test_it_is_not_there_before_it_may_not_go_back(model: Model) -> None:
    with pytest.raises(CheckError):
        migrate.move(work(model, replace(THERE, phase="moving", leaves="hv1")), "vm1", "hv2")


def test_one_that_is_off_will_start_there(model: Model) -> None:
    machine = replace(model.guests["vm1"].machine, power="off")
    off = replace(model, guests=model.guests | {"vm1": replace(model.guests["vm1"], machine=machine)})
    assert migrate.move(work(off, GuestFacts("off")), "vm1", "hv2").guests["vm1"].at == ""


def _with_guest(model: Model, name: str, **fields: Any) -> Model:
    return replace(model, guests=model.guests | {name: replace(model.guests[name], **fields)})


def _with_machine(model: Model, **fields: Any) -> Model:
    return _with_guest(model, "vm1", machine=replace(model.guests["vm1"].machine, **fields))


def _with_chassis(model: Model, **fields: Any) -> Model:
    return replace(model, chassis=model.chassis | {"hv2": replace(model.chassis["hv2"], **fields)})


def _with_segment(model: Model, segment: Segment) -> Model:
    return replace(model, networks={"web": replace(model.networks["web"], segment=segment)})


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (lambda m: _with_chassis(m, datapath="external"), FileError, "somebody else's vtep"),
        (lambda m: _with_machine(m, devices=("0000:03:10.2",)), MachineError, "0000:03:10.2"),
        (lambda m: _with_segment(m, Segment("local")), FileError, "network web is local to hv1, hv2"),
        (lambda m: _with_segment(m, Segment("vlan", 7, "campus")), FileError, "no uplink into campus"),
        (
            lambda m: _with_chassis(_with_segment(m, Segment("geneve", 7)), datapath="linux"),
            FileError,
            "no geneve segments .*, which network 'web' needs",
        ),
        (lambda m: _with_chassis(m, memory=1600 << 20), FileError, "64 MiB of memory left, and vm1 wants 128"),
        (lambda m: _with_chassis(m, cpus=2), FileError, "0 CPUs left"),
        (
            lambda m: _with_guest(_with_guest(m, "vm1", anti_affinity=("db",)), "vm2", anti_affinity=("db",)),
            FileError,
            "vm2 is there, which is of anti-affinity 'db' too",
        ),
    ],
    ids=["external", "device", "local", "uplink", "feature", "memory", "cpus", "anti-affinity"],
)
def test_where_it_cannot_be(model: Model, edit: Callable[[Model], Model], error: type, words: str) -> None:
    refused = work(edit(model), THERE)
    with pytest.raises(error, match=words):
        migrate.move(refused, "vm1", "hv2")
    assert refused.wishes == []


class TestCommand:
    @pytest.fixture(autouse=True)
    def _running(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(target, "running", lambda _: (model, guest_facts(model)))

        @contextmanager
        def working(*_: Any) -> Any:
            yield work(model, THERE)

        monkeypatch.setattr(lab_guests, "working", working)
        monkeypatch.setattr(command, "_remind", lambda *_: None)

    def test_it_says_how_it_went(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["migrate", "vm1", "hv2"]) == 0
        said = capsys.readouterr().out
        assert said.startswith("vm1 is on hv2 now (")
        assert said.endswith("s): moved from hv1 to hv2 in 0.3 s, paused for 5 ms, in-place\n")

    def test_there_already(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["migrate", "vm1", "hv1"]) == 0
        assert capsys.readouterr().out == "vm1 is on hv1 already: nothing to do\n"

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("vm3", "hv2"), "did you mean vm"),
            (("vm1", "hv4"), "did you mean hv"),
            (("web1", "hv2"), "web1 is a node, not a guest"),
        ],
    )
    def test_what_is_not_there(self, words: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["migrate", *words]) == 2
        assert said in capsys.readouterr().err


def test_the_file_has_the_last_word(model: Model, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lab.yaml"
    text = """
name: overlay
chassis: {"hv[1-2]": {}}
networks: {web: {segment: {vxlan: 10010}, subnet: 10.10.0.0/24}}
guests: {vm1: {chassis: hv1, network: web}, vm2: {place: pack, network: web}}
"""
    file.write_text(text)
    from sdn import topology

    written = topology.read(file)
    command._remind(written, "vm1", "hv2")
    assert capsys.readouterr().out == f"the file says hv1, and `sdn apply` goes by it: {written.guests['vm1'].source}\n"
    command._remind(written, "vm2", "hv2")
    assert capsys.readouterr().out == ""
