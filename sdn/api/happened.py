"""What has happened between two states of a lab, in the words of the command line. PURE.

Enters: what was known before, what is known now. Leaves: events, in the order in which one follows from the other.
Never: the time of day, which is given; a guess about what came and went in between.

| kind | what has happened |
|---|---|
| `model.changed` | a revision was written: by whom, by what, which objects |
| `flows.confirmed` | a switch has confirmed the flows of a revision by a barrier |
| `chassis.changed` | a switch came or went, a host has built a revision, has new notes, or has no errors any more |
| `port.up`, `port.down` | a port carries packets, or does so no more |
| `guest.changed` | a guest starts, runs, moves, ends |
| `drift.found`, `drift.repaired` | somebody changed something behind our back, or did so again; it has been put right |
| `failure` | something is not as it shall be, beside the event that says what has changed |
| `revision.settled` | every chassis has confirmed a revision |
| `process.changed` | a process of the lab's own has ended, or runs again (told by the supervisor) |
| `flows.changed` | a user has changed flows, groups or meters of their own (told by the API; many at once together) |
| `test.done` | tests were run (told by whoever ran them) |
| `lab.down` | the lab is down: the last of a stream, whatever it asked for |
| `missed` | there was more than is kept: look at the lab again |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

from datapath.events import How
from sdn.differences import Count
from sdn.model import Model
from sdn.model.facts import Drift, Facts, FlowFacts, GuestFacts, HostFacts, PortFacts
from sdn.model.history import Revision, by_verb, unpack

KINDS: Final = (
    "model.changed",
    "flows.confirmed",
    "chassis.changed",
    "port.up",
    "port.down",
    "guest.changed",
    "drift.found",
    "drift.repaired",
    "failure",
    "revision.settled",
    "process.changed",
    "flows.changed",
    "test.done",
    "lab.down",
    "missed",
)
TABLES: Final = {
    "Lab": "lab",
    "Physnet": "physnet",
    "Chassis": "chassis",
    "Network": "network",
    "Node": "node",
    "Guest": "guest",
    "Port": "port",
    "Test": "test",
}
"""The store's tables, as their members are called."""
PLURAL: Final = {noun: noun if noun == "chassis" else f"{noun}s" for noun in TABLES.values()}
NAMED: Final = 200
"""Objects that an event names; of more it says only how many."""
ALIKE: Final = 20
"""Errors, or notes, of one chassis that are told one by one when they come together; of more it says how many."""
_PUT_RIGHT: Final[dict[How, str]] = {
    "removed": "put back",
    "changed": "set right",
    "added": "removed again",
    "lost": "the lab's are back",
}

T = TypeVar("T")


