"""Supervision when what follows a restart fails, which is told as an error and tried again; and a pair that is removed
while it starts. No daemon is started."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datapath.errors import TransientError
from datapath.ovs import pair
from datapath.ovs.daemons import DaemonName, Place
from datapath.ovs.pair import Pair


class Started(Pair):
    async def _start_missing(self, home: Any, beginning: Any) -> None:
        self._descriptors["ovs-vswitchd"] = -1
        self.trouble.pop("ovs-vswitchd", None)


@pytest.mark.parametrize("error", [OSError(105, "No buffer space available"), TransientError("not now")])
async def test_what_follows_a_restart_is_tried_until_it_succeeds(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair, "FIRST_PAUSE", 0.01)
    failures = [error, error]
    told: list[dict[DaemonName, str]] = []

    async def after_restart(_: DaemonName) -> None:
        if failures:
            raise failures.pop()

    with ThreadPoolExecutor(1) as executor:
        made = Started(
            Place(tmp_path), "lab", executor, lambda *_: None, after_restart, lambda: told.append(dict(made.trouble))
        )
        made._home = object()  # type: ignore[assignment]
        await asyncio.wait_for(made._restart("ovs-vswitchd"), 5)
    assert [list(trouble) for trouble in told] == [["ovs-vswitchd"], ["ovs-vswitchd"], []]
    assert str(error) in told[0]["ovs-vswitchd"]


class Connecting:
    """A connection to a database that answers when it is let."""

    made: list[Connecting]
    may: threading.Event

    def __init__(self, *_: Any) -> None:
        self.is_closed = False
        self.made.append(self)
        self.may.wait(5)

    def begin(self, _: Any) -> None:
        """It has its bridges."""

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture
def connecting(monkeypatch: pytest.MonkeyPatch) -> type[Connecting]:
    """Daemons are ends of pipes."""
    monkeypatch.setattr(Connecting, "made", [], raising=False)
    monkeypatch.setattr(Connecting, "may", threading.Event(), raising=False)
    monkeypatch.setattr(pair, "Switch", Connecting)
    monkeypatch.setattr(pair, "needed", lambda _: {})
    monkeypatch.setattr(pair, "inside", nullcontext)
    monkeypatch.setattr(pair, "_GRACE", 0.05)
    for name, instead in (("schema", lambda _: {}), ("adopt", lambda *_: None), ("end", os.close)):
        monkeypatch.setattr(pair.daemons, name, instead)
    return Connecting


async def test_a_pair_removed_while_it_connects_lets_go_of_what_it_gets(
    connecting: type[Connecting], executor: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    ends: list[int] = []

    def start(_: Place, daemon: DaemonName) -> int:
        started.append(daemon)
        ends.append(os.eventfd(0))
        return ends[-1]

    monkeypatch.setattr(pair.daemons, "start", start)
    (tmp_path / "blank").touch()
    place = Place(tmp_path / "hv1")
    made = Pair(place, "lab", executor, None, None, lambda: None)  # type: ignore[arg-type]
    home: Any = SimpleNamespace(descriptor=lambda: nullcontext(0), inode=1)
    ensured = asyncio.create_task(made.ensure(home, tmp_path / "blank", {}))
    while not connecting.made:
        await asyncio.sleep(0.001)
    await made.remove()
    assert not place.directory.exists()
    connecting.may.set()
    with pytest.raises(TransientError):
        await ensured
    assert ([each.is_closed for each in connecting.made], made.switch) == ([True], None)
    assert started == ["ovsdb-server"]
    for end in ends:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)
    with pytest.raises(TransientError):
        await made.ensure(home, tmp_path / "blank", {})
    assert not place.directory.exists()


async def test_a_connection_that_hangs_holds_up_no_loop(
    connecting: type[Connecting], executor: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    monkeypatch.setattr(connecting, "close", lambda _: threads.append(threading.current_thread()))
    connecting.may.set()
    made = Pair(Place(tmp_path / "hv1"), "lab", executor, None, None, lambda: None)  # type: ignore[arg-type]
    made.switch = connecting()  # type: ignore[assignment]
    await made.remove()
    assert [each is threading.main_thread() for each in threads] == [False]
