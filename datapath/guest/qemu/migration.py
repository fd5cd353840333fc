"""Live migration: a guest goes on in another QEMU, whose taps are on another chassis, and nobody inside notices.

Enters: a guest that runs, where it shall be; the taps and flows are there. Leaves: the guest there, or where it was.
Never: the guest in two places; trust in QEMU's word: "completed" was said of guests that were dead.

    source            destination               network
    ──────            ───────────               ───────
    runs              launched, awaits          delivers to the source
    CPUs stop         ┊                         redirected on all chassis at once (`on_switch`)
    sends ──────────▶ receives
    stands still      CPUs run, announces it    reverse ARPs (RFC 903)
    stands still      is asked: does it answer?
    killed            takes the name of its directory

An agent that ends meanwhile, killed or not, leaves it as it is: see `recovery`.

Until the destination's CPUs run, every failure ends with the destination killed and the source going on. Afterwards
there are two cases. With stop-and-copy and pre-copy the source's memory is as it was: it goes on if the destination is
silent and has written nothing to a disk (a file system would not survive going back in time under it). In place and
with post-copy the memory has one state, which is the destination's: there is no way back, and what is wrong is told.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final, Protocol, cast, runtime_checkable

from datapath.errors import MachineError, SdnError
from datapath.guest.instance import Driver, Happening, Instance, OnHappening, Place
from datapath.guest.qemu import arrival, migration_modes
from datapath.guest.qemu.migration_check import ask, has_written
from datapath.guest.qemu.migration_modes import Mode, Terms
from datapath.guest.qemu.migration_side import Emulator, Side, watched
from datapath.guest.remove import end
from datapath.spec import Guest

REST: Final = 5.0
"""Seconds that the source has to stop sending, once nobody receives."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The guest where it is now, and in words how it got there."""

    instance: Instance
    note: str


OnSwitch = Callable[[str], None]
Ask = Callable[[Emulator, bool], Awaitable[str]]


@runtime_checkable
class Receiver(Driver, Protocol):
    """A driver whose guests can move."""

    async def receive(self, guest: Guest, place: Place, on_happening: OnHappening, memory: str) -> Emulator:
        """As `launch`, but the guest is awaited (`-incoming defer`), with the hardware that it has at its source and
        the disks that are there. `memory`: the path of a file that is its memory; '' if it gets memory of its own."""
        ...


async def migrate(
    source: Instance,
    arriving: Guest,
    place: Place,
    driver: Driver,
    on_happening: OnHappening,
    on_switch: OnSwitch,
    ask: Ask = ask,
) -> Moved:
    """`place` has the directory of an arrival; in the end it has the name of the source's. `ask` asks the guest that
    has moved, of which the second argument says whether it had an agent, and returns in words what it could not ask.

    Raises MachineError where the guest cannot be moved, else SdnError; in both cases it goes on where it was."""
    receiver, emulator, mode = _possible(source, arriving, driver)
    move = _Move(emulator, arriving, place, mode, on_switch)
    with closing(move), watched(emulator.pid, move.lose):
        try:
            async with asyncio.timeout(migration_modes.patience(mode, arriving.machine.memory)):
                await move.receive(receiver, on_happening)
                await move.over()
            return await move.settle(await move.asked(ask))
        except TimeoutError:
            return await move.fail("it has not ended in time")
        except SdnError as error:
            return await move.fail(error.message)
        except asyncio.CancelledError:  # the agent ends: the next one finds this as if this one had been killed
            move.let_go()
            raise


def _possible(source: Instance, guest: Guest, driver: Driver) -> tuple[Receiver, Emulator, Mode]:
    old, new = source.guest.machine, guest.machine
    if old.devices or new.devices:
        raise _impossible(
            f"{guest.name} has devices of this machine for itself ({', '.join(old.devices or new.devices)}), "
            "which cannot move",
            "switch it off (power: off), move it, switch it on",
        )
    if not isinstance(driver, Receiver):
        raise _impossible(f"the driver {new.driver} cannot move guests while they run", "driver: qemu")
    if (old.memory, old.cpus) != (new.memory, new.cpus):
        raise _impossible(f"{guest.name} runs with other memory or CPUs than it shall have", "start it anew first")
    mode = migration_modes.choose(new.migration, source.accelerator, bool(arrival.memory_of(source.pid)))
    return driver, cast(Emulator, source), mode


