"""The lab's own processes as events: who has ended, who runs again, what is known of before."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from sdn.api.happened import About
from sdn.api.hub import Hub
from sdn.api.looked_after import KIND, changes, restarted
from sdn.lab import processes, told
from sdn.lab.processes import Process
from sdn.lab.rundir import RunDir
from sdn.lab.told import Word
from tests.unit.api import observed
from tests.unit.api.memory import Running, running

NOW = 1_700_000_000.0
RUNS = Process("agent", 10, True, NOW, 0)
GONE = Process("agent", None, False, NOW, 0)
AGAIN = Process("agent", 11, True, NOW + 1, 1)
IDLE = Process("api", None, False, 0.0, 0, waits=True)
ASKED = Process("api", 12, True, NOW, 0)

CASES: dict[str, tuple[Process, Process, list[tuple[str, str]]]] = {
    "nothing": (RUNS, replace(RUNS), []),
    "it ends": (
        RUNS,
        GONE,
        [
            (KIND, "the agent of the lab has ended (process 10)"),
            ("failure", "the agent of the lab has ended (process 10); the supervisor starts it again"),
        ],
    ),
    "it runs again": (GONE, AGAIN, [(KIND, "the agent of the lab runs again (process 11)")]),
    "both before anybody looked": (
        RUNS,
        AGAIN,
        [
            (KIND, "the agent of the lab has ended (process 10)"),
            ("failure", "the agent of the lab has ended (process 10); the supervisor starts it again"),
            (KIND, "the agent of the lab runs again (process 11)"),
        ],
    ),
    "somebody asks the API for the first time": (IDLE, ASKED, []),
    "what waits to be asked is not missing": (ASKED, IDLE, [(KIND, "the api of the lab has ended (process 12)")]),
}


@pytest.mark.parametrize("case", CASES)
def test_words(case: str) -> None:
    before, present, expected = CASES[case]
    found = list(changes({before.name: before}, [present], "web", NOW))
    assert [(event.kind, event.message) for event in found] == expected
    assert {event.time for event in found} <= {NOW}


def test_who_is_seen_for_the_first_time_has_not_changed() -> None:
    assert list(changes({}, [RUNS, GONE], "web", NOW)) == []


def test_what_was_before_has_its_own_time() -> None:
    (event,) = restarted([RUNS, IDLE, AGAIN], "web")
    assert (event.time, event.message) == (NOW + 1, "the agent of the lab was started again, once (process 11)")


def write(file: Path, told: Iterable[Process]) -> None:
    processes.write(file, list(told))


@pytest.mark.asyncio
async def test_what_the_supervisor_says_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
    (tmp_path / "small").mkdir()
    file = tmp_path / "small" / "processes.json"
    alive = Process("agent", os.getpid(), True, NOW, 2)
    write(file, [alive])
    async with running() as lab:
        await lab.until_told("model.changed")
        often = f"the agent of the lab was started again, 2 times so far (process {os.getpid()})"
        assert lab.told(KIND) == [often]
        assert lab.hub.since(0)[0].event.time == NOW
        (tmp_path / "small" / "else").write_text("of no interest")
        write(file, [replace(alive, pid=None, alive=False)])
        await lab.until_told("failure")
        assert lab.told("failure") == [
            f"the agent of the lab has ended (process {os.getpid()}); the supervisor starts it again"
        ]
        write(file, [replace(alive, restarts=3)])
        while lab.told(KIND)[-1] != f"the agent of the lab runs again (process {os.getpid()})":
            await lab.hub.news().wait()


# ── what other processes say ──


def messages(lab: Running) -> list[str]:
    return [message for kind in ("test.done", "flows.changed") for message in lab.told(kind)]


async def until(lab: Running, message: str) -> None:
    async with asyncio.timeout(5):
        while message not in messages(lab):
            await lab.hub.news().wait()


@pytest.mark.asyncio
async def test_two_processes_tell_the_same_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes up later knows what was told before, with its time."""
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
    file = tmp_path / "small" / "told.jsonl"
    file.parent.mkdir()
    told.append(file, Word(NOW, "test.done", "by a command", ("lab", "small")))
    async with running() as one, running() as other:
        for lab in (one, other):
            await until(lab, "by a command")
            assert lab.hub.since(0)[0].event.time == NOW
        one.hub.tell("flows.changed", "by one", About("chassis", "hv1"), author="alice")
        assert messages(one)[-1] == "by one", "at once"
        await until(other, "by one")
        other.hub.tell("flows.changed", "by the other")
        await until(one, "by the other")
        assert messages(one) == messages(other) == ["by a command", "by one", "by the other"]
        here, there = (next(e.event for e in lab.hub.since(0) if e.event.message == "by one") for lab in (one, other))
        assert here == there
        assert (there.chassis, there.data) == ("hv1", {"author": "alice"})
    async with running() as late:
        await until(late, "by the other")
        assert messages(late) == ["by a command", "by one", "by the other"]


@pytest.mark.asyncio
async def test_what_cannot_be_told_to_others_is_told_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
    (tmp_path / "small" / "told.jsonl").mkdir(parents=True)
    hub = Hub(observed.live())
    monkeypatch.setattr(hub._live, "run", RunDir("small"))
    hub.tell("test.done", "by this one")
    first, second = [entry.event for entry in hub.since(0)]
    assert first.message == "by this one"
    assert (second.kind, second.message.partition(":")[0]) == (
        "failure",
        "other processes of the lab are not told what this one does",
    )
