"""What of a chassis is not as it was made, because somebody else changed it. PURE.

Enters: what was found, where, and when; how it ended. Leaves: Drift events: that something is found, then how that
ended. Never: the same told twice before it is put right; told as put right what has been found once more since the look
at it began; a fight with somebody who undoes every repair told as a new drift each time, or fought at full speed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, NamedTuple

from datapath.events import HOWS, Drift, How
from datapath.several import several

AGAIN: Final = 10.0
"""Seconds for which what was put right is remembered: the same thing within them is the same drift once more."""
AT_ONCE: Final = 3
"""Times that a thing is put right as soon as it is found."""
FIGHT: Final = 6
"""Times from which on somebody is said to fight."""
SHORTEST: Final = 0.1
LONGEST: Final = 1.0


def patience(times: int) -> float:
    """Seconds from one repair of a thing to the next, when it is found for the `times`-th time in a row."""
    return 0.0 if times <= AT_ONCE else min(LONGEST, SHORTEST * 2.0 ** min(times - AT_ONCE - 1, 10))


class Difference(NamedTuple):
    """`what` in people's words: `address 10.9.0.3/24 of b:eth0`. What is `changed` has both values in `changes`: `mtu
    1400 instead of 1450` (see `changed`)."""

    what: str
    how: How
    changes: str = ""

    @property
    def thing(self) -> Thing:
        """It is the same again, whatever its values are now."""
        return self.what, self.how

    def __str__(self) -> str:
        return f"{self.what}: {self.changes}" if self.changes else self.what


Thing = tuple[str, How]


def changed(what: str, changes: Iterable[str]) -> Iterator[Difference]:
    """`changes` are made by `instead`; none, where it has not changed."""
    if said := list(dict.fromkeys(changes)):
        yield Difference(what, "changed", several(said, "values"))


def instead(name: str, found: object, wanted: object) -> str:
    """`tag 7 instead of 10`; '' and None are `none`."""
    return f"{name} {_said(found)} instead of {_said(wanted)}".lstrip()


def _said(value: object) -> str:
    return "none" if value in ("", None) else str(value)


@dataclass
class Entry:
    """A drift that is open, or was put right a moment ago."""

    drift: Drift
    about: frozenset[Hashable]
    anyway: frozenset[str] = frozenset()
    """Errors that the chassis had before."""
    looked_at: bool = False
    """Whatever is about it has been looked at, or is being, since it was found last."""
    looked_at_when: float = 0.0
    told: Drift | None = None

    @property
    def is_open(self) -> bool:
        return not self.drift.repaired

    @property
    def is_fight(self) -> bool:
        return self.drift.times >= FIGHT

    def due(self, times: int) -> float:
        return self.looked_at_when + patience(times)


class Ledger:
    """The drifts of one process, by chassis. `tell` gets the events; `clock` is in seconds since the epoch."""

    def __init__(self, tell: Callable[[Drift], None], clock: Callable[[], float]) -> None:
        self._tell = tell
        self._clock = clock
        self._numbers = count(1)
        self._entries: dict[str, list[Entry]] = {}

    def record(
        self,
        found: Drift,
        about: frozenset[Hashable],
        anyway: frozenset[str] = frozenset(),
    ) -> None:
        """`found` without its number. If it was known within AGAIN, it is the same once more."""
        known = self._known(found.chassis)
        alike = [entry for entry in known if entry.drift.how == found.how and entry.about & about]
        if alike:
            entry = min(alike, key=lambda entry: len(entry.about))
            self.once_more(entry, found.found)
            entry.drift = replace(entry.drift, what=found.what)
            entry.about |= about
            entry.anyway = anyway
        else:
            entry = Entry(replace(found, number=next(self._numbers)), about, anyway)
            known.append(entry)
        self._say(entry)

    def once_more(self, entry: Entry, when: float) -> None:
        entry.drift = replace(entry.drift, found=when, repaired=0.0, error="", times=entry.drift.times + 1)
        entry.looked_at = False

    def look(self, chassis: str | None = None) -> None:
        """Everything of a chassis, or of all, is going to be looked at, and put right."""
        now = self._clock()
        for entry in self.open(chassis):
            entry.looked_at, entry.looked_at_when = True, now

    def settle(self, chassis: str, wrong: Callable[[Entry], str]) -> None:
        """It has been; what `wrong` has no words for is put right. What was found once more meanwhile stays open."""
        for entry in self.open(chassis):
            if entry.looked_at:
                error = wrong(entry)
                entry.drift = replace(entry.drift, error=error) if error else _put_right(entry.drift, self._clock())
                self._say(entry)

    def fail(self, error: str, chassis: str | None = None) -> None:
        """It could not be put right yet."""
        for entry in self.open(chassis):
            entry.drift = replace(entry.drift, error=error)
            self._say(entry)

    def forget(self, chassis: str) -> None:
        """It is none of ours any more."""
        self._entries.pop(chassis, None)

    def say(self) -> None:
        """What has changed since it was told."""
        for entry in self.open():
            self._say(entry)

    def open(self, chassis: str | None = None) -> Iterator[Entry]:
        of = list(self._entries.values()) if chassis is None else [self._entries.get(chassis, [])]
        return (entry for entries in of for entry in list(entries) if entry.is_open)

    def chassis(self) -> list[str]:
        return list(self._entries)

    def about(self, chassis: str, thing: Hashable) -> Entry | None:
        """The open one, or else the one that was put right last."""
        found = [entry for entry in self._known(chassis) if thing in entry.about]
        return max(found, key=lambda entry: (entry.is_open, entry.drift.repaired), default=None)

    def due(self, chassis: str, things: Iterable[Hashable]) -> float:
        """When the first of these, found just now, should be put right; 0 where nobody fights for it."""
        first = float("inf")
        for thing in things:
            entry = self.about(chassis, thing)
            first = min(first, entry.due(entry.drift.times + 1) if entry else 0.0)
            if not first:
                break
        return first if first != float("inf") else 0.0

    def hold(self, chassis: str) -> float:
        """As `due`, of the fiercest fight on a chassis."""
        fought = [entry for entry in self._known(chassis) if entry.drift.times >= AT_ONCE]
        return max((entry.due(entry.drift.times + 1) for entry in fought), default=0.0)

    def fights(self) -> list[Drift]:
        return [entry.drift for name in self.chassis() for entry in self._known(name) if entry.is_fight]

    @property
    def until(self) -> float | None:
        """When the next fight is over, if nobody goes on with it; None: there is none."""
        over = [fight.repaired + AGAIN for fight in self.fights() if fight.repaired]
        return min(over, default=None)

    def _known(self, chassis: str) -> list[Entry]:
        """Without those of long ago."""
        since = self._clock() - AGAIN
        kept = [e for e in self._entries.get(chassis, ()) if e.is_open or e.drift.repaired > since]
        self._entries[chassis] = kept
        return kept

    def _say(self, entry: Entry) -> None:
        if entry.drift != entry.told:
            entry.told = entry.drift
            self._tell(entry.drift)


def _put_right(drift: Drift, when: float) -> Drift:
    """Those that are not put right at once say nothing of how fast that is."""
    took = (*drift.took, when - drift.found)[:AT_ONCE]
    return replace(drift, repaired=when, error="", repairs=drift.repairs + 1, took=took)


class Drifts:
    """Of a host: differences are gathered until they are announced. `tell` and `clock` as above."""

    def __init__(self, tell: Callable[[Drift], None], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ledger = Ledger(tell, clock)
        self._new: dict[str, dict[Thing, tuple[str, float]]] = {}
        """With their words as found last, and when they were found first."""
        self._anyway: dict[str, frozenset[str]] = {}

    def __bool__(self) -> bool:
        """Whether there is something to put right."""
        return bool(self._new) or any(True for _ in self._ledger.open())

    @property
    def is_stuck(self) -> bool:
        """Whether there is something that could not be put right."""
        return any(entry.looked_at for entry in self._ledger.open())

    def find(
        self, chassis: str, differences: Iterable[Difference], errors: tuple[str, ...] = (), when: float = 0.0
    ) -> bool:
        """Several that are found before `announce` are one drift. `errors` are those that the chassis has anyway;
        `when` 0 is now. Whether there is anything to do that was not known."""
        is_news = False
        for each in differences:
            entry = self._ledger.about(chassis, each.thing)
            if entry is None or not entry.is_open:
                self._anyway.setdefault(chassis, frozenset(errors))
                new = self._new.setdefault(chassis, {})
                _, first = new.get(each.thing, ("", when or self._clock()))
                new[each.thing] = str(each), first
            elif entry.looked_at:
                self._ledger.once_more(entry, when or self._clock())
            else:
                continue
            is_news = True
        return is_news

    def announce(self) -> None:
        """One event for all of a chassis that were removed, one for those that were changed, one for those added."""
        self._ledger.say()
        new, self._new = self._new, {}
        anyway, self._anyway = self._anyway, {}
        for chassis, found in new.items():
            for how in HOWS:
                if about := [each for each in found if each[1] == how]:
                    what = several([found[each][0] for each in about], "things")
                    drift = Drift(0, chassis, what, how, min(found[each][1] for each in about))
                    self._ledger.record(drift, frozenset(about), anyway[chassis])

    def look(self) -> None:
        """What is announced is going to be put right: what is found from now on has happened since."""
        self._ledger.look()

    def conclude(self, errors: Mapping[str, tuple[str, ...]]) -> None:
        """Everything has been looked at again. `errors` are by chassis; one that is not in it is no more."""
        for chassis in self._ledger.chassis():
            of = errors.get(chassis, ())
            self._ledger.settle(chassis, lambda entry, of=of: _beside(entry, of))  # type: ignore[misc]

    def fail(self, error: str) -> None:
        """It could not even be looked at."""
        self._ledger.fail(error)

    def due(self) -> float:
        """When the first of what is not yet put right should be; 0 at once."""
        dues = [self._ledger.due(chassis, found) for chassis, found in self._new.items()]
        dues += [entry.due(entry.drift.times) for entry in self._ledger.open() if not entry.looked_at]
        return min(dues, default=0.0)

    def hold(self, chassis: str) -> float:
        """When something of a chassis should be put right for which somebody fights; 0 at once."""
        return self._ledger.hold(chassis)

    def fights(self) -> list[Drift]:
        return self._ledger.fights()

    @property
    def until(self) -> float | None:
        """When the next fight is over."""
        return self._ledger.until


def _beside(entry: Entry, errors: Iterable[str]) -> str:
    return "; ".join(error for error in errors if error not in entry.anyway)


def words_of(fight: Drift) -> str:
    """For whoever asks how a chassis is."""
    return f"somebody fights with sdn: {fight.what}, {fight.how} again and again; it is put right once a second at most"
