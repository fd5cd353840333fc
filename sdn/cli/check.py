"""`validate` and `test`: is the file right, and does the lab do what the file says?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from datapath import probe
from datapath.errors import FileError, Problem, SdnError
from datapath.probe import Outcome
from sdn import topology
from sdn.cli import junit, matrix, output, pairs, target
from sdn.cli.output import BAD, GOOD, STRONG, Cell, count
from sdn.cli.pairs import Check, Verdict
from sdn.model import Model, Test
from sdn.model.facts import Facts, GuestFacts

_EXPLAINED: Final = 3
"""Failures of one test that are followed through the tables; the others are likely to be the same."""

_DELIVERED: Final = "the tables deliver it: see sdn status, and whether the node itself answers"

_IN_JSON: Final = {
    matrix.REACHES: "reaches",
    matrix.BEYOND: "reaches beyond its networks",
    matrix.DENIED: "denied",
    matrix.LOST: "lost",
    matrix.LEAKS: "leaks",
    matrix.UNKNOWN: "not tried",
}
"""Signs of the matrix."""


def validate(files: Sequence[Path], as_json: bool) -> int:
    """Check every file; returns the exit code."""
    problems: list[Problem] = []
    unreadable: list[FileError] = []
    for file in files:
        try:
            model = topology.read(file)
        except FileError as error:
            problems += error.problems
            unreadable += [] if error.problems else [error]
        else:
            if not as_json:
                output.say(f"{file}: {output.paint('right', GOOD)} ({output.extent(model)})")
    if as_json:
        rows = [{"file": p.file, "line": p.line, "column": p.column, "message": p.message} for p in problems]
        output.as_json({"problems": [*rows, *({"message": failure.message} for failure in unreadable)]})
    for problem in () if as_json else problems:
        output.note(str(problem))
    for failure in () if as_json else unreadable:
        output.note(str(failure))
    return 2 if problems or unreadable else 0


@dataclass(frozen=True, slots=True)
class Options:
    """What `sdn test` was asked for. `pattern` selects tests by name, as a shell does."""

    pattern: str | None = None
    junit: Path | None = None
    as_json: bool = False
    matrix: bool = False


def run_tests(wanted: str | None, options: Options) -> int:
    """Run the tests of a running lab; a file given must be that lab's, its tests are used. Returns the exit code."""
    model, tests = _model_and_tests(wanted, options.pattern)
    started = time.monotonic()
    verdicts, mesh = _run(model, tests, options.matrix)
    seconds = time.monotonic() - started
    failed = [verdict for verdict in verdicts if not verdict.passed]
    facts = target.running(wanted)[1] if failed and model.guests else Facts()  # not of before: one may just have died
    reasons = {verdict.test.name: list(_reasons(model, facts, verdict)) for verdict in failed}
    if options.junit:
        junit.write(options.junit, junit.document(model.lab, verdicts, reasons, seconds))
    if options.as_json:
        output.as_json(_as_json(model, verdicts, reasons, mesh, seconds))
    else:
        _show(model, verdicts, reasons, mesh, seconds)
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _model_and_tests(wanted: str | None, pattern: str | None) -> tuple[Model, dict[str, Test]]:
    model, _ = target.running(wanted)
    tests = model.tests
    if wanted is not None and target.is_file(wanted):
        written = topology.read(Path(wanted), model)
        if written.nodes.keys() != model.nodes.keys():
            raise FileError(f"{wanted} is not what lab {model.lab} runs", remedy=f"sdn apply {wanted}")
        tests = written.tests
    chosen = {name: test for name, test in tests.items() if pattern is None or fnmatchcase(name, pattern)}
    if pattern is not None and not chosen:
        raise FileError(f"no test is called {pattern}", remedy=f"there are: {', '.join(tests) or 'none'}")
    return model, chosen


_Results = list[tuple[Check, Outcome]]


def _run(model: Model, tests: dict[str, Test], with_matrix: bool) -> tuple[list[Verdict], _Results]:
    asked = pairs.checks(model, tests.values())
    mesh = pairs.mesh(model) if with_matrix else []
    with output.progress({"probes": "probes answered"}) as report:
        everything = [check.probe for check in (*asked, *mesh)]
        outcomes = probe.run(everything, lambda done, total: report("probes", done, total))
    verdicts = pairs.verdicts(tests, asked, outcomes[: len(asked)], model)
    return verdicts, list(zip(mesh, outcomes[len(asked) :], strict=True))


