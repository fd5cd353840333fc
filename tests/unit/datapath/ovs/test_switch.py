"""Open vSwitch as the switch of a chassis: how often it looks at the vtep that somebody takes away again and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from datapath.hearing import Hearing
from datapath.ovs.switch import OvsSwitch
from tests.unit.datapath.linux.test_differences import SPEC


@dataclass
class Home:
    """A namespace in which whatever is done is undone at once, `restless` times."""

    restless: int
    looks: int = 0
    devices: Any = field(default_factory=lambda: SimpleNamespace(version=0))

    def hear(self) -> None:
        """All is known."""

    def settle(self, *_: object) -> None:
        self.looks += 1
        self.devices.version += self.looks <= self.restless


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(home: Home) -> OvsSwitch:
        monkeypatch.setattr(OvsSwitch, "type", "netdev")
        monkeypatch.setattr(OvsSwitch, "_settle_vtep", home.settle)
        switch = OvsSwitch.__new__(OvsSwitch)
        switch._host = SimpleNamespace(namespaces={SPEC.namespace: home})  # type: ignore[assignment]
        switch._told, switch._lost = SPEC.underlay, False
        return switch

    return make


@pytest.mark.parametrize(("restless", "looks", "is_left"), [(0, 1, False), (2, 3, False), (9, 3, True)])
def test_what_is_undone_is_put_right_a_few_times_at_once(restless: int, looks: int, is_left: bool, make: Any) -> None:
    home = Home(restless)
    left: list[Home] = []
    hearing = Hearing.__new__(Hearing)
    hearing._is_busy = lambda: False
    hearing._lookout = SimpleNamespace(examine_soon=left.append)  # type: ignore[assignment]
    chassis: Any = SimpleNamespace(switch=make(home), spec=SPEC)
    hearing._put_right(chassis, home)  # type: ignore[arg-type]
    assert home.looks == looks
    assert left == ([home] if is_left else [])


@pytest.mark.parametrize(("restless", "looks"), [(0, 1), (2, 3), (9, 3)])
async def test_also_when_it_is_told_the_way(restless: int, looks: int, make: Any) -> None:
    home = Home(restless)
    await make(home)._settle_underlay(SPEC)
    assert home.looks == looks
