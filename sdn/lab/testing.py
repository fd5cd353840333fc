"""The tests of a model, run: real packets between real nodes, and why a test failed.

Enters: a Model whose lab runs here, and its tests. Leaves: Findings, and the same as plain values, which the command
line and the API both show. Never: a change of the lab.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from datapath import probe
from datapath.errors import FileError, SdnError
from datapath.probe import Outcome
from sdn.lab import pairs, reach
from sdn.lab.pairs import Check, Verdict
from sdn.model import Model, Test
from sdn.model.facts import Facts, GuestFacts

if TYPE_CHECKING:
    from sdn.trace import Fabric, Observed
    from sdn.way import Trace

_EXPLAINED: Final = 3
"""Failures of one test that are followed through the tables; the others are likely to be the same."""

_DELIVERED: Final = "the tables deliver it: see sdn status, and whether the node itself answers"

Results = tuple[tuple[Check, Outcome], ...]


@dataclass(frozen=True)
class Findings:
    """What came of the tests of `model`. `mesh` is every node to every other, where that was asked for; `reasons` says
    line by line why a test failed. `seconds` is how long it took."""

    model: Model
    verdicts: tuple[Verdict, ...]
    mesh: Results
    seconds: float
    reasons: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(verdict.passed for verdict in self.verdicts)


def chosen(tests: Mapping[str, Test], pattern: str | None) -> dict[str, Test]:
    """Those of a name such as `db-*`; None: all. Raises FileError where there is none."""
    found = {name: test for name, test in tests.items() if pattern is None or fnmatchcase(name, pattern)}
    if pattern is not None and not found:
        raise FileError(f"no test is called {pattern}", remedy=f"there are: {', '.join(tests) or 'none'}")
    return found


def run(
    model: Model,
    tests: Mapping[str, Test],
    facts: Callable[[], Facts],
    observed: Observed | None = None,
    *,
    matrix: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Findings:
    """Send the packets, and wait for what becomes of them. `facts` tells how the lab is afterwards: a guest may just
    have died; `observed` which flows its switches have: somebody may have added his own."""
    started = time.monotonic()
    asked = pairs.checks(model, tests.values())
    mesh = pairs.mesh(model) if matrix else []
    outcomes = probe.run([check.probe for check in (*asked, *mesh)], progress)
    verdicts = tuple(pairs.verdicts(tests, asked, outcomes[: len(asked)], model))
    seconds = time.monotonic() - started
    failed = [verdict for verdict in verdicts if not verdict.passed]
    known = facts() if failed else Facts()
    reasons = _all_reasons(model, known, failed, observed) if failed else {}
    return Findings(model, verdicts, tuple(zip(mesh, outcomes[len(asked) :], strict=True)), seconds, reasons)


def _all_reasons(
    model: Model, facts: Facts, failed: Iterable[Verdict], observed: Observed | None
) -> dict[str, tuple[str, ...]]:
    """Each switch on the way of any of them is asked once."""
    from sdn.trace import Fabric

    fabric = Fabric(model, observed, facts)
    return {verdict.test.name: tuple(_reasons(fabric, facts, verdict)) for verdict in failed}


def _reasons(fabric: Fabric, facts: Facts, verdict: Verdict) -> Iterable[str]:
    """Why a test failed, line by line."""
    if not verdict.results:
        yield "there is no pair of addresses to test"
    for i, (check, outcome) in enumerate(verdict.failures):
        if i == _EXPLAINED:
            left = len(verdict.failures) - i
            yield f"and {left:,} more pair{'s' * (left > 1)}"
            return
        probe = check.probe
        yield f"{check.source.node} {probe.source} → {check.target.node} {probe.target}: {_what_happened(outcome)}"
        yield from (f"  {line}" for line in _explain(fabric, facts, check))


def _what_happened(outcome: Outcome) -> str:
    if outcome.answered:
        return "was answered, must be denied"
    tries = f"{outcome.attempts:,} attempt{'s' * (outcome.attempts != 1)}"
    return f"{outcome.detail or 'no answer'} ({tries} in {outcome.probe.within:g} s)"


def _explain(fabric: Fabric, facts: Facts, check: Check) -> list[str]:
    """Where the tables drop or deliver the packet. That they cannot be followed must not hide the failure itself."""
    from sdn import trace

    version, kind = check.probe.target.version, "icmp" if check.probe.kind == "ping" else check.probe.kind
    try:
        found = trace.trace(fabric, check.source, check.target, kind, check.probe.port, version)
        lines = found.explain().splitlines()
        if found.reached and check.probe.expect == "ok":
            lines += _although_delivered(fabric, facts, check, kind)
    except SdnError as error:
        return [f"cannot be traced: {error.message}"]
    return lines


def _although_delivered(fabric: Fabric, facts: Facts, check: Check, kind: str) -> list[str]:
    """It takes more than the packet: both ends, who asks for whose MAC, and the answer."""
    down = [_state(name, facts.guests[name]) for name in _guests_down(facts, check)]
    if down:
        return [f"the tables deliver it, but {' and '.join(down)}"]
    lost = [f"but {what}: {way.explain()}" for what, way in _the_rest(fabric, check, kind) if not way.reached]
    return lost[:1] or [_DELIVERED]


def _the_rest(fabric: Fabric, check: Check, kind: str) -> Iterator[tuple[str, Trace]]:
    """What else has to arrive, in the order in which it is sent."""
    from sdn import trace

    ends, port, version = (check.source, check.target), check.probe.port, check.probe.target.version
    for asking, asked in (ends, ends[::-1]):
        what = f"{asking.node} asks for the MAC of {asked.node}"
        yield what, trace.trace(fabric, asking, asked, "arp", 0, version)
    yield "the answer", trace.answer(fabric, *ends, kind, port, version)


def _guests_down(facts: Facts, check: Check) -> Iterator[str]:
    """Those of the two that can neither ask nor answer."""
    for port in (check.source, check.target):
        if port.node in facts.guests and facts.guests[port.node].phase not in ("running", "moving"):
            yield port.node


def _state(name: str, seen: GuestFacts) -> str:
    """`w2 is failed: its kernel panicked`, without the last lines of its console."""
    first, *_ = (seen.error or seen.note).removeprefix("it died: ").splitlines() or [""]
    return f"{name} is {seen.phase}" + (f": {first}" if first else "")


def values(findings: Findings) -> dict[str, Any]:
    """For JSON."""
    result: dict[str, Any] = {
        "lab": findings.model.lab,
        "passed": findings.passed,
        "seconds": round(findings.seconds, 3),
        "tests": [_test(verdict, findings.reasons.get(verdict.test.name, ())) for verdict in findings.verdicts],
    }
    if findings.mesh:
        signs = reach.reached(findings.mesh, findings.model.tests.values())
        result["matrix"] = [{"from": a, "to": b, "result": reach.WORDS[sign]} for (a, b), sign in signs.items()]
    return result


def _test(verdict: Verdict, reasons: Iterable[str]) -> dict[str, Any]:
    test = verdict.test
    return {
        "name": test.name,
        "source": str(test.source),
        "probe": test.probe,
        "port": test.port,
        "expect": test.expect,
        "passed": verdict.passed,
        "pairs": len(verdict.pairs),
        "passed_pairs": sum(verdict.pairs.values()),
        "failures": [
            {
                "from": check.source.name,
                "to": check.target.name,
                "address": str(check.probe.target),
                "attempts": outcome.attempts,
                "answered": outcome.answered,
                "detail": outcome.detail,
            }
            for check, outcome in verdict.failures
        ],
        "explanation": list(reasons),
    }
