"""`console`: being at a guest's serial line.

Enters: what is typed, or a pipe. Leaves: what the guest prints. Never: a terminal that is left raw; harm to the guest,
which does not know who is there: the lab's agent relays its one line to any number of readers.

On a terminal every key goes to the guest but Ctrl-]. From a pipe, what it holds is typed, and when that is all, the
guest has the last word: the command ends when it has printed nothing for a second.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from datapath.errors import FileError, RefusedError, TransientError
from datapath.guest import console, past_lines
from sdn.cli import output, target
from sdn.lab.rundir import RunDir
from sdn.model.facts import GuestFacts

_DETACH: Final = b"\x1d"  # Ctrl-], as telnet and virsh have it
_INTERRUPT: Final = b"\x03"
_AT_ONCE: Final = 1 << 16
_QUIET: Final = 1.0
"""Seconds without a word of the guest after which a pipe that has ended is taken to be answered."""


def attach(wanted: str | None, name: str, *, read_only: bool) -> int:
    """Returns the exit code: 0 where it was left, 1 where the line was cut."""
    model, facts = target.running(wanted)
    target.guest(model, name)
    seen = facts.guests.get(name, GuestFacts())
    if not (read_only or sys.stdin.isatty()):
        _must_hear(name, seen)
    line = _connect(RunDir(model.lab).guest(name) / console.SOCKET, name, seen)
    with line:
        if not sys.stdin.isatty():
            return _pipe(line, read_only)
        keys = "Ctrl-] or Ctrl-C leaves" if read_only else "Ctrl-] leaves"
        output.note(output.paint(f"console of {name} ({keys}); it is {seen.phase}", output.SOFT, sys.stderr))
        with _raw(sys.stdin.fileno()):
            left = _talk(line, read_only)
    output.note(f"\nleft {name}" if left else f"\nthe console of {name} was closed: its agent has ended, or it is gone")
    return 0 if left else 1


def log(wanted: str | None, name: str, *, follow: bool) -> None:
    """What the console has printed in all the guest's runs, as far as it is kept."""
    model, _ = target.running(wanted)
    target.guest(model, name)
    file = RunDir(model.lab).guest(name) / console.LOG
    with suppress(FileNotFoundError):  # it has not been too long yet
        _show_past(past_lines.earlier(file))
    try:
        shown = _show_past(file)
    except FileNotFoundError:
        if not follow:
            raise FileError(f"{name} has not printed anything yet", remedy=f"sdn guest show {name}") from None
        shown = 0
    if follow:  # tail follows through restarts, and waits with inotify
        sys.stdout.flush()
        words = ["tail", f"--bytes=+{shown + 1}", "--follow=name", "--retry", str(file)]
        os.execvp("tail", words)  # noqa: S606,S607


def _show_past(file: Path) -> int:
    """Returns how many bytes of the file that was. What was asked of a terminal, ours would answer to the shell."""
    shown = 0
    with file.open("rb") as source:
        for line in source:
            shown += len(line)
            _write(console.without_queries(line) if sys.stdout.isatty() else line)
    return shown


def _must_hear(name: str, seen: GuestFacts) -> None:
    """What is piped to a guest that is off, nobody would ever read. Raises RefusedError."""
    if seen.phase in ("off", "failed"):
        raise RefusedError(
            f"{name} is {seen.phase}: nobody reads what is typed there",
            remedy=f"sdn guest start {name}; what it has printed: sdn console {name} --log",
        )


def _connect(path: Path, name: str, seen: GuestFacts) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        line.close()
        if seen.phase in ("off", "failed"):
            raise FileError(
                f"{name} is {seen.phase} and has no console now",
                remedy=f"sdn guest start {name}; what it has printed: sdn console {name} --log",
            ) from error
        raise TransientError(f"nobody relays the console of {name} yet", remedy="try again; see: sdn status") from error
    return line


def _talk(line: socket.socket, read_only: bool) -> bool:
    """From a terminal; True where it was left, False where the line was cut."""
    keyboard = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([keyboard, line], [], [])
        if line in ready and not _print(line):
            return False
        if keyboard in ready:
            typed = os.read(keyboard, _AT_ONCE)
            if not typed or _DETACH in typed or (read_only and _INTERRUPT in typed):
                return True
            if not read_only:
                line.sendall(typed)


def _pipe(line: socket.socket, read_only: bool) -> int:
    """Reading only, it goes on until it is interrupted."""
    pipe, patience = ([], None) if read_only else ([sys.stdin.fileno()], _QUIET)
    while True:
        ready, _, _ = select.select([line, *pipe], [], [], None if pipe else patience)
        if not ready:
            return 0
        if line in ready and not _print(line):
            return 1
        if pipe and pipe[0] in ready:
            typed = os.read(pipe[0], _AT_ONCE)
            line.sendall(typed)
            pipe = pipe if typed else []


def _print(line: socket.socket) -> bool:
    try:
        data = line.recv(_AT_ONCE)
    except ConnectionResetError:
        return False
    _write(data)
    return bool(data)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Every key is the guest's. Whatever ends this, by a signal too, the terminal is as before."""
    before = termios.tcgetattr(terminal)
    handlers = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setraw(terminal, termios.TCSADRAIN)  # what was typed already is the guest's too
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
