"""The life of one guest: what is done so that it becomes as it is wished.

Enters: Wishes; happenings of its process. Leaves: actions on its Instance, one round at a time. Never: a wait for the
guest: a round does what can be done now, and says when the next one is due at the latest.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from datapath.guest.instance import Instance, Place
from datapath.guest.means import ANSWER, BOOT, BUTTON, CALM, LINGER, Means
from datapath.guest.past import Past
from datapath.guest.patience import NEVER, Attempts
from datapath.guest.qemu.command import PID
from datapath.guest.remove import end
from datapath.guest.run import Run
from datapath.guest.traces import remains, traces
from datapath.guest.wishes import ARRIVING, Wish, Wishes


class Life:
    """`wishes` are the newest; those before are `known` until nothing is left of the guest."""

    def __init__(
        self, name: str, nowhere: Place, means: Means, stir: Callable[[], None], tell: Callable[[], None]
    ) -> None:
        """`nowhere`: its place, without a chassis."""
        self.name = name
        self.directory = nowhere.directory
        self.wishes = Wishes()
        self.known = Wishes()
        self.run: Run | None = None
        self.past = Past(nowhere.directory, means.clock)
        self.attempts = Attempts(means.clock)
        self.moving = False
        self.heading = ""
        """Where it is being moved to."""
        self.switched = ""
        """While it moves: the chassis that its frames go to already."""
        self.until = NEVER
        self.is_over = False
        self.has_looked = False
        """For what an earlier agent has left."""
        self._nowhere = nowhere
        self._arriving = nowhere.directory.with_name(name + ARRIVING)
        self._means = means
        self._stir = stir
        self._tell = tell
        self._console = means.console()

    @property
    def instance(self) -> Instance | None:
        return self.run.instance if self.run else None

    @property
    def waits(self) -> bool:
        """Whether something of it waits by back-off."""
        return self.attempts.waits or self.past.again is not None

    def hasten(self) -> None:
        """What waits by back-off is tried in the next round."""
        self.attempts.hasten()
        self.past.hasten()

    async def step(self) -> None:
        """A round."""
        self.until = NEVER
        self.attempts.begin()
        if (
            not self.wishes
            or self.has_looked
            or await self.attempts.make("find", self.wishes.target.hardware, self._find)
        ):
            self._conclude()
            if not self.wishes:
                await self._remove()
            elif self.run is None:
                await self._raise(self.wishes.target)
            else:
                await self._tend(self.run)
        self._due(self.attempts.finish())

    def close(self) -> None:
        """Lets go; the guest goes on."""
        self._means.slots.give_back(self.name)
        self._console.close()
        if self.instance is not None:
            self.instance.close()

    def _due(self, moment: float) -> None:
        self.until = min(self.until, moment)

    def _fresh(self) -> Run:
        return Run(self._means.clock.now(), self._means.clock.now, self._stir)

    # Nothing runs

    async def _find(self) -> None:
        """What an earlier agent has left running, or at rest."""
        wish, run = self.wishes.target, self._fresh()
        await self._recover(runs=wish.guest.machine.power == "on")
        for driver, place in traces(self.wishes):
            run.instance = run.instance or await self._means.drivers(driver).find(wish.guest, place, run.happen)
        self.has_looked = True
        if run.instance is not None:
            run.booting = run.instance.state == "running" and wish.guest.machine.builtin
            run.boots_until = run.begun + ANSWER
            self.run = run
        else:
            died = (self.directory / PID).exists()
            if self.directory.exists():  # one that cannot be adopted, such as on a chassis that is gone, must not stay
                await end(self.directory)
            self.past.recall(wish)
            if died and self.past.rest is None and wish.guest.machine.power != "off":
                run.ended = "while nobody watched"
                self.past.take(run, wish)

    async def _recover(self, *, runs: bool) -> None:
        """From a move in the middle of which an earlier agent was killed."""
        if self._arriving.exists():
            from datapath.guest.qemu.recovery import recover

            await recover(self.directory, runs=runs)

    async def _raise(self, wish: Wish) -> None:
        if wish.guest.machine.power == "off":
            self.past.forget()
            self._means.slots.give_back(self.name)
            return
        self.past.compare(wish)
        if self.past.rest is not None:
            return
        if self.past.again is not None and self._means.clock.now() < self.past.again:
            self._due(self.past.again)
            return
        if not self.attempts.may("launch", wish.hardware):
            return
        if self._means.slots.take(self.name, self._stir):
            await self.attempts.make("launch", wish.hardware, partial(self._launch, wish))
            if self.run is None:
                self._means.slots.give_back(self.name)

    async def _launch(self, wish: Wish) -> None:
        self._tell()
        run = self._fresh()
        driver = self._means.drivers(wish.guest.machine.driver)
        run.instance = await driver.launch(wish.guest, wish.place, run.happen)
        self.past.launched()
        self.run = run
        self._stir()

    # It runs

    async def _tend(self, run: Run) -> None:
        instance = run.instance
        assert instance is not None
        wish, target = self.wishes.at(instance.chassis), self.wishes.target
        is_placed = target.place.chassis == instance.chassis
        await self._attach(run, instance)
        if run.went_off is not None or instance.state == "off":
            await self._see_off(run, instance)
        elif instance.chassis not in self.wishes.headers or (instance.state == "prepared" and not is_placed):
            await self._kill(run)
        elif self.wishes.machine.power == "off":
            await self._switch_off(run, instance)
        elif wish is None:
            return  # whoever wishes will be told where it is, and then it moves
        elif instance.state == "prepared":
            await self._start(run, instance, wish)
        else:
            await self._steer(run, instance, wish)
            await self._move_on(run, instance, target)

    async def _attach(self, run: Run, instance: Instance) -> None:
        """Its console, to those who have been reading that of the run before."""
        if not run.has_console:
            attach = partial(self._console.attach, self.directory)
            run.has_console = await self.attempts.make("console", instance.pid, attach)

    async def _start(self, run: Run, instance: Instance, wish: Wish) -> None:
        """Its CPUs, when all that it sends and gets has its flows."""
        plugged = await self._adapt(run, instance, wish)
        if plugged and wish.guest.machine.power == "paused":
            self.past.started()  # as far as it shall
        if wish.guest.machine.power == "paused" or not plugged or not wish.is_ready:
            self._wait_aside(run, wish)
        elif self._means.slots.take(self.name, self._stir) and await self.attempts.make(
            "start", wish.hardware, instance.start
        ):
            run.booting = True
            run.boots_until = self._means.clock.now() + (ANSWER if wish.guest.machine.builtin else BOOT)
            self.past.started()
            self._stir()

    def _wait_aside(self, run: Run, wish: Wish) -> None:
        """Others may boot meanwhile."""
        if wish.guest.machine.power == "paused" or self._means.clock.now() >= run.begun + BOOT:
            self._means.slots.give_back(self.name)
        else:
            self._due(run.begun + BOOT)

    async def _adapt(self, run: Run, instance: Instance, wish: Wish) -> bool:
        if run.adapted == wish.guest:
            return True

        async def adapt() -> None:
            run.later = await instance.adapt(wish.guest, wish.ready)
            run.adapted = wish.guest

        return await self.attempts.make("plug", (wish.guest, instance.state), adapt)

    async def _steer(self, run: Run, instance: Instance, wish: Wish) -> None:
        power = wish.guest.machine.power
        run.pressed = None
        await self._adapt(run, instance, wish)
        if power == "paused" and instance.state == "running":
            await self.attempts.make("pause", None, instance.pause)
        elif power == "on" and instance.state == "paused":
            await self._resume(run, instance)
        if run.booting and (instance.answers or self._means.clock.now() >= run.boots_until):
            run.booting = False
            self._means.slots.give_back(self.name)
        elif run.booting or (not instance.answers and self._means.clock.now() < run.boots_until):
            self._due(run.boots_until)

    async def _resume(self, run: Run, instance: Instance) -> None:
        now = self._means.clock.now()
        if run.resumed is not None and now < run.resumed + CALM:
            self._due(run.resumed + CALM)
        elif await self.attempts.make("resume", None, instance.resume):
            run.resumed = now

    # It moves

    async def _move_on(self, run: Run, instance: Instance, target: Wish) -> None:
        """One that failed is not tried again before something else is wished."""
        chassis = target.place.chassis
        if chassis == instance.chassis or run.ended is not None:
            return
        what, wish = f"move to {chassis}", (chassis, target.guest.machine)
        if self.attempts.may(what, wish) and target.is_ready:
            await self.attempts.make(what, wish, partial(self._move, run, instance, target), patient=False)

    async def _move(self, run: Run, instance: Instance, target: Wish) -> None:
        """Raises SdnError where it goes on at its source."""
        fresh = replace(run, adapted=None, has_console=False)
        place = replace(target.place, directory=self._arriving)
        driver = self._means.drivers(target.guest.machine.driver)
        self.moving, self.heading = True, place.chassis
        self._tell()
        try:
            moved = await self._means.migrate(instance, target.guest, place, driver, fresh.happen, self._switch)
            fresh.instance, self.past.note, self.run = moved.instance, moved.note, fresh
            await self._attach(fresh, moved.instance)
        finally:
            self.moving = False
            self.heading = self.switched = ""
            self._stir()

    def _switch(self, chassis: str) -> None:
        self.switched = chassis
        self._tell()

    # It ends

    async def _switch_off(self, run: Run, instance: Instance) -> None:
        """By its power button, which a guest that is paused would not hear."""
        if instance.state == "prepared":
            await self._kill(run)
            return
        if run.pressed is None:
            run.pressed = run.last_pressed = self._means.clock.now()
            if instance.state == "paused":
                await self.attempts.make("resume", None, instance.resume)
            await self.attempts.make("power button", None, instance.shutdown)
        await self._await_end(run, run.pressed + BUTTON)

    async def _see_off(self, run: Run, instance: Instance) -> None:
        """A process that stays when its guest has switched itself off is ended; one that does not has time to."""
        if run.went_off is None:
            run.went_off = self._means.clock.now()
        await self._await_end(run, run.went_off + (0 if instance.state == "off" else LINGER))

    async def _await_end(self, run: Run, until: float) -> None:
        if self._means.clock.now() < until:
            self._due(until)
        else:
            await self._kill(run)

    async def _kill(self, run: Run) -> None:
        assert run.instance is not None
        if await self.attempts.make("kill", None, run.instance.kill):
            run.ours = run.went_off is None
            run.ended = run.ended or ""
            self._stir()

    def _conclude(self) -> None:
        """What follows from the end of its process."""
        run = self.run
        if run is None or run.ended is None:
            return
        self.run = None
        self._means.slots.give_back(self.name)
        if run.instance is not None:
            run.instance.close()
        if run.was_wished or not self.wishes:
            self.past.forget()
        else:
            self.past.take(run, self.wishes.target)

    async def _remove(self) -> None:
        """Everything of it, for nobody wants it."""
        if self.run is not None:
            await self._kill(self.run)
        elif await self.attempts.make("remove", None, self._clear):
            self.has_looked = True
            self.is_over = not self.wishes

    async def _clear(self) -> None:
        """Also what an earlier agent has left."""
        await end(self.directory, self._arriving)
        for driver, place in remains(self._nowhere, self.known):
            await self._means.drivers(driver).remove(self.name, place)
        shutil.rmtree(self._arriving, ignore_errors=True)
