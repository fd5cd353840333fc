"""The flows of each example topology, as text: a change of the pipeline shows here as a difference to agree to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from datapath.openflow.text import format_flow
from sdn.model import Model
from sdn.names import names
from sdn.pipeline import flows
from sdn.topology import parse

EXAMPLES = sorted((Path(__file__).parents[2] / "topologies").glob("*.yaml"))
LARGE = 3  # of more chassis than this only the first is kept: the others are like it


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_flows_of_example(path: Path, golden: Callable[[str, str], None]) -> None:
    model = parse(path.read_text(), path.name)
    shown = list(model.chassis)[: None if len(model.chassis) <= LARGE else 1]
    golden(f"{path.stem}.flows", "\n".join(text_of(model, chassis) for chassis in shown))


def text_of(model: Model, chassis: str) -> str:
    printed = names(model, chassis)
    lines = [format_flow(flow, printed) for flow in sorted(flows(model, chassis), key=lambda flow: flow.key)]
    return f"# {chassis}\n" + "\n".join(lines) + "\n"
