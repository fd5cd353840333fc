"""Keeps one guest as it is wished, and tells how it is.

Enters: Wishes, at any time. Leaves: rounds of its Life; GuestStates. Never: a poll: between rounds it waits for a new
wish, for a happening of the guest, or for the one moment when something is due (the next start, the end of patience
with a power button).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from datapath.events import GuestState
from datapath.guest.instance import Instance, Place
from datapath.guest.life import Life
from datapath.guest.means import ANSWER, Means
from datapath.guest.wishes import Wishes
from datapath.spec import GuestPhase


class Keeper:
    """Of one guest, until nothing is left of one that nobody wants (`done`)."""

    def __init__(self, name: str, nowhere: Place, means: Means, on_look: Callable[[Keeper], None]) -> None:
        """`nowhere`: its place, without a chassis. `on_look` is called when what one may ask has another answer."""
        self.name = name
        self._means = means
        self._on_look = on_look
        self._stirred = asyncio.Event()
        self._life = Life(name, nowhere, means, self._stirred.set, self._tell)
        self._version = self._seen = 0
        """Of the wishes: the newest, and the one that the last round saw when it began."""
        self._broken = ""
        self._is_closed = False
        self._state: GuestState | None = None
        self._look: object = None

    @property
    def done(self) -> bool:
        return self._life.is_over

    async def run(self) -> None:
        """Until `done`, or cancelled."""
        try:
            while not self.done:
                self._stirred.clear()
                version = self._version
                await self._life.step()
                self._seen = version
                self._tell()
                if not self.done:
                    await self._means.clock.wait(self._stirred, self._life.until)
        finally:
            self.close()

    def wish(self, wishes: Wishes, *, anew: bool = False) -> None:
        """Returns at once. `anew`: somebody wishes it just now, so what has failed is tried again at once."""
        hastens = anew and self._life.waits
        if wishes == self._life.wishes and self._version and not hastens:
            return
        if hastens:
            self._life.hasten()
        self._life.wishes = wishes
        self._life.known = wishes or self._life.known
        self._version += 1
        self._look = None
        self._stirred.set()

    def close(self) -> None:
        """Lets go of the guest, which goes on."""
        if not self._is_closed:
            self._is_closed = True
            self._life.close()

    def fail(self, error: str) -> None:
        """Nobody looks after it any more."""
        self._broken = error
        self._seen = self._version
        self._tell()

    # What others ask

    @property
    def chassis(self) -> frozenset[str]:
        """Those that have something to do with it."""
        return frozenset(self._life.known.by_chassis) | ({self.at} if self.at else frozenset())

    @property
    def at(self) -> str:
        """The chassis where it runs; '' if it does not."""
        instance = self._life.instance
        return self._life.switched or (instance.chassis if instance else "")

    @property
    def home(self) -> str:
        """The chassis that its errors are told of."""
        return self.at or (self._life.known.target.place.chassis if self._life.known else "")

    @property
    def is_known(self) -> bool:
        """Whether it has been looked for: an earlier agent may have left it running."""
        return self._life.has_looked

    @property
    def attached(self) -> frozenset[str]:
        """The interfaces that it has plugged, and can use."""
        instance = self._life.instance
        if instance is None or not (self._life.moving or instance.state in ("running", "paused")):
            return frozenset()
        return self._plugged(instance)

    def _plugged(self, instance: Instance) -> frozenset[str]:
        """Not into a tap that is gone, or was made anew."""
        wish = self._life.wishes.at(instance.chassis)
        taps = {interface.name: interface.tap for interface in wish.guest.interfaces} if wish else {}
        every = instance.guest.interfaces
        return frozenset(each.name for each in every if each.tap == taps.get(each.name, each.tap))

    @property
    def error(self) -> str:
        silent = f"its guest agent has not answered within {ANSWER:.0f} s" if self._is_silent else ""
        every = (self._broken, self._life.past.ending, *self._life.attempts.errors, silent)
        return "; ".join(each for each in every if each)

    @property
    def settled(self) -> bool:
        """Whether it is as wished, or something is wrong that does not pass by itself in the next moment."""
        life = self._life
        if self._seen != self._version or life.moving or not life.wishes:
            return False
        if self._broken or self._is_silent or life.past.rest is not None:
            return True
        if life.attempts.errors:
            return life.attempts.is_final
        if life.past.ending:
            return not life.past.is_about_to_start
        return self._is_as_wished(life.instance) if life.instance else life.wishes.machine.power == "off"

    def _is_as_wished(self, instance: Instance) -> bool:
        run, wish = self._life.run, self._life.wishes.target
        plugged = self._plugged(instance)
        wanted = {interface.name for interface in wish.guest.interfaces}
        is_there = instance.chassis == wish.place.chassis and run is not None and not run.booting
        states = {"on": ("running",), "paused": ("paused", "prepared"), "off": ()}[wish.guest.machine.power]
        return is_there and plugged == wanted and instance.state in states

    @property
    def _is_silent(self) -> bool:
        run, instance = self._life.run, self._life.instance
        if run is None or instance is None or run.booting or self._means.clock.now() < run.boots_until:
            return False
        if run.ended is not None or run.ours or run.pressed is not None or not self._life.wishes:
            return False  # it is on its way out
        return instance.guest.machine.builtin and instance.state == "running" and not instance.answers

    # What is told

    def _tell(self) -> None:
        """Of what has changed since it was last told."""
        state = self._observed()
        if state != self._state and self._life.wishes:
            self._state = state
            self._means.on_state(state)
        look = self.settled, self.error, self.is_known, self.attached, self.at
        if look != self._look:
            self._look = look
            self._on_look(self)

    def _observed(self) -> GuestState:
        life, instance = self._life, self._life.instance
        later = life.run.later if life.run else ()
        note = "; ".join(each for each in (life.past.note, *later) if each)
        if instance is None:
            return GuestState(self.name, self._phase, restarts=life.past.restarts, note=note, error=self.error)
        return GuestState(
            self.name,
            self._phase,
            at=self.at,
            goes=life.heading if self.at == instance.chassis else "",
            leaves=instance.chassis if self.at != instance.chassis else "",
            pid=instance.pid,
            accelerator=instance.accelerator.name,
            reason=instance.accelerator.reason,
            started=instance.started,
            restarts=life.past.restarts,
            answers=instance.answers,
            note=note,
            error=self.error,
        )

    @property
    def _phase(self) -> GuestPhase:
        life = self._life
        power = life.wishes.machine.power if life.wishes else "off"
        if life.moving:
            return "moving"
        if life.run is not None:
            return "paused" if life.run.phase == "starting" and power == "paused" else life.run.phase
        if life.past.rest is not None:
            return life.past.rest.phase
        return "off" if power == "off" else "failed" if self.error else "starting"
