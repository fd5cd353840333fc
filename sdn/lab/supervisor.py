"""The supervisor of a lab: starts the store, the controller and the agent, and starts again whichever dies.

Enters: a lab's run directory. Leaves: running processes. Never: a model, a flow, a device.

It is a process of its own, without threads and without what the command that brought the lab up has read: so its
children, controller and agent, are small. They are forks of it and end with it; the store's ovsdb-server and the
switches outlive it, are found again by the next one, and keep the traffic.

The API, which is large and which not every lab needs, is started when somebody connects to its socket: the supervisor
listens, never accepts, and the fork finds the connection waiting.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datapath.errors import SdnError
from sdn.lab import processes
from sdn.lab.processes import Process, readable
from sdn.lab.rundir import RunDir

LOG = logging.getLogger(__name__)
PR_SET_PDEATHSIG = 1
_HOME = str(Path(__file__).parent.parent.parent)
"""Where this `sdn` is imported from, installed or not."""
FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 5.0  # seconds between restarts of a process that keeps dying
STEADY = 10.0  # seconds after which a process counts as having come up well
GRACE = 2.0  # seconds that children get to end by themselves
WAITING = 128  # connections to the API before it answers

Main = Callable[[RunDir], None]


def start(run: RunDir, lock: int) -> None:
    """Start a supervisor and return once the lab's store answers. Raises ChildProcessError with its last words.

    `lock` is that of `RunDir.exclusive`: the supervisor keeps it until it holds the lab.
    """
    run.create()
    ready, tell = os.pipe()
    with os.fdopen(ready, "rb") as pipe, open(run.logs / "supervisor.log", "ab") as log:
        try:
            subprocess.run(
                [sys.executable, "-m", "sdn.lab", run.lab, str(tell), str(lock)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (_HOME, os.environ.get("PYTHONPATH"))))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(tell, lock),
                start_new_session=True,
                check=False,
            )
        finally:
            os.close(tell)
        word = pipe.read(1)
    if not word:
        lines = (run.logs / "supervisor.log").read_text(errors="replace").splitlines()
        raise ChildProcessError("the supervisor did not start: " + (lines[-1] if lines else "it left no word"))


def main(lab: str, tell: int, lock: int) -> None:
    """The supervisor's whole life. Whoever started it need not wait for its end, only for the word on `tell`."""
    if os.fork():
        return
    os.set_inheritable(tell, False)
    os.chdir("/")
    os.umask(0o077)
    run = RunDir(lab)
    _log_to(run, "supervisor")
    _run_and_exit(Supervisor(run, tell, lock).run)


