"""The process of a QEMU: started in a session of its own, outliving us, known by a pidfd until it ends.

Enters: a program with arguments, descriptors that it inherits. Leaves: a Process; when and why it ended. Never: a
signal to a process that is not proven to be the one: its command line has the guest's UUID, it works in the guest's
directory, and both are looked at with the pidfd open.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from datapath import pidfd
from datapath.errors import MachineError

_PROGRAMS: Final = "qemu-system-"
"""How the names of all of them begin, one for each architecture."""

PANIC: Final = "Kernel panic - not syncing"
"""Of Linux, on its console; what follows is a trace."""

_TUN: Final = "/dev/net/tun"
_TAP: Final = re.compile(r"^iff:\t(\S+)$", re.MULTILINE)

_LAST_LINES: Final = 5
_DELETED: Final = " (deleted)"
"""What the kernel writes behind the name of a directory that is gone (proc(5), d_path())."""
_TAIL: Final = 16384
"""Octets. The trace of a kernel that panics is some three thousand."""
_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[^\t\x20-\x7e\xa0-\uffff]")
"""Escape sequences of a terminal, and what is no text."""


class Process:
    """`on_end` is called once, in the event loop, with the exit in words: '' where it was not our child."""

    def __init__(self, pid: int, descriptor: int) -> None:
        """`descriptor`: its pidfd, which is then ours; -1: it has ended already."""
        self.pid = pid
        self._descriptor = descriptor
        self._ended = asyncio.Event()
        self._on_end: Callable[[str], None] = lambda _: None
        self.exit = ""
        if descriptor < 0:
            self._ended.set()
        else:
            asyncio.get_running_loop().add_reader(descriptor, self._reap)

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def watch(self, on_end: Callable[[str], None]) -> None:
        """Also where it has ended already."""
        self._on_end = on_end
        if self.has_ended:
            on_end(self.exit)

    async def end(self) -> None:
        """Returns when it has ended, by SIGKILL."""
        if self._descriptor >= 0:
            pidfd.kill(self._descriptor)
            await self._ended.wait()

    async def ended(self) -> None:
        await self._ended.wait()

    def close(self) -> None:
        """Lets go; it runs on."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _reap(self) -> None:
        with suppress(ChildProcessError):  # the child of an agent that is no more
            self.exit = _words(os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG))
        self.close()
        self._ended.set()
        self._on_end(self.exit)


def _words(result: os.waitid_result | None) -> str:
    if result is None:
        return ""
    if result.si_code == os.CLD_EXITED:
        return f"exit status {result.si_status}"
    return f"killed by {signal.Signals(result.si_status).name}"


def spawn(program: str, arguments: Sequence[str], directory: Path, log: Path, inherited: Sequence[int]) -> int:
    """The PID. It works in `directory`; what it says goes to `log`; of our descriptors it has those `inherited`, with
    the same numbers. 5 ms. Raises MachineError where there is no such program."""
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as output:
        try:
            started = subprocess.Popen(
                [program, *arguments],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=inherited,
                start_new_session=True,
                umask=0o077,
            )
        except FileNotFoundError as error:
            remedy = "apt-get install qemu-system-x86"
            raise MachineError("QEMU", f"no {program} in PATH", remedy=remedy) from error
    started.returncode = 0  # it is reaped by its pidfd, not by this object
    return started.pid


def adopt(pid: int, uuid: str, directory: Path) -> Process | None:
    """The process, where it is the QEMU of this guest in this directory."""
    try:
        descriptor = os.pidfd_open(pid)
    except (ProcessLookupError, OSError):
        return None
    if is_emulator(pid, uuid, directory):
        return Process(pid, descriptor)
    os.close(descriptor)
    return None


def is_emulator(pid: int, uuid: str, directory: Path) -> bool:
    """Whether it is a QEMU that works in the directory. `uuid` '': of any guest."""
    try:
        works_there = os.path.samefile(f"/proc/{pid}/cwd", directory)
    except OSError:
        return False
    arguments = _emulator(pid)
    return bool(arguments) and works_there and (not uuid or uuid in arguments)


def is_in(pid: int, directories: Sequence[Path]) -> bool:
    """Whether it is a QEMU that works in or below one of the directories, or was told to.

    A guest that has moved was told of a directory by the name that it had then, and that may be another guest's by now,
    or its own destination's: one that works beside a directory is not in it, whatever it was told.
    """
    arguments = _emulator(pid)
    try:
        works_in = Path(os.readlink(f"/proc/{pid}/cwd")) if arguments else Path()
    except OSError:
        return False
    return bool(arguments) and any(_is_of(works_in, arguments, directory) for directory in directories)


def _is_of(works_in: Path, arguments: list[str], directory: Path) -> bool:
    if works_in.is_relative_to(directory):
        return True
    is_beside = works_in.parent == directory.parent and not works_in.name.endswith(_DELETED)
    return not is_beside and any(f"{directory}/" in word for word in arguments[1:])


def _emulator(pid: int) -> list[str]:
    """The command line of a QEMU; of anything else none."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
    return arguments if Path(arguments[0]).name.startswith(_PROGRAMS) else []


def taps_of(pid: int) -> frozenset[str]:
    """Names of the taps that it holds: the kernel tells none of a file whose tap was removed (tun_chr_show_fdinfo()),
    also where another has that name now."""
    found = set()
    with suppress(OSError):  # it has ended
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):  # closed meanwhile
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") == _TUN:
                    info = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text()
                    found.update(_TAP.findall(info))
    return frozenset(found)


def last_words(console: Path, log: Path, last: str = "") -> str:
    """The last lines of the guest's console and of what QEMU itself said, for whoever asks why it died. Of the console
    none after one with `last` in it, such as the trace of a kernel that has said why it panics."""
    said = _tail(console)
    ends = [number for number, line in enumerate(said, 1) if last and last in line]
    parts = (("QEMU", _tail(log)), ("console", said[: ends[-1]] if ends else said))
    return "".join(f"\n{name}: {line}" for name, lines in parts for line in lines[-_LAST_LINES:])


def _tail(file: Path) -> list[str]:
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - _TAIL))
            text = opened.read().decode(errors="replace")
    except OSError:
        return []
    lines = (_CONTROL.sub("", line).strip() for line in text.splitlines())
    return [line for line in lines if line]
