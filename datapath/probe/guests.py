"""Probes sent and answered inside guests, by their agents: a program of perl's, given to the guest for each round.

Enters: what to send. Leaves: Events. Never: anything stays in a guest after the run.

A guest's agent runs one program and tells of it when it has ended. So whatever is to be asked from one guest is asked
at once, and while it is being waited for the next round gathers; guests do not wait for each other.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from datapath.addr import IPAddress
from datapath.errors import RefusedError, SdnError
from datapath.guest import qga
from datapath.probe import DENIED_WAIT, Probe
from datapath.probe.transport import Event, Failed, Sending, Sockets, explain

_PROGRAM: Final = Path(__file__).parent / "inside" / "probe.pl"
_WAIT: Final = 1.0
"""Seconds that a probe is waited for: an emulated guest may need some tenths to answer."""
_DENIED_WAIT: Final = 2 * DENIED_WAIT
_ROUND: Final = 30.0
"""Seconds for a whole round, with perl's start."""

Tell = Callable[[Iterable[Event]], None]
_Serving = tuple[int, dict["_Service", str]]
"""The process that answers in a guest, 0 for none; and why some services are not open."""


class _Service(NamedTuple):
    guest: Path
    kind: str
    address: IPAddress
    port: int


class Guests:
    """The agents of all guests that probes are sent from or to."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._askers = {guest: _Asker(guest, self._tell) for guest in _sources(probes)}
        self._pids: list[tuple[Path, int]] = []
        self._closed = {service: "" for probe in probes if (service := _service(probe))}
        """What does not answer yet, and why."""
        targets = sorted({service.guest for service in self._closed})
        self._openers = ThreadPoolExecutor(len(targets) or 1, thread_name_prefix="services")
        self._opening: dict[Path, Future[_Serving]] = {}
        for guest in targets:
            self._open(guest)
        for guest in targets:
            self._take(guest)

    def fileno(self) -> int:
        """Readable when there are events."""
        return self._bell

    def obstacle(self, probe: Probe) -> Failed | None:
        """Why nothing in the target guest would answer. It may just be booting: what is not open is tried again, while
        others are asked."""
        service = _service(probe)
        if service is None or service not in self._closed:
            return None
        if service.guest in self._opening and self._opening[service.guest].done():
            self._take(service.guest)
        if service not in self._closed:
            return None
        if service.guest not in self._opening:
            self._open(service.guest)
        return Failed(self._closed[service], True)

    def send(self, sending: Sending) -> None:
        assert sending.probe.source_guest is not None
        self._askers[sending.probe.source_guest].ask(sending)

    def events(self) -> Iterator[Event]:
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        with suppress(queue.Empty):
            while True:
                yield self._events.get_nowait()

    def close(self) -> None:
        """Returns when every round has ended, and with it what was opened in guests."""
        for asker in self._askers.values():
            asker.end()
        for guest in list(self._opening):
            self._take(guest)
        list(self._openers.map(_end_service, self._pids))
        self._openers.shutdown()
        for asker in self._askers.values():
            asker.join()
        os.close(self._bell)

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._events.put(event)
        os.eventfd_write(self._bell, 1)

    def _open(self, guest: Path) -> None:
        """Begin to open what is closed in a guest."""
        closed = sorted((service for service in self._closed if service.guest == guest), key=str)
        self._opening[guest] = self._openers.submit(_serve, closed)

    def _take(self, guest: Path) -> None:
        """What came of it; waits for that."""
        pid, closed = self._opening.pop(guest).result()
        others = {service: why for service, why in self._closed.items() if service.guest != guest}
        self._closed = others | closed
        if pid:
            self._pids.append((guest, pid))


class WithGuests:
    """A Transport for probes of which some are sent from guests, or to guests that must answer."""

    def __init__(self, sockets: Sockets, probes: Sequence[Probe]) -> None:
        self._sockets = sockets
        self._guests = Guests(probes)
        sockets.attend(self._guests.fileno(), self._guests.events)

    def send(self, batch: Sequence[Sending]) -> list[Failed | None]:
        failed = {each.number: self._guests.obstacle(each.probe) for each in batch}
        outside = [each for each in batch if each.probe.source_guest is None and failed[each.number] is None]
        for each, obstacle in zip(outside, self._sockets.send(outside), strict=True):
            failed[each.number] = obstacle
        for each in batch:
            if each.probe.source_guest is not None and failed[each.number] is None:
                self._guests.send(each)
        return [failed[each.number] for each in batch]

    def read(self, timeout: float) -> list[Event]:
        return self._sockets.read(timeout)

    def forget(self, index: int) -> None:
        self._sockets.forget(index)

    def close(self) -> None:
        self._guests.close()
        self._sockets.close()


class _Asker:
    """The rounds of one guest, in a thread of their own."""

    def __init__(self, guest: Path, tell: Tell) -> None:
        self._guest = guest
        self._tell = tell
        self._inbox: queue.SimpleQueue[Sending | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"probes-{guest.parent.name}", daemon=True)
        self._thread.start()

    def ask(self, sending: Sending) -> None:
        self._inbox.put(sending)

    def end(self) -> None:
        self._inbox.put(None)

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        while (first := self._inbox.get()) is not None:
            batch: list[Sending | None] = [first]
            with suppress(queue.Empty):
                while True:
                    batch.append(self._inbox.get_nowait())
            self._tell(_round(self._guest, [each for each in batch if each is not None]))
            if None in batch:
                return


def _sources(probes: Sequence[Probe]) -> list[Path]:
    return list(dict.fromkeys(probe.source_guest for probe in probes if probe.source_guest is not None))


def _service(probe: Probe) -> _Service | None:
    if probe.target_guest is None or probe.kind == "ping":
        return None
    return _Service(probe.target_guest, probe.kind, probe.target, probe.port)


# ── in a guest ───────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def _program() -> str:
    return _PROGRAM.read_text()


def _perl(guest: Path, lines: Iterable[str]) -> list[list[str]]:
    """The words of what the program says. Raises SdnError where it cannot run."""
    text = "\n".join([_program(), "__END__", *lines, ""])
    try:
        done = qga.execute(guest, ["perl", "-"], text.encode(), _ROUND)
    except RefusedError as error:
        raise RefusedError(f"guest {guest.parent.name} has no perl to send probes with ({error.message})") from error
    if done.code:
        why = (done.err.decode(errors="replace").splitlines() or [f"exit status {done.code}"])[0][:200]
        raise RefusedError(f"probes in guest {guest.parent.name}: {why}")
    return [line.split(maxsplit=2) for line in done.out.decode(errors="replace").splitlines()]


def _round(guest: Path, batch: Sequence[Sending]) -> list[Event]:
    try:
        said = _perl(guest, [_asks(number, sending.probe) for number, sending in enumerate(batch)])
    except SdnError as error:
        return [Event(each.number, each.attempt, error.message, unable=True) for each in batch]
    answers = {int(words[0]): words[1:] for words in said}
    return [_event(each, answers.get(number, ["silent", "no answer"])) for number, each in enumerate(batch)]


def _asks(number: int, probe: Probe) -> str:
    wait = _WAIT if probe.expect == "ok" else _DENIED_WAIT
    source, target = probe.source.packed.hex(), probe.target.packed.hex()
    return f"ask {number} {probe.kind} {source} {target} {probe.port} {wait}"


def _event(sending: Sending, answer: Sequence[str]) -> Event:
    verb, detail = answer
    if verb == "answered":
        return Event(sending.number, sending.attempt, rtt=float(detail))
    if verb == "silent":
        return Event(sending.number, sending.attempt, detail)
    failed = explain(sending.probe, OSError(int(detail), os.strerror(int(detail))))
    return Event(sending.number, sending.attempt, failed.why, unable=failed.unable)


def _serve(services: Sequence[_Service]) -> _Serving:
    """Of one guest."""
    guest = services[0].guest
    lines = [f"serve {number} {s.kind} {s.address.packed.hex()} {s.port}" for number, s in enumerate(services)]
    try:
        said = {words[0]: words[1:] for words in _perl(guest, lines)}
    except SdnError as error:
        return 0, dict.fromkeys(services, f"nothing could be opened to answer: {error.message}")
    closed = {}
    for number, service in enumerate(services):
        if (answer := said.get(str(number), ["unable", str(errno.EIO)]))[0] != "listening":
            why = os.strerror(int(answer[1])).lower()
            closed[service] = f"guest {guest.parent.name} cannot listen on {service.address}: {why}"
    return int(said.get("pid", ["0"])[0]), closed


def _end_service(service: tuple[Path, int]) -> None:
    """A guest that has gone meanwhile has taken it along."""
    guest, pid = service
    with suppress(SdnError):
        qga.execute(guest, ["kill", str(pid)], timeout=_ROUND)
