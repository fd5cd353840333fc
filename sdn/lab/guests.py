"""What one wishes of a running lab's guests without changing its file: switched on or off, paused, gone.

Enters: names of guests. Leaves: a model of the store that wishes so, and facts that say it is so. Never: a guest's own
sockets: who needs no trace in the intent (a console, a snapshot) does not come by here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from datapath.errors import CheckError, FileError
from datapath.spec import GuestPhase, Power
from sdn import lab
from sdn.lab.rundir import RunDir
from sdn.model import Model, Test
from sdn.model.facts import Facts, GuestFacts, HostFacts

if TYPE_CHECKING:
    from sdn.lab import Progress
    from sdn.store import Store

PHASES: Final[dict[Power, GuestPhase]] = {"on": "running", "paused": "paused", "off": "off"}
"""What a guest is when it is as wished."""

_PATIENCE: Final = 5.0
"""Seconds for another command of this lab to end, which reads and writes the model too."""

_IN_STEP: Final = 3.0
"""Seconds for chassis to confirm what the guests are already, so that `sdn status` agrees. What else goes on there,
such as the boot of another guest, is not waited for any longer."""


class LateError(CheckError):
    """The time is over; `facts` are what was known then."""

    def __init__(self, message: str, facts: Facts, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.facts = facts


Edit = Callable[[Model], Model]
Met = Callable[[Model, Facts, str], bool]
"""Whether a guest needs no more waiting for."""


@dataclass(frozen=True)
class Work:
    """A change of some guests that is being waited for. `deadline` is of the monotonic clock."""

    store: Store
    names: Sequence[str]
    deadline: float
    progress: Progress

    def change(self, edit: Edit) -> Model:
        """The model as it is in the store afterwards; one command at a time. Raises TransientError."""
        with RunDir(_model(self.store).lab).exclusive(_PATIENCE):
            return self.store.change(lambda base: edit(base or _model(self.store))).model

    def within(self, seconds: float) -> Work:
        """The same with a time of its own, and nobody told."""
        return replace(self, deadline=time.monotonic() + seconds, progress=lambda *_: None)

    def wait(self, model: Model, met: Met, names: Collection[str]) -> Facts:
        return asyncio.run(self._wait(model, met, names))

    async def _wait(self, model: Model, met: Met, names: Collection[str]) -> Facts:
        """Woken by the store. Raises LateError when the time is over."""
        updates, facts = self.store.watch(asyncio.get_running_loop()), self.store.facts()
        waited = False
        while missing := [name for name in names if not met(model, facts, name)]:
            self.progress("guests", len(names) - len(missing), len(names))
            try:
                async with asyncio.timeout(max(self.deadline - time.monotonic(), 0)):
                    facts = (await updates.get()).facts
            except TimeoutError:
                raise _late(facts, missing) from None
            waited = True
        if waited:
            self.progress("guests", len(names), len(names))
        return facts


@contextmanager
def working(lab: str, names: Sequence[str], timeout: float, progress: Progress) -> Iterator[Work]:
    from sdn.store import Store

    store = Store.open(RunDir(lab).store_socket)
    try:
        yield Work(store, names, time.monotonic() + timeout, progress)
    finally:
        store.close()


def switch(
    work: Work, power: Power, hasten: Callable[[], None] | None = None, tell: Callable[[str], object] = lambda _: None
) -> Facts:
    """Wish the guests to be so, and wait until they are. `hasten` is called once it is wished, `tell` with each that
    is so, perhaps again. Raises CheckError with what is wrong with which."""
    facts = work.store.facts()
    if power == "on" and (resting := _resting(_model(work.store), facts, work.names)):
        # it is wished on already and has ended by itself: only a wish that changes starts it again
        work.wait(work.change(partial(powered, names=resting, power="off")), _is_calm, resting)
    model = work.change(partial(powered, names=work.names, power=power))
    if hasten is not None:
        hasten()
    facts = work.wait(model, partial(_met_and_told, tell), work.names)
    wrong = [name for name in work.names if not _is_as_wished(model, facts, name)]
    if wrong:
        raise CheckError("\n  ".join(_wrong(name, facts.guests[name]) for name in wrong), remedy=_look(wrong[0]))
    _fall_in_step(work, model)
    return facts


def _fall_in_step(work: Work, model: Model) -> None:
    left = max(work.deadline - time.monotonic(), 0)
    with suppress(CheckError):
        work.within(min(left, _IN_STEP)).wait(model, lab.confirmed, lab.managed(model))


def delete(work: Work) -> None:
    """Remove the guests, with their own disks, from the lab that runs; its file is not touched."""
    before = _model(work.store)
    model = work.change(partial(without, names=work.names))
    work.wait(replace(model, nodes=before.nodes), _is_gone, work.names)


def await_return(work: Work) -> None:
    """Of guests whose agents answer and that are about to boot: first nobody answers, then somebody does."""
    model = _model(work.store)
    work.wait(model, lambda _, facts, name: not _answers(facts, name), work.names)
    work.wait(model, lambda _, facts, name: _answers(facts, name), work.names)


def answer(work: Work) -> bool:
    """Whether agents answer in the guests, before the time is over."""
    try:
        work.wait(_model(work.store), lambda _, facts, name: _answers(facts, name), work.names)
    except CheckError:
        return False
    return True


def _answers(facts: Facts, name: str) -> bool:
    return facts.guests.get(name, GuestFacts()).answers


# ── edits ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def powered(model: Model, names: Collection[str], power: Power) -> Model:
    guests = {
        name: replace(guest, machine=replace(guest.machine, power=power)) if name in names else guest
        for name, guest in model.guests.items()
    }
    return replace(model, guests=guests)


def without(model: Model, names: Collection[str]) -> Model:
    """Tests lose what is gone; those that have no source or no target left are gone with it."""
    tests = {name: _test_without(test, names) for name, test in model.tests.items()}
    return replace(
        model,
        nodes={name: node for name, node in model.nodes.items() if name not in names},
        guests={name: guest for name, guest in model.guests.items() if name not in names},
        ports={name: port for name, port in model.ports.items() if port.node not in names},
        tests={name: test for name, test in tests.items() if test.sources and test.targets},
    )


def _test_without(test: Test, names: Collection[str]) -> Test:
    sources = tuple(name for name in test.sources if name not in names)
    return replace(test, sources=sources, targets=tuple(name for name in test.targets if name not in names))


# ── what is waited for ────────────────────────────────────────────────────────────────────────────────────────────────


def _is_met(model: Model, facts: Facts, name: str) -> bool:
    """As it is wished; or the lab's agent has dealt with the wish, and says why it is not."""
    seen = facts.guests.get(name, GuestFacts())
    return _is_as_wished(model, facts, name) or (_is_confirmed(model, facts, name) and _is_wrong(seen))


