"""The history of a real lab: every change ends, also one that nobody saw the end of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sdn.model.history import Revision
from sdn.store import Store
from sdn.store.history import model_at
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.processes import eventually, kill, pid_of

pytestmark = pytest.mark.lab


def topology(nodes: int) -> dict[str, Any]:
    return {
        "chassis": {"hv[1-2]": {}},
        "networks": {"lan": {"segment": {"vxlan": 100}, "subnet": "10.7.0.0/24"}},
        "nodes": {f"n[1-{nodes}]": {"network": "lan"}},
    }


@pytest.fixture
def running(lab: Labs) -> Lab:
    return lab(topology(2))


@pytest.fixture
def past(running: Lab) -> Iterator[Store]:
    opened = Store.open(running.run.store_socket, history=True)
    yield opened
    opened.close()


def unsettled(past: Store) -> list[Revision]:
    return [revision for revision in past.revisions().values() if not revision.settled]


def test_every_change_ends_in_the_time_that_it_took(running: Lab, past: Store) -> None:
    first = running.model
    took = [running.apply(topology(nodes)).seconds for nodes in (4, 3, 6)]
    eventually(lambda: len(past.revisions()) == 4 and not unsettled(past))
    revisions = past.revisions()
    assert [revision.errors for revision in revisions.values()] == [(), (), (), ()]
    for number, seconds in enumerate(took, 2):
        measured = revisions[number].seconds
        assert measured is not None
        assert 0 < measured < seconds + 0.1
    model = past.model()
    assert model is not None
    assert model_at(model, revisions, 1) == first


def test_what_was_changed_while_the_controller_was_dead_ends_when_it_is_back(running: Lab, past: Store) -> None:
    model = running.model
    killed = kill(pid_of(running, "controller"))
    for nodes in (3, 4):
        past.write(running.parse(topology(nodes), model))
    eventually(lambda: pid_of(running, "controller") not in (0, killed))
    eventually(lambda: len(past.revisions()) == 3 and not unsettled(past))
    assert [revision.errors for revision in past.revisions().values()] == [(), (), ()]


def test_a_change_that_cannot_be_built_ends_with_the_reason(running: Lab, past: Store) -> None:
    wanted = running.parse(topology(2) | {"physnets": {"office": {}}}, running.model)
    office = replace(wanted.physnets["office"], interface="sdnt-none")
    chassis = wanted.chassis | {"hv1": replace(wanted.chassis["hv1"], physnets=("office",))}
    past.write(replace(wanted, physnets={"office": office}, chassis=chassis))
    eventually(lambda: not unsettled(past))
    (error, *_) = past.revisions()[2].errors
    assert "sdnt-none" in error
    past.write(running.parse(topology(2), running.model))
    eventually(lambda: len(past.revisions()) == 3 and not unsettled(past))
    assert past.revisions()[3].errors == ()
