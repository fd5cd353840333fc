"""The loop that asks: sends what the window allows, reads what comes back, repeats what stays unanswered.

Enters: probes and a transport. Leaves: outcomes. What counts as what is said in `datapath.probe`.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from datapath.probe import DENIED_AFTER, DENIED_WAIT, OnProgress, Outcome, Probe
from datapath.probe.pace import Pace
from datapath.probe.transport import Event, Sending, Transport

_ROUND: Final = 64
"""Probes sent before answers are read again."""
_REPORT_EVERY: Final = 0.1
_GUEST_WAIT: Final = 60.0
"""Seconds for a round in a guest, which waits for its answers itself and says where none came."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
"""Seconds between two attempts of a probe that is not answered: doubled each time."""


class Question:
    """What is going on about one probe."""

    __slots__ = (
        "attempt",
        "detail",
        "ended",
        "first",
        "index",
        "probe",
        "quiet",
        "rtt",
        "sent",
        "settled",
        "unable",
        "under_way",
    )

    def __init__(self, index: int, probe: Probe) -> None:
        self.index = index
        self.probe = probe
        self.attempt = 0
        self.first = 0.0
        """When it was asked first."""
        self.sent = 0.0
        self.ended = 0.0
        self.rtt: float | None = None
        self.quiet = 0
        """Consecutive attempts without an answer."""
        self.under_way = False
        self.settled = False
        self.unable = False
        """The last attempt could not be made at all, which proves nothing."""
        self.detail = ""

    def outcome(self) -> Outcome:
        rtt, detail = self.rtt, self.detail
        if self.probe.expect == "ok":
            passed, detail = rtt is not None, detail if rtt is None else ""
        else:
            passed, rtt = self.denied, None if self.denied or self.unable else rtt
        return Outcome(self.probe, passed, rtt, self.attempt, detail, self.first, self.ended)

    @property
    def in_guest(self) -> bool:
        return self.probe.source_guest is not None

    @property
    def denied(self) -> bool:
        return self.probe.expect == "fail" and self.quiet >= DENIED_AFTER and not self.unable


class Engine:
    """One run."""

    def __init__(
        self,
        probes: Sequence[Probe],
        transport: Transport,
        progress: OnProgress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._questions = [Question(index, probe) for index, probe in enumerate(probes)]
        self._transport = transport
        self._progress = progress
        self._clock = clock
        self._pace = Pace()
        self._ready: deque[Question] = deque()
        self._for_guests: deque[Question] = deque()
        """Those that are asked from guests. They go at once: the window is of this machine's queues."""
        self._timers: list[tuple[float, int, int, bool]] = []
        """(when, index, attempt, whether that attempt is to be given up rather than the next one made)"""
        self._open = len(self._questions)
        self._under_way = 0
        self._reported = 0.0

    def run(self) -> list[Outcome]:
        order = list(self._questions)
        random.Random(0).shuffle(order)  # noqa: S311  (spreads the load over senders and targets, the same way every time)
        for question in order:
            self._queue(question)
        while self._open:
            self._send_round()
            for event in self._transport.read(self._pause()):
                self._hear(event)
            self._expire()
            self._report()
        self._report(final=True)
        return [question.outcome() for question in self._questions]

    def _queue(self, question: Question) -> None:
        (self._for_guests if question.in_guest else self._ready).append(question)

    def _send_round(self) -> None:
        batch = [question for question in self._for_guests if not question.settled]
        self._for_guests.clear()
        room = len(batch) + min(_ROUND, self._pace.window - self._under_way)
        while self._ready and len(batch) < room:
            question = self._ready.popleft()
            if not question.settled:
                batch.append(question)
        if not batch:
            return
        now = self._clock()
        for question in batch:
            question.attempt += 1
            question.sent, question.first, question.under_way = now, question.first or now, True
            self._under_way += not question.in_guest
            heapq.heappush(self._timers, (now + self._wait(question), question.index, question.attempt, True))
        for question, failed in zip(batch, self._transport.send([_sending(q) for q in batch]), strict=True):
            question.unable = failed is not None and failed.unable
            if failed:
                self._unanswered(question, failed.why)

    def _wait(self, question: Question) -> float:
        if question.in_guest:
            return _GUEST_WAIT
        return self._pace.wait if question.probe.expect == "ok" else max(self._pace.wait, DENIED_WAIT)

    def _pause(self) -> float:
        """How long there is nothing to do but to listen."""
        if self._ready and self._under_way < self._pace.window:
            return 0.0
        soon = self._timers[0][0] - self._clock() if self._timers else _REPORT_EVERY
        return min(max(soon, 0.0), _REPORT_EVERY)

    def _hear(self, event: Event) -> None:
        question = self._questions[event.number]
        if event.error:
            if question.under_way and event.attempt == question.attempt:
                question.unable = event.unable
                self._unanswered(question, event.error)
            return
        self._answered(question, event.attempt, self._clock(), event.rtt)

    def _answered(self, question: Question, attempt: int, now: float, rtt: float | None) -> None:
        late = attempt != question.attempt or not question.under_way
        if not late and not question.in_guest:
            self._pace.answered(now - question.sent, question.quiet + 1, now)
        self._landed(question)
        question.rtt = now - question.sent if rtt is None else rtt
        question.quiet, question.detail = 0, ""
        if question.probe.expect == "ok":
            self._settle(question)
        elif now - question.first >= question.probe.within:
            self._settle(question, "was answered")
        else:
            self._reopen(question, now)

    def _reopen(self, question: Question, now: float) -> None:
        """It should not have been answered: ask again a little later, also where the matter was thought settled."""
        if question.settled:
            question.settled = False
            self._open += 1
        self._again(question, now + _LONGEST_PAUSE / 4)

    def _unanswered(self, question: Question, error: str = "") -> None:
        now = self._clock()
        self._landed(question)
        question.quiet += 1
        question.detail = error or question.detail or "no answer"
        out_of_time = now - question.first >= question.probe.within
        if question.denied or (out_of_time and (question.probe.expect == "ok" or question.unable)):
            self._settle(question, question.detail)
        else:
            pause = min(_FIRST_PAUSE * 2.0 ** min(question.quiet - 1, 8), _LONGEST_PAUSE)
            self._again(question, now + (pause if question.probe.expect == "ok" or question.unable else 0.0))

    def _landed(self, question: Question) -> None:
        self._transport.forget(question.index)
        if question.under_way:
            question.under_way = False
            self._under_way -= not question.in_guest

    def _again(self, question: Question, when: float) -> None:
        heapq.heappush(self._timers, (when, question.index, question.attempt, False))

    def _settle(self, question: Question, detail: str = "") -> None:
        question.detail, question.ended = detail, self._clock()
        if not question.settled:
            question.settled = True
            self._open -= 1

    def _expire(self) -> None:
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            _, index, attempt, gives_up = heapq.heappop(self._timers)
            question = self._questions[index]
            if question.settled or question.attempt != attempt or question.under_way != gives_up:
                continue
            if gives_up:
                self._unanswered(question)
            else:
                self._queue(question)

    def _report(self, final: bool = False) -> None:
        now = self._clock()
        if self._progress and (final or now - self._reported >= _REPORT_EVERY):
            self._reported = now
            self._progress(len(self._questions) - self._open, len(self._questions))


def _sending(question: Question) -> Sending:
    return Sending(question.index, question.attempt, question.probe)
