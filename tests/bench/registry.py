"""How a measurement is declared. Enters: a function that measures. Leaves: its row in the table of `make bench`.

    from tests.bench.registry import Measured, bench, ratio_at_least

    @bench("100k flows into one bridge", unit="flows/s", target=ratio_at_least(0.8), peer="ovs-ofctl --bundle")
    def flows_into_bridge() -> Measured:
        return Measured(ours=98_000, peer=111_000, note="one connection, until the barrier reply")

The peer is measured by the same function, in the same run: figures from another machine or hour compare nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Target:
    """`of` is what is bounded: the figure itself, or ours divided by the peer's."""

    of: Literal["ours", "ratio"]
    sense: Literal["≤", "≥"]
    bound: float

    def met(self, measured: Measured) -> bool:
        value = measured.ours if self.of == "ours" else measured.ratio
        if value is None:
            return False
        return value <= self.bound if self.sense == "≤" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.sense} {self.bound:,g}" + (" x peer" if self.of == "ratio" else "")


def at_most(bound: float) -> Target:
    return Target("ours", "≤", bound)


def at_least(bound: float) -> Target:
    return Target("ours", "≥", bound)


def ratio_at_most(bound: float) -> Target:
    return Target("ratio", "≤", bound)


def ratio_at_least(bound: float) -> Target:
    return Target("ratio", "≥", bound)


@dataclass(frozen=True, slots=True)
class Measured:
    """Both figures in the bench's unit. `note`: what else a reader needs, like the number of flow-mods sent."""

    ours: float
    peer: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.peer if self.peer else None


@dataclass(frozen=True, slots=True)
class Bench:
    name: str  # module:function, without the bench_ of the module
    what: str
    unit: str
    target: Target | None
    peer: str
    timeout: float  # seconds
    measure: Callable[[], Measured]


BENCHES: list[Bench] = []


def bench(
    what: str, *, unit: str, target: Target | None = None, peer: str = "", timeout: float = 300.0
) -> Callable[[Callable[[], Measured]], Callable[[], Measured]]:
    """Registers a measurement. Without a target the figure is only reported."""

    def register(measure: Callable[[], Measured]) -> Callable[[], Measured]:
        module = measure.__module__.rpartition(".")[2].removeprefix("bench_")
        BENCHES.append(Bench(f"{module}:{measure.__name__}", what, unit, target, peer, timeout, measure))
        return measure

    return register