class About(NamedTuple):
    """An object: `port`, `web1:eth0`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Event:
    """`time` is in seconds since the epoch. `touches` are all objects that it is about, `chassis` where they are."""

    time: float
    kind: str
    message: str
    about: About | None = None
    revision: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    touches: tuple[str, ...] = ()
    chassis: str = ""


class State(NamedTuple):
    """What is known of a lab; `model` is None before the first file."""

    model: Model | None = None
    facts: Facts = Facts()
    revisions: Mapping[int, Revision] = {}


def happened(old: State, new: State, now: float) -> Iterator[Event]:
    """What is other in `new`. `now` is for what does not say itself when it was."""
    yield from _written(old, new)
    yield from _flows(old, new, now)
    yield from _hosts(old, new, now)
    yield from _ports(old, new, now)
    yield from _guests(old, new, now)
    yield from _drifts(old.facts.drifts, new.facts.drifts, now)
    yield from _settled(old, new)


def past(state: State, more: Iterable[Event] = ()) -> list[Event]:
    """What can be told of before, since the store says when it was: revisions and drifts, the oldest first; and more
    that has a time of its own."""
    told = (*_written(State(), state), *_drifts({}, state.facts.drifts, 0.0), *_settled(State(), state))
    return sorted((*told, *more), key=lambda event: event.time)


def _differing(old: Mapping[Any, T], new: Mapping[Any, T]) -> Iterator[tuple[Any, T | None, T]]:
    """What did not change is the same object: a thousand take 50 us."""
    if old is new:
        return
    for name, value in new.items():
        before = old.get(name)
        if value is not before and value != before:
            yield name, before, value


# Revisions


class Summary(NamedTuple):
    """Of a revision's changes: how many objects of each kind, and their names by what happened to them (None where
    they are too many)."""

    counts: Mapping[str, Count]
    names: Mapping[str, Mapping[str, tuple[str, ...]]] | None


@lru_cache(1024)
def summary(packed: str) -> Summary:
    """Of what `Revision.packed` holds. A guest is not counted as a node too, and what only moved in its file is not."""
    counts: dict[str, Count] = {}
    names: dict[str, dict[str, tuple[str, ...]]] = {}
    changes = unpack(packed)
    guests = changes.get("Guest", {})
    for table, noun in TABLES.items():
        rows = {name: row for name, row in changes.get(table, {}).items() if table != "Node" or name not in guests}
        if table == "Lab" and not all(rows.get("", ())):
            continue  # a lab's first revision: that it comes needs no saying
        found = by_verb(rows)
        if any(found.values()):
            names[noun] = found
            counts[noun] = Count(*map(len, found.values()))
    return Summary(counts, names if sum(map(sum, counts.values())) <= NAMED else None)


def counted(counts: Mapping[str, Count]) -> str:
    """`3 nodes and 3 ports added, 1 network changed`."""
    told = []
    for index, verb in enumerate(Count._fields):
        some = [f"{count[index]} {noun if count[index] == 1 else PLURAL[noun]}" for noun, count in counts.items()]
        some = [text for text in some if not text.startswith("0 ")]
        if some:
            told.append(f"{_listed(some)} {verb}")
    return ", ".join(told) or "only lines of the file have moved"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _written(old: State, new: State) -> Iterator[Event]:
    for _, before, revision in _differing(old.revisions, new.revisions):
        if before is None:
            yield _of_revision(revision, new.model)


def _of_revision(revision: Revision, model: Model | None) -> Event:
    found = summary(revision.packed)
    by = f" ({revision.origin})" if revision.origin else ""
    names = found.names or {}
    touches = tuple(
        f"{noun}/{name}" for noun, verbs in names.items() for some in verbs.values() for name in some if name
    )
    data = {
        "author": revision.author,
        "origin": revision.origin,
        "counts": {noun: count._asdict() for noun, count in found.counts.items()},
        "names": found.names,
    }
    message = f"revision {revision.number} by {revision.author or 'nobody'}{by}: {counted(found.counts)}"
    about = About("lab", model.lab) if model else None
    return Event(revision.time, "model.changed", message, about, revision.number, data, touches)


def _settled(old: State, new: State) -> Iterator[Event]:
    for number, before, revision in _differing(old.revisions, new.revisions):
        if revision.settled and not (before and before.settled):
            took = revision.seconds or 0.0
            troubles = revision.errors
            how = f" with {_errors(troubles)}: {troubles[0]}" if troubles else ""
            message = f"revision {number} is settled after {duration(took)}{how}"
            about = About("lab", new.model.lab) if new.model else None
            data = {"seconds": took, "errors": list(troubles[:ALIKE]), "more": max(len(troubles) - ALIKE, 0)}
            yield Event(revision.time + took, "revision.settled", message, about, number, data)


def _errors(errors: Sequence[str]) -> str:
    return "an error" if len(errors) == 1 else f"{len(errors)} errors"


def duration(seconds: float) -> str:
    """`4.1 ms`, `1.25 s`."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


# Chassis


def _flows(old: State, new: State, now: float) -> Iterator[Event]:
    for name, before, after in _differing(old.facts.flows, new.facts.flows):
        was = before or FlowFacts()
        at = About("chassis", name)
        data = {"flows": asdict(after)}
        if (after.connected, after.silent) != (was.connected, was.silent):
            yield _chassis(now, name, f"the switch of {name} {_connection(was, after)}", data)
        if after.revision > was.revision:
            message = f"{name} confirmed the flows of revision {after.revision}{_after(old, new, after.revision, now)}"
            yield Event(now, "flows.confirmed", message, at, after.revision, data, chassis=name)
        if (was.connected or was.silent) and not (after.connected or after.silent):
            error = "the switch is not connected to the controller"
            yield _failure(now, at, f"{name}: {error}", {"error": error}, name)
        if after.note and not was.note:  # then it may count on: users add flows by the thousand
            yield _chassis(now, name, f"{name}: {after.note}", {"note": after.note})
        if after.error and after.error != was.error:
            yield _failure(now, at, f"{name}: {after.error}", {"error": after.error}, name)
        elif was.error and not (after.error or was.silent):
            yield _chassis(now, name, f"the flows of {name} are as they shall be again", data)


def _connection(was: FlowFacts, now: FlowFacts) -> str:
    if now.silent:
        return "does not answer any more"
    if now.connected and was.silent:
        return "answers again"
    return "is connected to the controller" if now.connected else "is disconnected from the controller"


def _after(old: State, new: State, number: int, now: float) -> str:
    """How long it took since it was written; a switch that comes back confirms what was settled long ago."""
    before, revision = old.revisions.get(number), new.revisions.get(number)
    if before and before.settled:
        return " again"
    return f", {duration(max(now - revision.time, 0.0))}" if revision else ""


