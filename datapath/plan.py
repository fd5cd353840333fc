"""The one diff that every reconciler uses: desired and observed in, ordered steps with reasons out. PURE.

Store rows, flows of a switch and objects of a host are all mappings of key to value; what differs becomes a Step.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Verb = Literal["add", "change", "remove"]


@dataclass(frozen=True, slots=True)
class Step(Generic[K, V]):
    """One thing to do. `observed` is None for add, `desired` None for remove."""

    verb: Verb
    key: K
    desired: V | None
    observed: V | None
    why: str


def _always_same_reason(desired: V, observed: V) -> str:
    return f"is {observed}, wanted {desired}"


def diff(
    desired: Mapping[K, V],
    observed: Mapping[K, V],
    *,
    why: Callable[[V, V], str] = _always_same_reason,
) -> list[Step[K, V]]:
    """Steps that turn `observed` into `desired`: adds, then changes, then removes, each in the mappings' own order."""
    steps = [Step("add", key, value, None, "missing") for key, value in desired.items() if key not in observed]
    for key, value in desired.items():
        seen = observed.get(key)
        if seen is not None and seen != value:
            steps.append(Step("change", key, value, seen, why(value, seen)))
    steps += [Step("remove", key, None, value, "not wanted") for key, value in observed.items() if key not in desired]
    return steps
