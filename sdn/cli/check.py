"""`validate` and `test`: is the file right, and does the lab do what the file says?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datapath.errors import FileError, Problem
from sdn import topology
from sdn.cli import junit, matrix, output, target
from sdn.cli.output import BAD, GOOD, STRONG, Cell, count
from sdn.lab import testing, told
from sdn.lab.observed import observer
from sdn.lab.pairs import Verdict
from sdn.lab.rundir import RunDir
from sdn.lab.testing import Findings
from sdn.model import Model, Test


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
    with output.progress({"probes": "probes answered"}) as report:
        found = testing.run(
            model,
            tests,
            lambda: target.running(wanted)[1],
            observer(model.lab),
            matrix=options.matrix,
            progress=lambda done, total: report("probes", done, total),
        )
    if options.junit:
        junit.write(options.junit, junit.document(model.lab, found.verdicts, found.reasons, found.seconds))
    values = testing.values(found)
    if found.verdicts:
        _tell(values)
    if options.as_json:
        output.as_json(values)
    else:
        _show(found)
    return 0 if found.passed else 1


def _tell(found: dict[str, Any]) -> None:
    """Those who follow the lab's events hear of it."""
    try:
        told.append(RunDir(found["lab"]).told, told.of_tests(found))
    except OSError as error:
        output.note(f"the lab's events do not tell of this: {error}")


def _model_and_tests(wanted: str | None, pattern: str | None) -> tuple[Model, dict[str, Test]]:
    model, _ = target.running(wanted)
    tests = model.tests
    if wanted is not None and target.is_file(wanted):
        written = topology.read(Path(wanted), model)
        if written.nodes.keys() != model.nodes.keys():
            raise FileError(f"{wanted} is not what lab {model.lab} runs", remedy=f"sdn apply {wanted}")
        tests = written.tests
    return model, testing.chosen(tests, pattern)


def _show(found: Findings) -> None:
    model, verdicts = found.model, found.verdicts
    if verdicts:
        columns = ("test", "probe", "expected", "pairs", "slowest", "result")
        output.table(columns, map(_row, verdicts), ("pairs", "slowest"))
    for name, lines in found.reasons.items():
        output.say("\n" + output.paint(f"{name} ({model.tests[name].source if name in model.tests else ''})", STRONG))
        for line in lines:
            output.say(f"  {line}")
    if found.mesh:
        output.say()
        matrix.show(model, found.mesh)
    failed = sum(not verdict.passed for verdict in verdicts)
    words = f"{failed} of {count(len(verdicts), 'test')} failed" if failed else f"{count(len(verdicts), 'test')} passed"
    if verdicts or not found.mesh:
        output.say("\n" + output.paint(words, BAD if failed else GOOD) + f" in {found.seconds:.2f} s")
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
