"""A lab's guests with a fake driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.unit.datapath.guest.fakes import FakeDriver, World, calm

Worlds = Callable[..., World]


@pytest.fixture
async def worlds(tmp_path: Path) -> AsyncIterator[Worlds]:
    """`worlds(...)`: each is an agent's; the one before has ended, its guests have not."""
    made: list[World] = []

    def build(before: FakeDriver | None = None, **settings: object) -> World:
        made.append(World(tmp_path, before, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for each in made:
        each.guests.close()
    await calm()


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds()
