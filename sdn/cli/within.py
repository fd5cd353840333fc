"""`exec` in a guest: by its guest agent.

Enters: a command, and what is piped to it. Leaves: its output, and its exit code as ours. Never: a terminal, which the
agent has none of (`sdn console` is one): what the command prints comes when it has ended.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, Final

from datapath.errors import RefusedError, SdnError, TransientError
from datapath.guest.qemu.command import AGENT
from sdn.cli import output
from sdn.lab import guests as lab_guests
from sdn.lab.rundir import RunDir
from sdn.model.facts import Facts, GuestFacts

if TYPE_CHECKING:
    from datapath.guest.qga import Agent, Done
    from sdn.model import Model

_WITH_NAMES: Final = 'printf %s "$1" > /etc/hosts; shift; exec "$@"'
"""What the shell of the built-in guest does first, with the names of the lab."""

_PATIENCE: Final = 5.0
"""Seconds for an agent to answer that does not yet."""

_NAMES_MAX: Final = 100_000  # bytes of one argument: MAX_ARG_STRLEN is 128 KiB


def execute(model: Model, facts: Facts, guest: str, command: Sequence[str], hosts: str) -> int:
    """`hosts` is what the guest's /etc/hosts is to be, if the guest is our own. Returns the exit code."""
    from datapath.guest.qga import Agent

    _check(model.lab, guest, facts.guests.get(guest, GuestFacts()))
    agent = Agent(RunDir(model.lab).guest(guest) / AGENT)
    words = _words(command, hosts if model.guests[guest].machine.builtin else "")
    done = _run(agent, words, command, b"" if sys.stdin.isatty() else sys.stdin.buffer.read())
    _write(sys.stdout.buffer, done.out)
    _write(sys.stderr.buffer, done.err)
    if done.truncated:
        output.note("sdn: the guest agent has kept only the first 16 MiB of what it printed")
    return done.code


def _check(lab: str, guest: str, seen: GuestFacts) -> None:
    """Raises the error of a guest in which nobody would answer; one that is just coming up is given a moment."""
    if seen.phase in ("off", "failed"):
        raise RefusedError(f"{guest} is {seen.phase}", remedy=f"sdn guest start {guest}")
    if seen.phase == "paused":
        raise RefusedError(f"{guest} is paused", remedy=f"sdn guest resume {guest}")
    if seen.answers:
        return
    with lab_guests.working(lab, [guest], _PATIENCE, lambda *_: None) as work:
        if not lab_guests.answer(work):
            raise TransientError(
                f"no guest agent answers in {guest}",
                remedy=f"sdn console {guest}; an image needs qemu-guest-agent in it, and may still be booting",
            )


def _words(command: Sequence[str], hosts: str) -> Sequence[str]:
    if not hosts or len(hosts.encode()) > _NAMES_MAX:
        return command
    return ["/bin/sh", "-c", _WITH_NAMES, "sdn", hosts, *command]


def _run(agent: Agent, words: Sequence[str], command: Sequence[str], stdin: bytes) -> Done:
    """`words` are what runs, `command` what was typed. Interrupted, it ends the command in the guest too."""
    begun: list[int] = []
    try:
        return asyncio.run(agent.run(words, stdin, on_begin=begun.append))
    except KeyboardInterrupt:
        for number in begun:
            asyncio.run(agent.run(["kill", str(number)]))
        raise
    except RefusedError as error:
        raise _NotRunError(error) from error
    except TransientError as error:
        if not begun:
            raise
        raise _LostError(error, words[0], command) from error


class _NotRunError(SdnError):
    """With the exit code that shells have for a command that is not there (POSIX, 2.8.2)."""

    exit_code = 127

    def __init__(self, error: RefusedError) -> None:
        super().__init__(error.message, remedy=error.remedy)


class _LostError(SdnError):
    """What came of the command nobody knows: a code that is hardly its own, as of `docker run` for its own failures."""

    exit_code = 125

    def __init__(self, error: TransientError, program: str, command: Sequence[str]) -> None:
        """In the user's words: of the shell around the command (`program`) nobody has asked for."""
        super().__init__(error.message.replace(f" {program} ", f" {shlex.join(command)} ", 1), remedy=error.remedy)


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)
    stream.flush()
