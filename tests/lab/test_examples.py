"""Each example does what it says, is left alone by a second apply, and goes without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

import sdn.lab
from tests.lab.conftest import Labs
from tests.lab.labs import TOPOLOGIES, Lab

pytestmark = pytest.mark.lab

EXAMPLES = sorted(TOPOLOGIES.glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(lab: Labs, path: Path) -> None:
    example = lab(path)
    assert example.results[-1].changed
    assert sdn.lab.status(example.name).troubles == ()
    verdicts = example.test()
    assert {verdict.test.name for verdict in verdicts} == example.model.tests.keys() != set()
    assert [verdict.test.name for verdict in verdicts if not verdict.passed] == []
    check_apply_changes_nothing(example, path)
    assert not example.up(path).changed, "up looks at everything, and finds it right"
    assert example.leftovers()
    assert example.down()
    assert example.leftovers() == []
    assert not example.down()


def check_apply_changes_nothing(example: Lab, path: Path) -> None:
    """No revision, no flow-mod, no transaction: nobody is even told."""
    before = traces(example)
    for again in (example.apply(path), example.apply(path)):
        assert (again.changed, again.revision) == (False, example.results[0].revision)
        assert again.seconds < 5
    assert traces(example) == before


def traces(example: Lab) -> dict[str, object]:
    """What work would leave behind: lines in logs, counters of the switches, numbers of transactions."""
    chassis = [name for name in sdn.lab.managed(example.model) if example.model.chassis[name].has_tables]
    return {
        "controller": example.log("controller"),
        "agent": example.log("agent"),
        "supervisor": example.log("supervisor"),
        "flows": {name: sorted(entry.flow for entry in example.flows(name)) for name in chassis},
        "switch": {name: example.vsctl(name, "get", "Open_vSwitch", ".", "next_cfg") for name in chassis},
        "facts": example.facts,
    }
