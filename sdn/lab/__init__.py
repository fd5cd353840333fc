"""Labs on this machine: bring up, change, take down, look at. What the command line and the API call.

Enters: a Model. Leaves: a running lab whose switches and hosts have confirmed it. Heavy imports wait until they are
needed: `sdn --help` starts in the time that Python takes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datapath.errors import CheckError, FileError, SdnError
from datapath.spec import GuestPhase, Power
from sdn.lab.condition import chassis_troubles, confirmed, managed, went_off
from sdn.lab.processes import Process
from sdn.lab.rundir import RunDir, labs
from sdn.model import Model
from sdn.model.facts import Facts, FlowFacts, GuestFacts, HostFacts

if TYPE_CHECKING:
    from sdn.store import Store

__all__ = [
    "Process",
    "Progress",
    "Result",
    "Status",
    "apply",
    "confirmed",
    "connected",
    "down",
    "is_running",
    "labs",
    "managed",
    "run_dir",
    "snapshot",
    "status",
    "up",
    "went_off",
]

Remake = Callable[[Model | None], Model]
"""From the model in the store (None: there is none) to the one that is wanted."""

Progress = Callable[[str, int, int], None]
"""Called with (phase, done, total) as the work goes on."""


@dataclass(frozen=True, slots=True)
class Result:
    """What `up` or `apply` came to. `changed` is False where everything was so already."""

    revision: int
    changed: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """A lab as it is now. `model` is None before the first file was applied."""

    lab: str
    processes: tuple[Process, ...]
    model: Model | None
    facts: Facts

    @property
    def troubles(self) -> tuple[str, ...]:
        """Everything that is not as it should be, in words; empty where the lab is whole."""
        dead = [f"{process.name} is not running" for process in self.processes if process.is_missing]
        model = self.model
        return (*dead, *(chassis_troubles(model, self.facts) if model else ("no topology has been applied",)))


def run_dir(lab: str) -> Path:
    return RunDir(lab).path


def is_running(lab: str) -> bool:
    return RunDir(lab).running


def quiet(_phase: str, _done: int, _total: int) -> None:
    """A Progress that tells nobody."""


@contextmanager
def connected(lab: str) -> Iterator[Store | None]:
    """The store of a lab, so that a command reads it only once; None where there is none.

    A lab whose processes were killed remembers its numbers in the store's file: its server is started, and `up` finds
    it running.
    """
    run = RunDir(lab)
    if not run.running and not _has_store(run):
        yield None
        return
    with _opened(run, None) as store:
        yield store


def _has_store(run: RunDir) -> bool:
    """Of a lab that does not run. Where it has a store, that answers."""
    if not run.store_file.exists():
        return False
    from sdn.store.serve import start_server

    start_server(run.path).close()
    return True


@contextmanager
def _opened(run: RunDir, store: Store | None) -> Iterator[Store]:
    """`store`, or one that is open only meanwhile."""
    if store is not None:
        yield store
        return
    from sdn.store import Store

    opened = Store.open(run.store_socket)
    try:
        yield opened
    finally:
        opened.close()


def up(
    model: Model,
    *,
    timeout: float = 60.0,
    progress: Progress = quiet,
    store: Store | None = None,
    remake: Remake | None = None,
) -> Result:
    """Bring the lab to `model`, whatever is there of it: nothing, a part that a crash left, or all.

    Every switch and host looks at what it really has, and repairs it, also where the model is the same as before.
    `store` is that of the lab, where the caller has it open already; `remake` makes `model` again from what the lab has
    by then, so that what the file leaves open stays as it is.
    Raises MachineError, ConflictError, CheckError (with what is missing when `timeout` seconds are over).
    """
    return _bring(model, timeout, progress, store, remake, anew=True)


def apply(
    model: Model,
    *,
    timeout: float = 60.0,
    progress: Progress = quiet,
    store: Store | None = None,
    remake: Remake | None = None,
) -> Result:
    """Change a running lab to `model`; what does not differ is not looked at. Raises as `up`, and FileError where
    the lab does not run."""
    if not RunDir(model.lab).running:
        raise FileError(f"lab {model.lab} is not running", remedy="bring it up with: sdn up FILE")
    return _bring(model, timeout, progress, store, remake, anew=False)


def _bring(
    model: Model, timeout: float, progress: Progress, store: Store | None, remake: Remake | None, *, anew: bool
) -> Result:
    started = time.monotonic()
    look_at_machine(model)
    run = RunDir(model.lab)
    with run.exclusive() as lock:
        fresh = not run.running
        if fresh:
            from sdn.lab.machine import check
            from sdn.lab.supervisor import start

            check()
            progress("start", 0, 1)
            try:
                start(run, lock)
            except ChildProcessError as error:
                if not run.running:  # else one of a command that was killed was faster
                    raise SdnError(str(error), remedy=f"look into {run.logs}") from error
            progress("start", 1, 1)
        with _opened(run, store) as opened:
            edit = remake or (lambda _: model)
            written = opened.change(edit, anew=lambda _: anew or fresh or _is_in_trouble(model, opened.facts()))
            asyncio.run(_wait(opened, written.model, started + timeout, progress))
    same = written.before is not None and written.before.with_revision(written.revision) == written.model
    return Result(written.revision, fresh or not same, time.monotonic() - started)


def _is_in_trouble(model: Model, facts: Facts) -> bool:
    """Whether something has failed that may have been seen to meanwhile, outside of the model: it is tried again."""
    hosts, flows = facts.hosts, facts.flows
    return any(hosts.get(name, HostFacts()).errors or flows.get(name, FlowFacts()).error for name in managed(model))


def look_at_machine(model: Model) -> dict[str, str]:
    """What becomes of the machine's interfaces that physical networks have, by physnet. Raises ConflictError or
    MachineError, before anything is touched, if they cannot be had, or the machine lacks what chassis and guests need
    of it."""
    if any(chassis.ours and not chassis.has_tables for chassis in model.chassis.values()):
        from sdn.lab import features

        features.check(model)
    if model.guests:
        from sdn.lab import belongings, capacity

        belongings.check(model)
        capacity.check(model)
    if not any(physnet.interface for physnet in model.physnets.values()):
        return {}
    from sdn.lab import interfaces

    return interfaces.inspect(model)


async def _wait(store: Store, model: Model, deadline: float, progress: Progress) -> None:
    """Return when every chassis has confirmed the revision; woken by the store, not by a clock."""
    updates = store.watch(asyncio.get_running_loop())
    facts = store.facts()
    while not _settled(model, facts, progress):
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                facts = (await updates.get()).facts
        except TimeoutError:
            raise _not_whole(model, facts) from None
    flows = facts.flows
    if any(facts.hosts[name].errors or flows.get(name, FlowFacts()).error for name in managed(model)):
        raise _not_whole(model, facts)


def _settled(model: Model, facts: Facts, progress: Progress) -> bool:
    names = managed(model)
    done = sum(confirmed(model, facts, name) for name in names)
    progress("chassis", done, len(names))
    if model.guests:
        progress("guests", _guests_as_wished(model, facts), len(model.guests))
    return done == len(names)


def _guests_as_wished(model: Model, facts: Facts) -> int:
    """Those that need no more waiting for; that one which has failed is among them is told in the end."""
    phases: dict[Power, GuestPhase] = {"on": "running", "paused": "paused", "off": "off"}
    seen = {name: facts.guests.get(name, GuestFacts()) for name in model.guests}
    wished = {name: phases[guest.machine.power] for name, guest in model.guests.items()}
    at_home = {name: seen[name].at in ("", model.nodes[name].chassis) for name in model.guests}
    return sum(at_home[name] and facts.phase in (wished[name], "failed") for name, facts in seen.items())


def _not_whole(model: Model, facts: Facts) -> CheckError:
    return CheckError(
        f"lab {model.lab} is not whole:\n  " + "\n  ".join(chassis_troubles(model, facts)),
        remedy=f"see: sdn status {model.lab}, sdn logs --lab {model.lab}",
    )


def snapshot(lab: str) -> tuple[Model | None, Facts]:
    """The model in the store and what was observed. Raises FileError where the lab does not run.

    A store that outlived its supervisor is read too.
    """
    from sdn.store import running_server

    run = RunDir(lab)
    server = running_server(run.path)
    if server is None and not run.running:
        rest = f"; files of it are left in {run.path}" if run.path.exists() else ""
        raise FileError(f"lab {lab} is not running{rest}", remedy="bring it up with: sdn up FILE")
    if server is not None:
        server.close()
    with _opened(run, None) as store:
        return store.model(), store.facts()


def status(lab: str) -> Status:
    """Processes, model and facts of a lab."""
    model, facts = snapshot(lab)
    return Status(lab, own_processes(RunDir(lab)), model, facts)


def own_processes(run: RunDir) -> tuple[Process, ...]:
    """Of a lab, as they are now: the supervisor, and those that it looks after."""
    from sdn.lab import processes

    supervisor = run.supervisor
    own = Process("supervisor", supervisor, supervisor is not None, _started(supervisor), 0)
    return (own, *processes.read(run.processes))


def _started(pid: int | None) -> float:
    """When a process came up, in seconds since the epoch; 0 where it does not run."""
    try:
        return Path(f"/proc/{pid}").stat().st_mtime
    except FileNotFoundError:
        return 0.0


def down(lab: str, *, progress: Progress = quiet) -> bool:
    """Remove everything of the lab from this machine, and nothing else; False where there was nothing."""
    from datapath.destroy import destroy

    run = RunDir(lab)
    with run.exclusive(patience=5.0):  # a lab that is just coming up is held first
        progress("processes", 0, 3)
        stopped = _stop_supervisor(run)
        progress("host", 1, 3)
        destroy(lab, run.path)
        progress("files", 2, 3)
        existed = run.path.exists()
        if existed:
            shutil.rmtree(run.path)
        progress("files", 3, 3)
    return stopped or existed


def _stop_supervisor(run: RunDir) -> bool:
    """Stop it and wait for its end; a store that a killed supervisor left behind is ended too."""
    from sdn.lab.supervisor import GRACE

    pid = run.supervisor
    if pid is not None:
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            if not _ended_within(descriptor, 2 * GRACE):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                _ended_within(descriptor, GRACE)
        finally:
            os.close(descriptor)
    if run.path.exists():
        from sdn.store.serve import running_server

        if server := running_server(run.path):
            server.stop(GRACE)
    return pid is not None


def _ended_within(descriptor: int, seconds: float) -> bool:
    import select

    return bool(select.select([descriptor], [], [], seconds)[0])


def one(name: str | None) -> str:
    """The lab that a command means: the one named, or the only one there is. Raises FileError otherwise."""
    if name is not None:
        return name
    running = labs()
    if len(running) == 1:
        return running[0]
    if not running:
        raise FileError("no lab is running", remedy="bring one up with: sdn up FILE")
    raise FileError(
        f"several labs are running: {', '.join(running)}",
        remedy="say which one: --lab NAME, or SDN_LAB=NAME in the environment",
    )
