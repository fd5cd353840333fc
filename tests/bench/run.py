"""Runs the benchmarks. Enters: the functions registered in bench_*.py. Leaves: a table, and artifacts/bench.jsonl.

    python -m tests.bench.run             all of them
    python -m tests.bench.run flows       those with `flows` in their name, module or description
    python -m tests.bench.run --json      JSON lines on stdout instead of the table
    python -m tests.bench.run --list

Each runs in a process of its own, one after the other, so that none pays for another's heap or is lost with its crash.
Exit 1: one could not be measured, or missed its target.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.bench.registry import BENCHES, Bench, Measured

HERE = Path(__file__).parent
RESULTS = HERE.parent.parent / "artifacts" / "bench.jsonl"
STDERR = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    bench: Bench
    measured: Measured | None
    error: str = ""

    @property
    def met(self) -> bool | None:
        """None: nothing was promised."""
        if self.measured is None:
            return False
        return self.bench.target.met(self.measured) if self.bench.target else None

    def as_json(self) -> dict[str, object]:
        bench, measured = self.bench, self.measured
        return {
            "name": bench.name,
            "what": bench.what,
            "unit": bench.unit,
            "ours": measured and measured.ours,
            "peer": measured and measured.peer,
            "peer_name": bench.peer,
            "ratio": measured and measured.ratio,
            "target": str(bench.target or ""),
            "met": self.met,
            "note": measured.note if measured else "",
            "error": self.error,
        }


def main() -> int:
    arguments = _arguments()
    _load()
    if arguments.child:
        return _measure_here(arguments.only, Path(arguments.child))
    chosen = [bench for bench in BENCHES if _chosen(bench, arguments.only)]
    if not chosen:
        STDERR.print(f"no benchmark is called like {arguments.only!r}; --list shows them")
        return 2
    if arguments.list:
        for bench in chosen:
            print(f"{bench.name:40} {bench.what}")
        return 0
    outcomes = list(_run(chosen))
    _write(outcomes)
    _print_json(outcomes) if arguments.json else _print_table(outcomes)
    return 1 if any(outcome.met is False for outcome in outcomes) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measures, beside the peers.")
    parser.add_argument("only", nargs="?", default="", help="part of a name, module or description")
    parser.add_argument("--json", action="store_true", help="JSON lines on stdout instead of the table")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _load() -> None:
    for path in sorted(HERE.glob("bench_*.py")):
        importlib.import_module(f"tests.bench.{path.stem}")


def _chosen(bench: Bench, only: str) -> bool:
    return only.lower() in bench.name.lower() or only.lower() in bench.what.lower()


def _run(chosen: Iterable[Bench]) -> Iterator[Outcome]:
    for bench in chosen:
        with STDERR.status(f"measuring: {bench.what}"):
            outcome = _measure_apart(bench)
        STDERR.print(f"· {bench.what}: {_brief(outcome)}", highlight=False, markup=False)
        yield outcome


def _measure_apart(bench: Bench) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="sdn-bench-") as directory:
        result = Path(directory) / "result.json"
        command = [sys.executable, "-m", "tests.bench.run", "--child", str(result), bench.name]
        # What a benchmark prints goes to stderr: stdout is for the results.
        child = subprocess.Popen(command, stdout=sys.stderr)
        try:
            code = child.wait(bench.timeout)
        except subprocess.TimeoutExpired:
            _interrupt(child)
            return Outcome(bench, None, f"not done after {bench.timeout:g} s")
        if code:
            return Outcome(bench, None, f"ended with exit code {code} (its traceback is above)")
        return Outcome(bench, Measured(**json.loads(result.read_text())))


def _interrupt(child: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C would, so that its `finally` blocks take the lab down."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _measure_here(name: str, result: Path) -> int:
    bench = next(bench for bench in BENCHES if bench.name == name)
    measured = bench.measure()
    result.write_text(json.dumps({"ours": measured.ours, "peer": measured.peer, "note": measured.note}))
    return 0


def _brief(outcome: Outcome) -> str:
    return f"{_figure(outcome.measured.ours)} {outcome.bench.unit}" if outcome.measured else outcome.error


def _write(outcomes: Iterable[Outcome]) -> None:
    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(outcome.as_json() | machine) + "\n" for outcome in outcomes))


def _print_json(outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        print(json.dumps(outcome.as_json()))


def _print_table(outcomes: Iterable[Outcome]) -> None:
    table = Table("what", "ours", "peer", "ratio", "target", "met?", "note")
    for outcome in outcomes:
        table.add_row(*_row(outcome), _verdict(outcome), escape(_remark(outcome)))
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(table)
    console.print(f"written to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")


def _row(outcome: Outcome) -> tuple[str, ...]:
    bench, measured = outcome.bench, outcome.measured
    what, target = escape(bench.what), str(bench.target or "-")
    if measured is None:
        return (what, "-", "-", "-", target)
    peer = f"{_figure(measured.peer)} {bench.peer}".strip() if measured.peer is not None else "-"
    ratio = f"{measured.ratio:.2f}" if measured.ratio is not None else "-"
    return (what, f"{_figure(measured.ours)} {bench.unit}", escape(peer), ratio, target)


def _verdict(outcome: Outcome) -> str:
    return {True: "[green]yes[/]", False: "[red]no[/]", None: "-"}[outcome.met]


def _remark(outcome: Outcome) -> str:
    return outcome.measured.note if outcome.measured else outcome.error


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