def _show(model: Model, verdicts: list[Verdict], reasons: dict[str, list[str]], mesh: _Results, seconds: float) -> None:
    if verdicts:
        columns = ("test", "probe", "expected", "pairs", "slowest", "result")
        output.table(columns, map(_row, verdicts), ("pairs", "slowest"))
    for name, lines in reasons.items():
        output.say("\n" + output.paint(f"{name} ({model.tests[name].source if name in model.tests else ''})", STRONG))
        for line in lines:
            output.say(f"  {line}")
    if mesh:
        output.say()
        matrix.show(model, mesh)
    failed = sum(not verdict.passed for verdict in verdicts)
    words = f"{failed} of {count(len(verdicts), 'test')} failed" if failed else f"{count(len(verdicts), 'test')} passed"
    if verdicts or not mesh:
        output.say("\n" + output.paint(words, BAD if failed else GOOD) + f" in {seconds:.2f} s")
    if not verdicts:
        output.note("the file has no tests; sdn test --matrix shows what reaches what")


def _row(verdict: Verdict) -> output.Row:
    test = verdict.test
    what = test.probe + (f"/{test.port}" if test.port else "")
    good = sum(verdict.pairs.values())
    times = [outcome.rtt for _, outcome in verdict.results if outcome.rtt is not None]
    slowest = f"{max(times) * 1000:.1f} ms" if times else ""
    expected = {"ok": "answered", "fail": "denied"}[test.expect]
    result = Cell("passed", GOOD) if verdict.passed else Cell("failed", BAD)
    return Cell(test.name, STRONG), what, expected, f"{good}/{len(verdict.pairs)}", slowest, result


def _reasons(model: Model, facts: Facts, verdict: Verdict) -> Iterable[str]:
    """Why a test failed, line by line."""
    if not verdict.results:
        yield "there is no pair of addresses to test"
    for i, (check, outcome) in enumerate(verdict.failures):
        if i == _EXPLAINED:
            yield f"and {count(len(verdict.failures) - i, 'more pair')}"
            return
        probe = check.probe
        yield f"{check.source.node} {probe.source} → {check.target.node} {probe.target}: {_what_happened(outcome)}"
        yield from (f"  {line}" for line in _explain(model, facts, check))


def _what_happened(outcome: Outcome) -> str:
    if outcome.answered:
        return "was answered, must be denied"
    tries = count(outcome.attempts, "attempt")
    return f"{outcome.detail or 'no answer'} ({tries} in {outcome.probe.within:g} s)"


def _explain(model: Model, facts: Facts, check: Check) -> list[str]:
    """Where the tables drop or deliver the packet. That they cannot be followed must not hide the failure itself."""
    from sdn import trace

    version, kind = check.probe.target.version, "icmp" if check.probe.kind == "ping" else check.probe.kind
    try:
        found = trace.trace(model, check.source, check.target, kind, check.probe.port, version)
    except SdnError as error:
        return [f"cannot be traced: {error.message}"]
    lines = found.explain().splitlines()
    if found.reached and check.probe.expect == "ok":
        down = [_state(name, facts.guests[name]) for name in _guests_down(facts, check)]
        lines += [f"the tables deliver it, but {' and '.join(down)}"] if down else [_DELIVERED]
    return lines


def _guests_down(facts: Facts, check: Check) -> Iterator[str]:
    """Those of the two that can neither ask nor answer."""
    for port in (check.source, check.target):
        if port.node in facts.guests and facts.guests[port.node].phase not in ("running", "moving"):
            yield port.node


def _state(name: str, seen: GuestFacts) -> str:
    """`w2 is failed: its kernel panicked`, without the last lines of its console."""
    first, *_ = (seen.error or seen.note).removeprefix("it died: ").splitlines() or [""]
    return f"{name} is {seen.phase}" + (f": {first}" if first else "")


def _as_json(
    model: Model, verdicts: list[Verdict], reasons: dict[str, list[str]], mesh: _Results, seconds: float
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "lab": model.lab,
        "passed": all(verdict.passed for verdict in verdicts),
        "seconds": round(seconds, 3),
        "tests": [_test_json(verdict, reasons.get(verdict.test.name, [])) for verdict in verdicts],
    }
    if mesh:
        signs = matrix.reached(mesh, model.tests.values())
        result["matrix"] = [{"from": a, "to": b, "result": _IN_JSON[sign]} for (a, b), sign in signs.items()]
    return result


def _test_json(verdict: Verdict, reasons: list[str]) -> dict[str, Any]:
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
        "explanation": reasons,
    }
