"""The lab's own processes as events: who has ended, who runs again, what is known of before."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from sdn.api.looked_after import KIND, changes, restarted
from sdn.lab import processes
from sdn.lab.processes import Process
from tests.unit.api.memory import running

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
