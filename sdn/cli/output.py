"""How things look: tables, colours, progress, JSON. Enters: text and values. Leaves: lines on stdout and stderr.

Results go to stdout, progress and errors to stderr. On a terminal there are colours (unless NO_COLOR is set) and live
progress; otherwise aligned columns and one line for each phase, without loading rich at all.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from sdn.model import Model

OnProgress = Callable[[str, int, int], None]

GOOD: Final = "32"
BAD: Final = "31"
WARNING: Final = "33"
SOFT: Final = "2"
STRONG: Final = "1"
ACCENT: Final = "36"
"""ANSI SGR parameters (ECMA-48 section 8.3.117)."""

_RICH: Final = {GOOD: "green", BAD: "red", WARNING: "yellow", SOFT: "dim", STRONG: "bold", ACCENT: "cyan"}


class Cell(NamedTuple):
    """Text of a table with one of the styles above."""

    text: str
    style: str = ""


Row = Sequence[Cell | str | int]


def coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """`text` in a style where `stream` (stdout) shows styles."""
    return f"\033[{style}m{text}\033[0m" if style and coloured(stream or sys.stdout) else text


def say(text: str = "") -> None:
    print(text)


def note(text: str) -> None:
    """To stderr: about the work, not its result."""
    print(text, file=sys.stderr, flush=True)


def as_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, default=str)
    print()


def table(columns: Sequence[str], rows: Iterable[Row], right: Iterable[str] = ()) -> None:
    """A table; the columns named in `right` are aligned to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    places = {columns.index(name) for name in right}
    if sys.stdout.isatty():
        _rich_table(columns, cells, places)
    else:
        _plain_table(columns, cells, places)


def _cell(value: Cell | str | int) -> Cell:
    return value if isinstance(value, Cell) else Cell(str(value))


def _plain_table(columns: Sequence[str], cells: list[list[Cell]], right: set[int]) -> None:
    lines = [[name.upper() for name in columns], *([cell.text for cell in row] for row in cells)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = (
            text.rjust(width) if i in right else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(padded).rstrip())


def _rich_table(columns: Sequence[str], cells: list[list[Cell]], right: set[int]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for i, name in enumerate(columns):
        made.add_column(name, justify="right" if i in right else "left", overflow="fold")
    for row in cells:
        made.add_row(*(Text(cell.text, style=_RICH.get(cell.style, "")) for cell in row))
    Console().print(made)


@contextmanager
def progress(words: dict[str, str]) -> Iterator[OnProgress]:
    """Yields a callback for (phase, done, total); `words` says what a phase is called."""
    if sys.stderr.isatty():
        with _live(words) as report:
            yield report
    else:
        yield _lines(words)


def _lines(words: dict[str, str]) -> OnProgress:
    """One line when a phase begins and one when it is done."""
    said: set[tuple[str, bool]] = set()

    def report(phase: str, done: int, total: int) -> None:
        finished = done >= total
        if (phase, finished) not in said and (finished or done == 0):
            said.add((phase, finished))
            note(f"{words.get(phase, phase)}: {done}/{total}")

    return report


@contextmanager
def _live(words: dict[str, str]) -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _bars(words, bars)


def _bars(words: dict[str, str], bars: Progress) -> OnProgress:
    tasks: dict[str, TaskID] = {}

    def report(phase: str, done: int, total: int) -> None:
        if phase not in tasks:
            tasks[phase] = bars.add_task(words.get(phase, phase), total=total)
        bars.update(tasks[phase], completed=done, total=total)

    return report


def count(number: int, one: str, many: str = "") -> str:
    """`3 nodes`, `1 node`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def since(seconds: float) -> str:
    """How long ago, in the largest unit and the next one: `2 h 5 min`, `90 d`."""
    whole = max(int(seconds), 0)
    amounts: list[tuple[int, str]] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        amount, whole = divmod(whole, size)
        if amount or amounts:
            amounts.append((amount, unit))
    return " ".join(f"{amount} {unit}" for amount, unit in amounts[:2] if amount) or "0 s"


def extent(model: Model) -> str:
    """`3 chassis, 7 nodes, 2 guests, 2 networks`: guests are counted apart from other nodes."""
    guests = len(model.guests)
    nodes = [count(len(model.nodes) - guests, "node")] if len(model.nodes) > guests or not guests else []
    machines = [count(guests, "guest")] if guests else []
    chassis, networks = count(len(model.chassis), "chassis", "chassis"), count(len(model.networks), "network")
    return ", ".join([chassis, *nodes, *machines, networks])


_UNITS: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def size(number: int) -> str:
    """`128 MiB`, `1.5 GiB`: in the largest unit that it is at least one of."""
    for unit, name in _UNITS:
        if number >= unit:
            return f"{number / unit:.3g} {name}" if number / unit < 1000 else f"{number // unit:,} {name}"
    return f"{number} B"
