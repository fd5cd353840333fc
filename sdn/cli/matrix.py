"""What reaches what, as a table: node by node in a small lab, network by network in a large one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from datapath.probe import Outcome
from sdn.cli import output
from sdn.cli.output import BAD, GOOD, SOFT, STRONG, WARNING, Cell
from sdn.lab.pairs import Check
from sdn.lab.reach import BEYOND, DENIED, LEAKS, LOST, REACHES, UNKNOWN, Pair, reached
from sdn.model import Model

MOST_NODES: Final = 32

_LEGEND: Final = (
    (REACHES, GOOD, "reaches"),
    (BEYOND, WARNING, "reaches, though it shares no network; no test says whether it may"),
    (DENIED, SOFT, "does not reach, and shares no network"),
    (LOST, BAD, "does not reach"),
    (LEAKS, BAD, "must not reach"),
    (UNKNOWN, WARNING, "could not be tried"),
)
_STYLES: Final = {sign: style for sign, style, _ in _LEGEND}


def show(model: Model, results: Sequence[tuple[Check, Outcome]]) -> None:
    signs = reached(results, model.tests.values())
    if len(model.nodes) <= MOST_NODES:
        _by_node(list(model.nodes), signs)
    else:
        _by_network(model, signs)
    used = set(signs.values())
    output.say("   ".join(f"{output.paint(sign, style)} {words}" for sign, style, words in _LEGEND if sign in used))


def _by_node(nodes: Sequence[str], signs: dict[Pair, str]) -> None:
    """Columns are numbered: names would not fit above single characters."""
    wide = max(map(len, nodes), default=0)
    digits = len(str(len(nodes)))
    for place in range(digits):
        heads = " ".join(str(i + 1).rjust(digits)[place] for i in range(len(nodes)))
        output.say(output.paint(" " * (wide + digits + 3) + heads, SOFT))
    for i, source in enumerate(nodes):
        row = " ".join(_painted(" " if source == target else signs.get((source, target), " ")) for target in nodes)
        output.say(f"{output.paint(str(i + 1).rjust(digits), SOFT)} {output.paint(source.ljust(wide), STRONG)}  {row}")


def _painted(sign: str) -> str:
    return output.paint(sign, _STYLES.get(sign, ""))


def _by_network(model: Model, signs: dict[Pair, str]) -> None:
    home: dict[str, str] = {}
    for port in model.ports.values():
        home.setdefault(port.node, port.network)
    counts: dict[tuple[str, str], list[int]] = {}
    for (source, target), sign in signs.items():
        row = counts.setdefault((home[source], home[target]), [0, 0, 0])
        row[0] += 1
        row[1] += sign in (REACHES, BEYOND, LEAKS)
        row[2] += sign in (LOST, LEAKS)
    rows = []
    for (source, target), (total, answered, wrong) in counts.items():
        state = Cell(f"{wrong:,} wrong", BAD) if wrong else Cell("as it should be", GOOD)
        rows.append((Cell(source, STRONG), Cell(target, STRONG), f"{answered:,} of {total:,}", state))
    output.table(("from network", "to network", "pairs that reach", ""), rows, ("pairs that reach",))
