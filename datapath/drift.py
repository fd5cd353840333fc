"""What of a chassis is not as it was made, because somebody else changed it. PURE.

Enters: differences as they are found, where, and when. Leaves: Drift events: first that it is found, then how it ended.
Never: the same difference told twice before it is put right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, NamedTuple

from datapath.events import Drift, How
from datapath.several import several

HOWS: Final[tuple[How, ...]] = ("removed", "changed", "added")


class Difference(NamedTuple):
    """`what` in people's words: `address 10.9.0.3/24 of b:eth0`."""

    what: str
    how: How


@dataclass
class _Open:
    drift: Drift
    about: frozenset[Difference]
    anyway: frozenset[str]
    """Errors that the chassis had before."""


class Drifts:
    """Of all chassis. `tell` gets the events; `clock` is in seconds since the epoch."""

    def __init__(self, tell: Callable[[Drift], None], clock: Callable[[], float]) -> None:
        self._tell = tell
        self._clock = clock
        self._numbers = count(1)
        self._new: dict[str, dict[Difference, float]] = {}
        self._anyway: dict[str, frozenset[str]] = {}
        self._open: list[_Open] = []

    def __bool__(self) -> bool:
        """Whether there is something to put right."""
        return bool(self._new or self._open)

    @property
    def is_open(self) -> bool:
        """Whether there is something that could not be put right."""
        return bool(self._open)

    def find(
        self, chassis: str, differences: Iterable[Difference], errors: tuple[str, ...] = (), when: float = 0.0
    ) -> bool:
        """Several that are found before `announce` are one drift. `errors` are those that the chassis has anyway;
        `when` 0 is now. Whether there is anything new."""
        known = {each for opened in self._open if opened.drift.chassis == chassis for each in opened.about}
        new = [each for each in differences if each not in known]
        for each in new:
            self._anyway.setdefault(chassis, frozenset(errors))
            self._new.setdefault(chassis, {}).setdefault(each, when or self._clock())
        return bool(new)

    def announce(self) -> None:
        """One event for all of a chassis that were removed, one for those that were changed, one for those added."""
        new, self._new = self._new, {}
        anyway, self._anyway = self._anyway, {}
        for chassis, found in new.items():
            for how in HOWS:
                if about := [each for each in found if each.how == how]:
                    what = several([each.what for each in about], "things")
                    opened = Drift(next(self._numbers), chassis, what, how, min(found[each] for each in about))
                    self._open.append(_Open(opened, frozenset(about), anyway[chassis]))
                    self._tell(opened)

    def conclude(self, errors: Mapping[str, tuple[str, ...]]) -> None:
        """Everything has been looked at again. `errors` are by chassis; one that is not in it is no more."""
        still = []
        for opened in self._open:
            wrong = "; ".join(e for e in errors.get(opened.drift.chassis, ()) if e not in opened.anyway)
            said = replace(opened.drift, error=wrong) if wrong else self._ended(opened.drift)
            if said != opened.drift:
                self._tell(said)
            if wrong:
                still.append(replace(opened, drift=said))
        self._open = still

    def _ended(self, drift: Drift) -> Drift:
        return replace(drift, repaired=self._clock(), error="")