def _met_and_told(tell: Callable[[str], object], model: Model, facts: Facts, name: str) -> bool:
    met = _is_met(model, facts, name)
    if met:
        tell(name)
    return met


def _is_as_wished(model: Model, facts: Facts, name: str) -> bool:
    """The built-in guest is on when it can be used; of an image nobody knows whether there is an agent in it."""
    seen, machine = facts.guests.get(name, GuestFacts()), model.guests[name].machine
    can_be_used = seen.answers or not machine.builtin or machine.power != "on"
    return seen.phase == PHASES[machine.power] and can_be_used


def _is_wrong(seen: GuestFacts) -> bool:
    return seen.phase == "failed" or bool(seen.error)


def _is_calm(_: Model, facts: Facts, name: str) -> bool:
    """Nothing is said any more of the end that it had."""
    seen = facts.guests.get(name, GuestFacts())
    return seen.phase == "off" and not (seen.note or seen.error)


def _is_gone(model: Model, facts: Facts, name: str) -> bool:
    return name not in facts.guests and _is_confirmed(model, facts, name)


def _is_confirmed(model: Model, facts: Facts, name: str) -> bool:
    return facts.hosts.get(model.nodes[name].chassis, HostFacts()).revision >= model.revision


def _resting(model: Model, facts: Facts, names: Collection[str]) -> list[str]:
    """Guests that shall be on, have ended and are not started again."""
    on = [name for name in names if model.guests[name].machine.power == "on"]
    return [name for name in on if facts.guests.get(name, GuestFacts()).phase in ("off", "failed")]


def _late(facts: Facts, names: Sequence[str]) -> LateError:
    said = [_wrong(name, facts.guests.get(name, GuestFacts())) for name in names]
    return LateError("not done in time: " + "\n  ".join(said), facts, remedy=_look(names[0]))


def _wrong(name: str, seen: GuestFacts) -> str:
    silent = "no guest agent answers in it" if seen.phase == "running" and not seen.answers else ""
    why = seen.error or silent
    return f"{name} is {seen.phase}" + (f": {why}" if why else "")


def _look(name: str) -> str:
    return f"see: sdn guest show {name}, sdn console {name} --log"


def _model(store: Store) -> Model:
    model = store.model()
    if model is None:
        raise FileError("the lab has no topology yet", remedy="bring it up with: sdn up FILE")
    return model