def _log_to(run: RunDir, name: str) -> None:
    """Everything that a process prints or logs goes to logs/<name>.log."""
    descriptor = os.open(run.logs / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("SDN_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )


def _run_and_exit(main: Callable[[], None]) -> None:
    """Run a forked child to its end; it must not return into the code of its parent."""
    code = 1
    try:
        main()
        code = 0
    except BaseException:
        LOG.exception("ended by an error")
    finally:
        logging.shutdown()
        os._exit(code)


@dataclass
class Child:
    """A process that has to run; with `calls`, a listening socket, as soon as somebody connects to that. `spawn` starts
    it, or finds it running, and returns its pid.

    It is waited for and signalled by `descriptor`, a pidfd: its number may be somebody else's once it is dead.
    """

    name: str
    spawn: Callable[[], int]
    calls: socket.socket | None = None
    waits: bool = False
    """For a call."""
    pid: int = 0
    descriptor: int | None = None
    started: float = 0.0
    restarts: int = -1
    backoff: float = FIRST_BACKOFF

    def start(self) -> None:
        """Raises SdnError or OSError where it cannot be started."""
        self.pid = self.spawn()
        self.descriptor = os.pidfd_open(self.pid)
        self.started = time.time()
        self.restarts += 1

    def signal(self, number: int) -> None:
        """Does nothing where it has ended."""
        if self.descriptor is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.descriptor, number)

    async def ended(self) -> None:
        """Return when it has; a child's exit status is taken, so that it does not stay a zombie."""
        if self.descriptor is None:
            return
        await readable(self.descriptor)
        with suppress(ChildProcessError):  # the store's server is not our child
            os.waitpid(self.pid, os.WNOHANG)
        os.close(self.descriptor)
        self.descriptor = None


def _listening(path: Path) -> socket.socket:
    """For root alone. What a supervisor that was killed has left there is nobody's: this one has the lab's lock."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    made.bind(str(path))
    path.chmod(0o600)
    made.listen(WAITING)
    return made


class Supervisor:
    """Lives as long as the lab is up."""

    def __init__(self, run: RunDir, ready: int, lock: int) -> None:
        self._run = run
        self._lock = lock
        self._ready = ready
        self._stopping = asyncio.Event()
        self._children = [
            Child("store", self._start_store),
            Child("controller", lambda: self._fork("controller")),
            Child("agent", lambda: self._fork("agent")),
        ]

    def run(self) -> None:
        """Returns after SIGTERM or SIGINT, with its children ended and the store stopped."""
        self._run.hold()
        os.close(self._lock)
        calls = _listening(self._run.api_socket)
        self._children.append(Child("api", lambda: self._fork("api", calls), calls))
        asyncio.run(self._supervise())

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        for child in self._children:
            if child.calls is None:
                child.start()
        self._tell()
        with suppress(BrokenPipeError):  # the command that waited was killed; the next one finds us running
            os.write(self._ready, b"\n")
        os.close(self._ready)
        try:
            async with asyncio.TaskGroup() as group:  # what nobody foresaw in one of them ends the supervisor, aloud
                watchers = [group.create_task(self._look_after(child)) for child in self._children]
                await self._stopping.wait()
                for watcher in watchers:
                    watcher.cancel()
        finally:
            self._run.api_socket.unlink(missing_ok=True)
            await self._end_children()

    async def _look_after(self, child: Child) -> None:
        while True:
            await self._until_called(child)
            await child.ended()
            lived = time.time() - child.started
            child.backoff = FIRST_BACKOFF if lived > STEADY else min(child.backoff * 2, LONGEST_BACKOFF)
            wait = 0.0 if lived > STEADY or child.restarts == 0 else child.backoff
            LOG.warning(
                "%s (pid %d) ended after %.1f s; starting it again in %.1f s", child.name, child.pid, lived, wait
            )
            self._tell()
            await asyncio.sleep(wait)
            if child.calls is None:
                await self._start_again(child)
                self._tell()

    async def _until_called(self, child: Child) -> None:
        """Return when the first connection waits and the process for it has been started. It accepts; we never do."""
        if child.calls is None:
            return
        child.waits = True
        self._tell()
        await readable(child.calls.fileno())
        child.waits = False
        await self._start_again(child)
        self._tell()

    async def _start_again(self, child: Child) -> None:
        """However often it takes: a full disk, a file that is being repaired."""
        while True:
            try:
                child.start()
            except (SdnError, OSError) as error:
                child.backoff = min(child.backoff * 2, LONGEST_BACKOFF)
                LOG.error("%s cannot be started, again in %.1f s: %s", child.name, child.backoff, error)
                await asyncio.sleep(child.backoff)
            else:
                return

    async def _end_children(self) -> None:
        for child in self._children:
            child.signal(signal.SIGTERM)
        await asyncio.wait([asyncio.create_task(child.ended()) for child in self._children], timeout=GRACE)
        for child in self._children:
            child.signal(signal.SIGKILL)

    def _tell(self) -> None:
        """What cannot be told is no reason to stop supervising."""
        known = [
            Process(
                name=child.name,
                pid=child.pid or None,
                alive=child.descriptor is not None,
                started=child.started,
                restarts=max(child.restarts, 0),
                waits=child.waits,
            )
            for child in self._children
        ]
        try:
            processes.write(self._run.processes, known)
        except OSError as error:
            LOG.error("%s cannot be written: %s", self._run.processes, error)

    def _start_store(self) -> int:
        from sdn.store.serve import start_server

        server = start_server(self._run.path)
        server.close()  # we watch it as we watch the others
        return server.pid

    def _fork(self, name: str, kept: socket.socket | None = None) -> int:
        """A child that has the code already loaded, and that ends with the supervisor."""
        supervisor = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        asyncio.set_event_loop(None)
        _run_and_exit(lambda: self._be(name, supervisor, kept))
        return 0

    def _be(self, name: str, supervisor: int, kept: socket.socket | None) -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor:
            return  # it died before we asked to be told
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        _close_all_but(kept.fileno() if kept else 2)
        _log_to(self._run, name)
        _main(name, kept)(self._run)


def _close_all_but(kept: int) -> None:
    """And the standard ones."""
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _main(name: str, kept: socket.socket | None) -> Main:
    if kept is not None:
        from sdn.lab.api import main as api_main

        return partial(api_main, listening=kept)
    if name == "controller":
        from sdn.lab.controller import main

        return main
    from sdn.lab.agent import main as agent_main

    return agent_main
