"""From any state to any other, on any way: the lab ends as if it had never been anything else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest

import sdn.lab
from datapath.openflow.flow import Flow
from sdn.model import Model
from sdn.pipeline import flows
from tests.converge.states import STATES
from tests.converge.truth import differences
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.processes import FORKED, eventually, kill, pid_of, whole

pytestmark = pytest.mark.lab

SEED = 20261121


@pytest.fixture(scope="module")
def running(shared_lab: Labs) -> Lab:
    return shared_lab(STATES["empty"])


def tour(names: list[str], chance: random.Random) -> Iterator[str]:
    """Begins and ends at the first; every ordered pair follows each other just once (Hierholzer's algorithm)."""
    ways = {name: chance.sample([other for other in names if other != name], len(names) - 1) for name in names}
    way, done = [names[0]], []
    while way:
        if ways[way[-1]]:
            way.append(ways[way[-1]].pop())
        else:
            done.append(way.pop())
    return reversed(done)


def test_the_tour_has_every_move_once() -> None:
    stops = list(tour(list(STATES), random.Random(SEED)))
    pairs = list(pairwise(stops))
    assert len(pairs) == len(set(pairs)) == len(STATES) * (len(STATES) - 1)


def test_from_every_state_to_every_other(running: Lab) -> None:
    """Each time exactly the flows, ports, devices and namespaces of the state; the same as on the visits before."""
    seen: dict[str, dict[str, set[Flow]]] = {}
    before = ""
    for state in tour(list(STATES), random.Random(SEED)):
        way = f"{before} → {state}"
        running.apply(STATES[state])
        assert differences(running) == [], way
        assert desired(running.model) == seen.setdefault(state, desired(running.model)), way
        before = state
    assert seen.keys() == STATES.keys()


@pytest.mark.parametrize("state", STATES)
def test_a_second_time_is_no_change(running: Lab, state: str) -> None:
    running.apply(STATES[state])
    again = running.apply(STATES[state])
    assert not again.changed
    assert again.seconds < 5.0
    assert running.mesh() == []


@pytest.mark.parametrize("seed", range(3))
def test_a_random_walk_among_deaths(lab: Labs, seed: int) -> None:
    """Controller or agent are killed just when they are told of the next state."""
    walking = lab(STATES["empty"])
    chance = random.Random(SEED + seed)
    victims = list(FORKED * 2)  # dead thrice in a row they would be given pauses
    chance.shuffle(victims)
    for victim, state in zip(victims, chance.sample(list(STATES), k=len(victims)), strict=True):
        eventually(lambda: pid_of(walking, victim) != 0)  # noqa: B023
        kill(pid_of(walking, victim))
        walking.apply(STATES[state])
        assert differences(walking) == [], state
    eventually(lambda: whole(walking))


def desired(model: Model) -> dict[str, set[Flow]]:
    return {name: set(flows(model, name)) for name in sdn.lab.managed(model)}
