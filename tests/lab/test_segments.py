"""Every kind of segment in one lab, on one integration bridge per chassis."""

from __future__ import annotations

import pytest

from tests.lab.conftest import Labs
from tests.lab.labs import TOPOLOGIES, Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def segments(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGIES / "segments.yaml")


def test_what_the_file_says(segments: Lab) -> None:
    verdicts = segments.test()
    assert {verdict.test.name for verdict in verdicts} == set(segments.model.tests)
    assert [verdict.test.name for verdict in verdicts if not verdict.passed] == []


def test_every_node_reaches_exactly_its_network(segments: Lab) -> None:
    assert segments.mesh() == []
