"""Supervision when what follows a restart fails: it is told as an error, and tried again. No daemon is started."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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
