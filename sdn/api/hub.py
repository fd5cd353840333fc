"""Everything that happens in a lab, numbered and kept for a while, for any number of listeners.

Enters: the updates of `Live`, what the supervisor says, what other routes tell, and other processes. Leaves: entries of
a ring, each serialised once. Never: a queue for each listener: one has its place in the ring, and one whose place is
gone has missed something.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from sdn.api.answer import encode
from sdn.api.happened import About, Event, State, happened, past
from sdn.api.live import Live
from sdn.api.looked_after import changes, restarted
from sdn.lab import news, processes, told
from sdn.lab.processes import Process
from sdn.lab.told import Word, Words

LOG = logging.getLogger(__name__)
KEPT: Final = 10_000
"""Events."""
LAST: Final = "lab.down"
"""Every listener wants this kind."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event with its number, as JSON and as a block of an event stream."""

    number: int
    event: Event
    json: bytes
    block: bytes


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a listener wants: patterns, such as port.* or port/web1:*; nothing stands for all of them."""

    kinds: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    chassis: tuple[str, ...] = ()

    def wants(self, event: Event) -> bool:
        return event.kind == LAST or (
            _matches(self.kinds, (event.kind,))
            and _matches(self.objects, (str(event.about or ""), *event.touches))
            and _matches(self.chassis, (event.chassis,))
        )

    @property
    def wants_all(self) -> bool:
        return not (self.kinds or self.objects or self.chassis)


def _event(word: Word) -> Event:
    about = About(*word.about) if word.about else None
    chassis = about.name if about and about.kind == "chassis" else ""
    return Event(word.time, word.kind, word.message, about, None, word.data, chassis=chassis)


def _matches(patterns: Iterable[str], texts: Iterable[str]) -> bool:
    found = tuple(patterns)
    return not found or any(fnmatchcase(text, pattern) for text in texts for pattern in found)


def moment(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 has it, in UTC, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Hub:
    """Of one lab. `boot` tells the numbers of this process from those of another: of both an event's id is made."""

    def __init__(self, live: Live, kept: int = KEPT) -> None:
        self.boot = f"{time.time_ns() // 1_000_000:x}"
        self._live = live
        self._name = f"{os.getpid()}-{self.boot}"
        self._words = Words(live.run.told)
        self._state = State()
        self._ring: deque[Entry] = deque(maxlen=kept)
        self._last = 0
        self._news = asyncio.Event()
        self._listeners = 0
        self._alone = asyncio.Event()
        self._alone.set()
        self.is_closed = False

    async def run(self) -> None:
        """Until cancelled. What was before comes first, with the time at which it was."""
        try:
            await self._follow()
        except Exception:
            LOG.exception("events end here")
            self.close()  # who listens shall see it
            raise

    async def _follow(self) -> None:
        with self._live.subscribe() as updates:
            self._state = self._present()
            live = self._live
            again = restarted(processes.read(live.run.processes), live.lab)
            self._add(past(self._state, (*again, *self._said_by_others())))
            while True:
                update = await updates.get()
                state = State(update.model, update.facts, self._live.store.revisions())
                self._add(happened(self._state, state, time.time()))
                self._state = state

    async def look_after(self) -> None:
        """What becomes of the lab's processes, and what they say, until cancelled. A lab without a directory (a
        stand-in) has none."""
        run, known = self._live.run, dict[str, Process]()
        try:
            if run.path.is_dir():
                async with aclosing(news.heard(run.path)) as heard:
                    async for names in heard:
                        if names is None or run.told.name in names:
                            self._add(self._said_by_others())
                        if names is None or run.processes.name in names:
                            present = processes.read(run.processes)
                            self._add(changes(known, present, run.lab, time.time()))
                            known = {each.name: each for each in present}
        except OSError as error:
            self._fail(f"what the lab's processes do is not told any more: {error}")
        finally:
            self._words.close()
        await asyncio.Event().wait()

    def _present(self) -> State:
        live = self._live
        return State(live.model if live.revision else None, live.facts, live.store.revisions())

    def close(self) -> None:
        """Every listener ends: a server that stops waits for none."""
        self.is_closed = True
        self._news.set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Of one listener: who ends waits a moment for it."""
        self._listeners += 1
        self._alone.clear()
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._alone.set()

    async def end(self, within: float) -> None:
        """The lab is down, which is the last that every listener hears. Returns when they have, or after `within`
        seconds."""
        lab = self._live.lab
        self._add([Event(time.time(), LAST, f"lab {lab} is down", About("lab", lab))])
        self.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._alone.wait(), within)

    def tell(self, kind: str, message: str, about: About | None = None, **data: Any) -> None:
        """What is in no store: flows of users."""
        self.say(Word(time.time(), kind, message, about, data))

    def say(self, word: Word) -> None:
        """Here, and to the other processes of the lab."""
        self._add([_event(word)])
        run = self._live.run
        try:
            if run.path.is_dir():
                told.append(run.told, replace(word, by=self._name))
        except OSError as error:
            self._fail(f"other processes of the lab are not told what this one does: {error}")

    def _said_by_others(self) -> Iterator[Event]:
        """Since the last time."""
        return (_event(word) for word in self._words.news() if word.by != self._name)

    def _fail(self, why: str) -> None:
        self._add([Event(time.time(), "failure", why, About("lab", self._live.lab), None, {"error": why})])

    # Looking at the ring

    @property
    def last(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._last

    @property
    def first(self) -> int:
        """The number of the oldest that is kept."""
        return self._last - len(self._ring) + 1

    def id(self, number: int) -> str:
        return f"{self.boot}-{number}"

    def since(self, number: int, most: int = KEPT) -> list[Entry]:
        """What is kept behind this number, the first of it."""
        start = max(number + 1 - self.first, 0)
        return [self._ring[index] for index in range(start, min(start + most, len(self._ring)))]

    def has_all_since(self, number: int) -> bool:
        return self.first <= number + 1 <= self._last + 1

    def place(self, text: str) -> int | None:
        """The number in an event's id: `0` is before the oldest; None for another process' and for nonsense."""
        if text == "0":
            return self.first - 1
        boot, _, number = text.rpartition("-")
        is_ours = boot == self.boot and number.isdecimal() and len(number) < 19
        return int(number) if is_ours else None

    def news(self) -> asyncio.Event:
        """Is set when there is more than there is now. Another one is there for what comes after that."""
        return self._news

    def missed(self, after: str) -> Entry:
        """For one listener: what followed `after` is not here any more."""
        message = "events were missed: look at the lab again"
        event = Event(time.time(), "missed", message, About("lab", self._live.lab), None, {"after": after})
        return self._entry(self._last, event)

    # Filling it

    def _add(self, events: Iterable[Event]) -> None:
        some = False
        for event in events:
            self._last += 1
            self._ring.append(self._entry(self._last, event))
            some = True
        if some:
            waited, self._news = self._news, asyncio.Event()
            waited.set()

    def _entry(self, number: int, event: Event) -> Entry:
        name = self.id(number)
        about = event.about
        content = {
            "id": name,
            "time": moment(event.time),
            "kind": event.kind,
            "lab": self._live.lab,
            "object": {"kind": about.kind, "name": about.name} if about else None,
            "revision": event.revision,
            "message": event.message,
            "data": event.data,
        }
        as_json = encode(content)  # one line: a block of a stream ends with an empty one
        return Entry(
            number, event, as_json, b"id: %b\nevent: %b\ndata: %b\n\n" % (name.encode(), event.kind.encode(), as_json)
        )
