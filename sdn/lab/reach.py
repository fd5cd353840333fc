"""What reaches what, by pair of nodes: probes of the whole mesh, judged.

Enters: Checks with their Outcomes, and what the file's tests say. Leaves: a sign for each pair. Never: a table or
a page, which are drawn of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from datapath.probe import Expect, Outcome
from sdn.lab.pairs import Check
from sdn.model import Test

REACHES: Final = "●"
DENIED: Final = "·"
LOST: Final = "✗"
LEAKS: Final = "!"
BEYOND: Final = "○"
UNKNOWN: Final = "?"

WORDS: Final = {
    REACHES: "reaches",
    BEYOND: "reaches beyond its networks",
    DENIED: "denied",
    LOST: "lost",
    LEAKS: "leaks",
    UNKNOWN: "not tried",
}
"""In JSON."""
_RANK: Final = (DENIED, REACHES, BEYOND, UNKNOWN, LEAKS, LOST)

Pair = tuple[str, str]


def reached(results: Iterable[tuple[Check, Outcome]], tests: Iterable[Test]) -> dict[Pair, str]:
    """A sign for each pair of nodes; bad news about one address pair outweighs good news about another.

    Nodes that share no network may be meant to reach each other, by a node that is a router: the tests say so.
    """
    said = _said(tests)
    found: dict[Pair, str] = {}
    for check, outcome in results:
        pair = check.source.node, check.target.node
        sign = _sign(check, outcome, said.get(pair))
        found[pair] = max(found.get(pair, sign), sign, key=_RANK.index)
    return found


def _said(tests: Iterable[Test]) -> dict[Pair, Expect]:
    return {
        (source, target): test.expect
        for test in tests
        if test.probe == "ping"
        for source in test.sources
        for target in test.targets
    }


def _sign(check: Check, outcome: Outcome, said: Expect | None) -> str:
    """`said` is what a test expects of the pair."""
    expected = said or check.probe.expect
    if outcome.answered and expected == "fail":
        return LEAKS if said else BEYOND
    if outcome.answered:
        return REACHES
    if expected == "ok":
        return LOST
    return DENIED if outcome.passed or check.probe.expect == "ok" else UNKNOWN
