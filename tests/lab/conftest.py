"""The one fixture that builds a lab: `lab` for a test of its own, `shared_lab` for the tests of a module.

Whatever happens the labs are taken down; a failing test first keeps their logs, flows and captures (tests/conftest.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import RunDirectories
from tests.lab.labs import Lab, Topology, unique_name

Labs = Callable[[Topology], Lab]


@contextmanager
def _labs(run_directories: RunDirectories) -> Iterator[Labs]:
    running: list[Lab] = []

    def build(topology: Topology) -> Lab:
        made = Lab(unique_name())
        running.append(made)
        run_directories.add(made.run.path)
        made.up(topology)
        return made

    try:
        yield build
    finally:
        for made in running:
            run_directories.discard(made.run.path)
        errors = [error for made in running if (error := _down(made))]
        if errors:
            raise ExceptionGroup("labs that could not be taken down", errors)


def _down(made: Lab) -> Exception | None:
    """One that resists must not keep the others up."""
    try:
        made.down()
    except Exception as error:
        return error
    left = made.leftovers()
    return AssertionError(f"lab {made.name} is down and left behind: {left}") if left else None


@pytest.fixture
def lab(run_directories: RunDirectories) -> Iterator[Labs]:
    """`lab(topology) -> Lab`: a path, text or data; any number of them in a test, each with a name of its own."""
    with _labs(run_directories) as build:
        yield build


@pytest.fixture(scope="module")
def shared_lab(run_directories: RunDirectories) -> Iterator[Labs]:
    """The same for fixtures of module scope: tests that only look share a lab."""
    with _labs(run_directories) as build:
        yield build