def _impossible(message: str, remedy: str) -> MachineError:
    return MachineError("live migration", message, remedy=remedy)


class _Move:
    def __init__(self, source: Emulator, guest: Guest, place: Place, mode: Mode, on_switch: OnSwitch) -> None:
        self._guest = guest
        self._place = place
        self._mode = mode
        self._on_switch = on_switch
        self._source = Side(source)
        self._arrived: Side | None = None
        self._begun = asyncio.get_running_loop().time()
        self._ran = source.state == "running"
        self._had_agent = source.answers
        self._switched = False
        self._is_decided = False
        """The source is being killed."""
        self._let_run = False
        """The destination was told to run."""

    def close(self) -> None:
        self._source.close()
        if self._arrived is not None:
            self._arrived.close()

    def let_go(self) -> None:
        """Of the destination, as it is: what becomes of it and of the source is for `recovery` to decide, which sees
        both. The source is let go of by whoever had it."""
        if self._arrived is not None:
            self._arrived.emulator.close()

    def lose(self) -> None:
        """The source's process has ended."""
        self._source.end(self._source.ended or "killed, or switched off")

    @property
    def _destination(self) -> Side:
        assert self._arrived is not None, "nothing has been launched yet"
        return self._arrived

    # Over

    async def receive(self, driver: Receiver, on_happening: OnHappening) -> None:
        """The destination, ready for what comes."""
        source = self._source.emulator
        arrival.prepare(source.place.directory, self._place.directory)
        memory = arrival.memory_of(source.pid) if self._mode == "in-place" else ""

        def happen(what: Happening, why: str) -> None:
            if what == "ended" and self._arrived is not None:
                self._destination.end(why)
            on_happening(what, why)

        self._arrived = Side(await driver.receive(self._guest, self._place, happen, memory))
        self._terms = await self._agree(self._arrived.emulator)
        await self._arrived.emulator.execute("migrate-incoming", {"uri": self._uri})

    @property
    def _uri(self) -> str:
        return f"unix:{self._place.directory}/migration.sock"

    async def _agree(self, destination: Emulator) -> Terms:
        """The destination knows whether memory can follow (userfaultfd); pre-copy can do without."""
        terms = migration_modes.terms(self._mode, late=True)
        try:
            await _tell(destination, terms)
        except SdnError:
            if self._mode != "pre-copy":
                raise
            terms = migration_modes.terms(self._mode, late=False)
            await _tell(destination, terms)
        await _tell(self._source.emulator, terms)
        return terms

    async def over(self) -> None:
        """Returns when the destination has what it needs to run, and runs if the source did."""
        source, destination = self._source.emulator, self._destination.emulator
        if self._mode in migration_modes.STOPS_FIRST:
            await self._stop()
        send = source.execute("migrate", {"uri": self._uri})
        if self._mode == "post-copy":  # with one breath, or the source begins with 50 ms of memory
            await asyncio.gather(send, source.execute("migrate-start-postcopy"))
        else:
            await send
        if self._mode == "pre-copy":
            await self._converge()
        await self._run()
        await destination.execute("announce-self", migration_modes.ANNOUNCEMENTS)

    async def _stop(self) -> None:
        if self._ran:
            await self._source.emulator.execute("stop")
        self._redirect()

    def _redirect(self) -> None:
        self._switched = True
        self._on_switch(self._place.chassis)

    async def _converge(self) -> None:
        """Pre-copy until the CPUs have stopped of themselves; those that write too fast are made to."""
        source = self._source
        try:
            async with asyncio.timeout(migration_modes.CONVERGE):
                await source.until(lambda: "pre-switchover" in source.past)
        except TimeoutError:
            self._mode = "post-copy" if self._terms.late else "pre-copy"
            await source.emulator.execute("migrate-start-postcopy" if self._terms.late else "stop", {})
            await source.until(lambda: "pre-switchover" in source.past)
        self._redirect()
        await source.emulator.execute("migrate-continue", {"state": "pre-switchover"})

    async def _run(self) -> None:
        """Not sooner: to run it needs the locks of the disks, which the source has until it has sent everything."""
        source, destination = self._source, self._destination
        if self._mode == "post-copy":
            await self._until(lambda: bool(destination.past & {"postcopy-active", "completed"}))
        else:
            await self._until(lambda: source.completed and destination.completed)
        if self._ran:
            self._let_run = True
            await destination.emulator.execute("cont")
            await self._until(lambda: destination.resumed is not None)

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Both must live and go on until then."""
        sides = [asyncio.ensure_future(side.until(reached)) for side in (self._source, self._destination)]
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in sides:
                each.cancel()
            await asyncio.gather(*sides, return_exceptions=True)

    # There

    async def asked(self, ask: Ask) -> str:
        """What the guest says of it. Raises SdnError where it says nothing."""
        asked = "it is paused: nobody was asked"
        if self._ran:
            asked = await ask(self._destination.emulator, self._had_agent)
        if self._mode == "post-copy":  # what it has not got yet, only the source has
            await self._until(lambda: self._destination.completed)
        return asked

    async def settle(self, remark: str) -> Moved:
        """The guest is the destination's."""
        self._is_decided = True
        source, destination = self._source.emulator, self._destination.emulator
        await source.end()
        arrival.take_over(source.place.directory, self._place.directory)
        destination.relocate(source.place.directory)
        with suppress(SdnError):  # it may have died
            await destination.execute("migrate-set-capabilities", {"capabilities": migration_modes.NONE})
        seconds = asyncio.get_running_loop().time() - self._begun
        how = f"moved from {source.chassis} to {destination.chassis} in {seconds:.1f} s{self._paused}, {self._mode}"
        return Moved(destination, f"{how}; {remark}" if remark else how)

    @property
    def _paused(self) -> str:
        stopped, resumed = self._source.stopped, self._destination.resumed
        return "" if stopped is None or resumed is None else f", paused for {(resumed - stopped) * 1000:.0f} ms"

    # Not there

    async def fail(self, why: str) -> Moved:
        """The source goes on, if it can: then it raises what happened. Else the guest is the destination's, which may
        have died."""
        if self._is_decided or (self._has_run and not await self._can_return()):
            if self._mode == "post-copy" and not self._destination.completed:
                await self._destination.emulator.end()  # a part of its memory is nowhere
            return await self.settle(f"there was no way back when it went wrong: {why}")
        await self._return()
        raise SdnError(f"{self._guest.name} has not moved to {self._place.chassis}: {why}")

    @property
    def _has_run(self) -> bool:
        """Whether the destination's CPUs may have, and what they did nobody can take back; with post-copy the source
        does not go on either when it has once said that it could."""
        return self._let_run or (self._mode == "post-copy" and "postcopy-active" in self._source.past)

    async def _can_return(self) -> bool:
        """Whether the source has the memory, and finds the disks as it left them."""
        if self._mode not in migration_modes.COMES_BACK or self._source.ended is not None:
            return False
        if self._destination.ended is None:
            with suppress(SdnError):
                return not await has_written(self._destination.emulator)
        machine = self._source.emulator.guest.machine
        return not machine.image and not machine.volumes

    async def _return(self) -> None:
        if self._arrived is not None and self._arrived.ended is None:
            await self._arrived.emulator.end()  # first: it may have the locks of the disks
        await end(self._place.directory)  # also one that has not got as far as to be known here
        shutil.rmtree(self._place.directory, ignore_errors=True)
        if self._switched:
            self._on_switch(self._source.emulator.chassis)
        if self._source.ended is None:
            await self._resume()

    async def _resume(self) -> None:
        source = self._source
        with suppress(SdnError):
            await source.emulator.execute("migrate_cancel")
        with suppress(TimeoutError):
            async with asyncio.timeout(REST):
                await source.rest()
        await source.emulator.execute("migrate-set-capabilities", {"capabilities": migration_modes.NONE})
        if self._ran and (await source.emulator.execute("query-status"))["status"] != "running":
            await source.emulator.execute("cont")


async def _tell(emulator: Emulator, terms: Terms) -> None:
    await emulator.execute("migrate-set-capabilities", {"capabilities": terms.capabilities})
    await emulator.execute("migrate-set-parameters", terms.parameters)
