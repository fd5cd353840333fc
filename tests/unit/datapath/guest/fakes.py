"""Guests without machines: a driver that minds its order as strictly as QEMU does, and a clock that is turned by hand.

The fake takes nothing that the real one would not: one process for a guest, its CPUs started once and only with every
interface ready, nothing asked of what has ended.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any, Literal

from datapath.addr import Mac
from datapath.errors import SdnError
from datapath.events import GuestState
from datapath.guest.guests import Guests
from datapath.guest.instance import OnHappening, Place
from datapath.spec import Accelerator, Guest, HostSpec, Interface, Machine, Underlay, namespace

MIB = 1 << 20


async def calm() -> None:
    """Everything that can go on now has gone on; nothing in these tests waits for the world."""
    for _ in range(60):
        await asyncio.sleep(0)


class FakeClock:
    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self._now

    @property
    def due(self) -> float:
        return min((until for until, _ in self._sleepers), default=math.inf)

    async def wait(self, event: asyncio.Event, until: float) -> None:
        sleeper = until, event
        self._sleepers.append(sleeper)
        try:
            await event.wait()
        finally:
            self._sleepers.remove(sleeper)

    async def advance(self, seconds: float) -> None:
        """Wakes everybody at their moment, not at the end."""
        await calm()
        end = self._now + seconds
        while self.due <= end:
            self._now = max(self._now, self.due)
            for until, event in list(self._sleepers):
                if until <= self._now:
                    event.set()
            await calm()
        self._now = end


class FakeInstance:
    def __init__(self, driver: FakeDriver, guest: Guest, place: Place, on_happening: OnHappening) -> None:
        self.guest = guest
        self.place = place
        self.pid = driver.next_pid()
        self.accelerator = Accelerator("tcg", "a fake")
        self.started = 1_700_000_000
        self.state: Literal["prepared", "running", "paused", "off", "incoming"] = "prepared"
        self.answers = False
        self.is_gone = False
        self.is_closed = False
        self.is_deaf = False
        """It does not hear its power button."""
        self.on_happening = on_happening
        self._driver = driver
        self._ready: set[str] = set()

    @property
    def chassis(self) -> str:
        return self.place.chassis

    def _note(self, what: str) -> None:
        if self.is_gone:
            raise SdnError(f"{self.guest.name} has ended")
        assert not self.is_closed, "asked after it was let go of"
        self._driver.log.append(f"{what} {self.guest.name}@{self.chassis}")
        if what in self._driver.refusals:
            raise self._driver.refusals[what]

    async def start(self) -> None:
        self._note("start")
        assert self.state == "prepared"
        unready = {each.name for each in self.guest.interfaces} - self._ready
        assert not unready, f"started with {unready} not ready"
        self.state = "running"

    async def pause(self) -> None:
        self._note("pause")
        assert self.state == "running"
        self.state = "paused"
        self.on_happening("paused", "")

    async def resume(self) -> None:
        self._note("resume")
        assert self.state == "paused"
        self.state = "running"
        self.on_happening("resumed", "")

    async def shutdown(self) -> None:
        self._note("button")
        assert self.state == "running", "the CPUs must run to hear it"
        if not self.is_deaf:
            asyncio.get_running_loop().call_soon(self.switch_off)

    async def reset(self) -> None:
        self._note("reset")

    async def kill(self) -> None:
        self._note("kill")
        await asyncio.sleep(0)
        self.end("killed")

    async def adapt(self, guest: Guest, ready: Sequence[Interface]) -> tuple[str, ...]:
        self._note("adapt")
        self._ready = {each.name for each in ready}
        had = {each.name: each.tap for each in self.guest.interfaces}
        wanted = [each for each in guest.interfaces if each.name in had.keys() | self._ready]
        plugged = tuple(each if each.name in self._ready else replace(each, tap=had[each.name]) for each in wanted)
        machine = replace(guest.machine, memory=self.guest.machine.memory)
        self.guest = replace(guest, interfaces=plugged, machine=machine)
        is_other = guest.machine.memory != machine.memory
        return (f"memory {guest.machine.memory // MIB}M comes with the next start",) if is_other else ()

    def close(self) -> None:
        self.is_closed = True

    # What the guest does

    def answer(self) -> None:
        self.answers = True
        self.on_happening("agent-up", "")

    def fall_silent(self) -> None:
        self.answers = False
        self.on_happening("agent-down", "")

    def switch_off(self) -> None:
        self.on_happening("shutdown", "guest")
        self.end("")

    def end(self, why: str) -> None:
        self.is_gone = True
        self._driver.instances.pop(self.guest.name, None)
        self.on_happening("ended", why)


class FakeDriver:
    def __init__(self, run_dir: Path) -> None:
        self.log: list[str] = []
        self.instances: dict[str, FakeInstance] = {}
        self.refusals: dict[str, Exception] = {}
        """What is refused, by the word in the log."""
        self.launched: list[FakeInstance] = []
        self._run_dir = run_dir
        self._pid = 100

    def next_pid(self) -> int:
        self._pid += 1
        return self._pid

    async def find(self, guest: Guest, place: Place, on_happening: OnHappening) -> FakeInstance | None:
        self.log.append(f"find {guest.name}@{place.chassis}")
        if "find" in self.refusals:
            raise self.refusals["find"]
        left = self.instances.get(guest.name)
        if left is None or left.place.directory != place.directory or left.chassis != place.chassis:
            return None
        left.on_happening, left.is_closed = on_happening, False
        return left

    async def launch(self, guest: Guest, place: Place, on_happening: OnHappening) -> FakeInstance:
        self.log.append(f"launch {guest.name}@{place.chassis}")
        assert guest.name not in self.instances, "it runs already"
        assert place.directory == self._run_dir / "guests" / guest.name
        assert place.namespace == namespace(place.lab, place.chassis)
        await asyncio.sleep(0)
        if "launch" in self.refusals:
            raise self.refusals["launch"]
        place.directory.mkdir(parents=True, exist_ok=True)
        instance = self.instances[guest.name] = FakeInstance(self, guest, place, on_happening)
        self.launched.append(instance)
        return instance

    async def remove(self, guest: str, place: Place) -> None:
        self.log.append(f"remove {guest}")
        assert guest not in self.instances, "it still runs"
        assert place.lab, "nobody knows whose disk it is"
        if place.directory.exists():
            for file in place.directory.iterdir():
                file.unlink()
            place.directory.rmdir()


class FakeConsole:
    def __init__(self) -> None:
        self.attached: list[Path] = []

    async def attach(self, directory: Path) -> None:
        self.attached.append(directory)

    def close(self) -> None:
        self.attached.append(Path("closed"))


def nic(guest: str, name: str = "eth0", ready: bool = True) -> Interface:
    number = int(name.removeprefix("eth"))
    return Interface(
        guest, name, f"{guest}{number}"[:15], 64 + number, Mac(0x020000000000 + number), 1450, (), ready=ready
    )


def guest(name: str, *interfaces: Interface, **machine: Any) -> Guest:
    """Of a kernel of its own, so that it has no agent, unless `builtin=True`."""
    builtin = machine.pop("builtin", False)
    image = {} if builtin else {"image": "/var/images/any.qcow2"}
    given = {"memory": 128 * MIB, **image, **machine}
    return Guest(name, f"uuid-of-{name}", Machine(**given), interfaces or (nic(name),))


def spec(chassis: str, *guests: Guest, lab: str = "unit") -> HostSpec:
    underlay = Underlay(IPv4Interface("172.31.0.1/24"), Mac(0x020000000001), 1500, ())
    return HostSpec(lab, chassis, namespace(lab, chassis), 1, underlay, (), (), (), guests=guests)


@dataclass
class World:
    """A lab's guests with everything around them. `before` is the driver of an earlier agent."""

    run_dir: Path
    before: FakeDriver | None = None
    boots: int = 2
    states: list[GuestState] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)
    migrate: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        self.driver = self.before or FakeDriver(self.run_dir)
        self.consoles: list[FakeConsole] = []
        given = {"migrate": self.migrate} if self.migrate else {}
        self.guests = Guests(
            "unit",
            self.run_dir,
            lambda _: self.driver,
            self.states.append,
            self.changes.append,
            clock=self.clock,
            boots=self.boots,
            console=self._console,
            **given,
        )

    def _console(self) -> FakeConsole:
        self.consoles.append(FakeConsole())
        return self.consoles[-1]

    async def settle(self, *specs: HostSpec, anew: bool = False) -> None:
        self.guests.settle({each.chassis: each for each in specs}, lambda _: True, anew=anew)
        await calm()

    @property
    def log(self) -> list[str]:
        """What was done since it was last asked, but for looking."""
        done = [line for line in self.driver.log if not line.startswith(("find", "adapt"))]
        self.driver.log.clear()
        return done

    def last(self, name: str) -> GuestState:
        return next(state for state in reversed(self.states) if state.guest == name)

    def phases(self, name: str) -> list[str]:
        return [state.phase for state in self.states if state.guest == name]