def _hosts(old: State, new: State, now: float) -> Iterator[Event]:
    """A thousand errors are a thousand events' worth of text, if each tells of one: what all are is in the facts."""
    for name, before, after in _differing(old.facts.hosts, new.facts.hosts):
        was = before or HostFacts()
        at = About("chassis", name)
        if after.revision > was.revision:
            took = _after(old, new, after.revision, now)
            data = {"host": {"datapath_type": after.datapath_type, "errors": len(after.errors)}}
            but = f" but for {_errors(after.errors)}" if after.errors else ""
            message = f"{name} has built revision {after.revision}{but}{took}"
            yield _chassis(now, name, message, data, after.revision)
        for note in _fresh(was.notes, after.notes, "notes"):
            yield _chassis(now, name, f"{name}: {note}", {"note": note})
        for error in _fresh(was.errors, after.errors, "errors"):
            yield _failure(now, at, f"{name}: {error}", {"error": error}, name)
        if was.errors and not after.errors:
            yield _chassis(now, name, f"{name} has no errors any more", {})


def _fresh(before: Iterable[str], after: Iterable[str], noun: str) -> Iterator[str]:
    """The first of those that were not there before, and how many more there are."""
    known = frozenset(before)
    found = [text for text in after if text not in known]
    yield from found[:ALIKE]
    if len(found) > ALIKE:
        yield f"and {len(found) - ALIKE} more {noun}; all are in: sdn status"


def _chassis(now: float, name: str, message: str, data: Mapping[str, Any], revision: int | None = None) -> Event:
    return Event(now, "chassis.changed", message, About("chassis", name), revision, data, chassis=name)


def _failure(now: float, about: About, message: str, data: Mapping[str, Any], chassis: str) -> Event:
    return Event(now, "failure", message, about, None, data, chassis=chassis)


# Ports and guests


def _ports(old: State, new: State, now: float) -> Iterator[Event]:
    for name, before, after in _differing(old.facts.ports, new.facts.ports):
        if after.up != (before or PortFacts()).up:
            port = new.model.ports.get(name) if new.model else None
            how = "up" if after.up else "down"
            touches = (f"node/{port.node}", f"network/{port.network}") if port else ()
            chassis = port.chassis if port else ""
            data = {"chassis": chassis, "ofport": after.ofport}
            about = About("port", name)
            yield Event(now, f"port.{how}", f"port {name} is {how}", about, None, data, touches, chassis)


def _guests(old: State, new: State, now: float) -> Iterator[Event]:
    for name, before, after in _differing(old.facts.guests, new.facts.guests):
        was = before or GuestFacts()
        about = About("guest", name)
        chassis = after.at or (new.model.nodes[name].chassis if new.model and name in new.model.nodes else "")
        data = asdict(after)
        told = _guest_words(was, after)
        if told:
            message = f"guest {name}: {told}"
            yield Event(now, "guest.changed", message, about, None, data, (f"node/{name}",), chassis)
        if (after.phase == "failed" != was.phase) or (after.error and after.error != was.error):
            reason = f": {after.error}" if after.error else ""
            verb = "has failed" if after.phase == "failed" else "is not as it shall be"
            yield _failure(now, about, f"guest {name} {verb}{reason}", data, chassis)


def _guest_words(was: GuestFacts, now: GuestFacts) -> str:
    """`starting → running on hv1`, `moving to hv2`; '' where only what nobody waits for is other."""
    told = []
    if now.phase != was.phase:
        told.append(f"{was.phase} → {now.phase}")
    if now.goes and now.goes != was.goes:
        told.append(f"moving to {now.goes}")
    if now.at and now.at != was.at:
        told.append(f"on {now.at}" if not was.at else f"from {was.at} to {now.at}")
    if now.restarts > was.restarts:
        told.append(f"started again, {now.restarts} times so far")
    if now.answers and not was.answers:
        told.append("its agent answers")
    if now.note and now.note != was.note:
        told.append(now.note)
    return ", ".join(told)


# Drift


def _drifts(old: Mapping[str, Drift], new: Mapping[str, Drift], now: float) -> Iterator[Event]:
    for key, before, drift in _differing(old, new):
        at = About("chassis", drift.chassis)
        data = {"drift": key, **asdict(drift)}
        told = f"{drift.chassis}: {_what_somebody_did(drift)}{_how_often(drift)}"
        if before is None or drift.times > before.times:
            yield Event(drift.found, "drift.found", told, at, None, data, chassis=drift.chassis)
        if drift.repaired and not (before and before.repaired == drift.repaired):
            later = duration(drift.repaired - drift.found)
            message = f"{told}; {_PUT_RIGHT[drift.how]} {later} later"
            yield Event(drift.repaired, "drift.repaired", message, at, None, data, chassis=drift.chassis)
        if drift.error and drift.error != (before.error if before else ""):
            message = f"{told}, and cannot be put right: {drift.error}"
            yield _failure(now or drift.found, at, message, data, drift.chassis)


def _what_somebody_did(drift: Drift) -> str:
    if drift.how == "lost":
        return f"the switch came back without {drift.what}"
    several = drift.what.startswith("flows ") or drift.what[:1].isdecimal() or " and " in drift.what
    return f"{drift.what} {'were' if several else 'was'} {drift.how} by somebody"


def _how_often(drift: Drift) -> str:
    """What is found again soon is the same drift: one event tells of all the times since the one before it."""
    return f", {drift.times} times so far" if drift.times > 1 else ""
