"""Families of metrics as text, in Prometheus' format or OpenMetrics. PURE.

Enters: families with their rows. Leaves: lines. Never: a row looked at twice: prometheus-client takes 10 us for one,
and a lab of 1,000 ports has some 10,000 of them at each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

Kind = Literal["gauge", "counter"]
Row = tuple[tuple[str, ...], float]
"""Values of the labels, and the number."""
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Family:
    """`name` of a counter ends in `_total`; units are base units, and in the name."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    rows: Iterable[Row] = field(default=(), compare=False)


def text(families: Iterable[Family], always: Mapping[str, str], *, open_metrics: bool) -> str:
    """`always` are labels of all rows. Without OpenMetrics' `# EOF`, which comes after the last family of all."""
    first = tuple(f'{name}="{value.translate(_ESCAPED)}"' for name, value in always.items())
    lines: list[str] = []
    for family in families:
        lines += _lines(family, first, open_metrics)
    return "\n".join([*lines, ""]) if lines else ""


def _lines(family: Family, first: Sequence[str], open_metrics: bool) -> Iterator[str]:
    """OpenMetrics names a counter without the `_total` that its samples have."""
    named = family.name.removesuffix("_total") if open_metrics and family.kind == "counter" else family.name
    yield f"# HELP {named} {family.help}"
    yield f"# TYPE {named} {family.kind}"
    for values, number in family.rows:
        shown = repr(number) if isinstance(number, float) else number
        yield f"{family.name}{_labels(tuple(first), family.labels, values)} {shown}"


@lru_cache(1 << 15)
def _labels(first: tuple[str, ...], names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Most rows have the labels that another one has, or had at the last scrape."""
    own = (f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(names, values, strict=True))
    joined = ",".join((*first, *own))
    return f"{{{joined}}}" if joined else ""
