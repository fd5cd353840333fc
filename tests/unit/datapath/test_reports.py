"""What is told of chassis: nothing of those that are gone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from datapath.events import ChassisState, PortState
from datapath.reports import Reports


class Reported:
    """What Reports knows of a chassis that has no ports."""

    late = broken = False
    troubles: tuple[str, ...] = ()

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.interfaces: dict[str, Any] = {}
        self.notes: dict[str, tuple[str, ...]] = {}
        self.switch = SimpleNamespace(type=kind, notes=())


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def reports(told: list[ChassisState | PortState], monkeypatch: pytest.MonkeyPatch) -> Reports:
    monkeypatch.setattr("datapath.reports.GATHER", 0.01)
    guests = SimpleNamespace(settled=lambda _: True)
    return Reports(None, guests, lambda _: (), told.append)  # type: ignore[arg-type]


def hold(_: str) -> float:
    return 0.0


async def test_what_was_held_of_a_chassis_goes_with_it(reports: Reports, told: list[Any]) -> None:
    gone, kept = Reported("hv1", "netdev"), Reported("hv2", "netdev")
    for each in (gone, kept):
        reports.report_later(each, hold)  # type: ignore[arg-type]
    reports.keep([kept], ())  # type: ignore[list-item]
    await asyncio.sleep(0.05)
    assert [state.chassis for state in told] == ["hv2"]


async def test_a_successor_of_the_same_name_is_told_of_alone(reports: Reports, told: list[Any]) -> None:
    old, new = Reported("hv1", "netdev"), Reported("hv1", "linux")
    reports.report_later(old, hold)  # type: ignore[arg-type]
    reports.introduce(new)  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    reports.keep([new], ())  # type: ignore[list-item]
    reports.report_later(new, hold)  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    assert [state.datapath_type for state in told] == ["linux", "linux"]
