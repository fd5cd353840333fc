"""What reaches what, as a table: node by node in a small lab, network by network in a large one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from datapath.probe import Outcome
from sdn.cli import output
from sdn.cli.output import BAD, GOOD, SOFT, STRONG, Cell
from sdn.cli.pairs import Check
from sdn.model import Model

MOST_NODES: Final = 32
REACHES: Final = "●"
DENIED: Final = "·"
LOST: Final = "✗"
LEAKS: Final = "!"


def reached(results: Iterable[tuple[Check, Outcome]]) -> dict[tuple[str, str], str]:
    """A sign for each pair of nodes; bad news about one address pair outweighs good news about another."""
    rank = (DENIED, REACHES, LEAKS, LOST)
    found: dict[tuple[str, str], str] = {}
    for check, outcome in results:
        if check.probe.expect == "ok":
            sign = REACHES if outcome.passed else LOST
        else:
            sign = DENIED if outcome.passed else LEAKS
        pair = check.source.node, check.target.node
        found[pair] = max(found.get(pair, sign), sign, key=rank.index)
    return found


def show(model: Model, results: Sequence[tuple[Check, Outcome]]) -> None:
    signs = reached(results)
    if len(model.nodes) <= MOST_NODES:
        _by_node(list(model.nodes), signs)
    else:
        _by_network(model, signs)
    legend = (
        (REACHES, GOOD, "reaches"),
        (DENIED, SOFT, "shares no network"),
        (LOST, BAD, "does not reach"),
        (LEAKS, BAD, "must not reach"),
    )
    used = set(signs.values())
    output.say("   ".join(f"{output.paint(sign, style)} {words}" for sign, style, words in legend if sign in used))


def _by_node(nodes: Sequence[str], signs: dict[tuple[str, str], str]) -> None:
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
    styles = {REACHES: GOOD, DENIED: SOFT, LOST: BAD, LEAKS: BAD}
    return output.paint(sign, styles.get(sign, ""))


def _by_network(model: Model, signs: dict[tuple[str, str], str]) -> None:
    home: dict[str, str] = {}
    for port in model.ports.values():
        home.setdefault(port.node, port.network)
    counts: dict[tuple[str, str], list[int]] = {}
    for (source, target), sign in signs.items():
        row = counts.setdefault((home[source], home[target]), [0, 0, 0])
        row[0] += 1
        row[1] += sign in (REACHES, LEAKS)
        row[2] += sign in (LOST, LEAKS)
    rows = []
    for (source, target), (total, answered, wrong) in counts.items():
        state = Cell(f"{wrong:,} wrong", BAD) if wrong else Cell("as it should be", GOOD)
        rows.append((Cell(source, STRONG), Cell(target, STRONG), f"{answered:,} of {total:,}", state))
    output.table(("from network", "to network", "pairs that reach", ""), rows, ("pairs that reach",))
