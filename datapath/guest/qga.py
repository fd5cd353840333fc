"""QEMU's guest agent: commands run inside a guest, over the port of it that is a socket on the host.

Enters: the socket, a command. Leaves: what came of it in the guest. Never: a connection held while nothing is said:
QEMU serves one client of the socket at a time, and the others wait.

The protocol is that of QEMU's qga-schema.json: a line of JSON each way. What an earlier client left unread is still in
the line, so each connection begins with guest-sync-delimited, whose answer has a byte before it that JSON never has.

`Agent` is for an event loop; the functions at the end wait.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from datapath.addr import IPInterface, Mac
from datapath.errors import RefusedError, TransientError

ANSWER: Final = 10.0
"""Seconds for an answer: those of a guest on a crowded machine, and of the clients before us."""
_SILENCE: Final = 1.0
"""Seconds after which a command that answers only where it fails has not failed."""
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.5
"""Seconds between two looks at a command that runs: half as long again each time. The agent does not tell of an end."""
_RETURNS: Final = 3.0
"""Seconds for a guest that has gone while a command runs in it to be at the same path again, in another QEMU."""
_LETS_GO: Final = 0.15
"""Pauses of this many seconds are left to other clients. The agent notices a new one only after 0.1 s."""
_DELIMITER: Final = b"\xff"
_LINE_MAX: Final = 64 << 20
"""Bytes; the agent gives at most 16 MiB of what a command says, in base64."""

Mode = Literal["powerdown", "halt", "reboot"]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a command. `code` is 128 more than the signal that ended it, as shells have it; `truncated` where
    it said more than the agent keeps (16 MiB)."""

    code: int
    out: bytes
    err: bytes
    truncated: bool = False


class Interface(NamedTuple):
    """As the guest sees it."""

    name: str
    mac: Mac | None
    addresses: tuple[IPInterface, ...]


class Agent:
    """The agent of one guest. Raises TransientError where nobody answers, RefusedError where the agent will not."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ping(self) -> None:
        await self._ask("guest-ping")

    async def interfaces(self) -> tuple[Interface, ...]:
        return tuple(map(_interface, await self._ask("guest-network-get-interfaces")))

    async def shutdown(self, mode: Mode = "powerdown") -> None:
        """Returns when the agent has begun. It answers only where it cannot."""
        async with _line(self._path) as line:
            line.write("guest-shutdown", {"mode": mode})
            with suppress(TransientError):
                await line.read(_SILENCE)

    async def run(
        self,
        argv: Sequence[str],
        stdin: bytes = b"",
        timeout: float | None = None,
        on_begin: Callable[[int], None] = lambda _: None,
    ) -> Done:
        """Run a program of the guest and wait for its end; `on_begin` is told its PID. After `timeout` seconds:
        TransientError, and it runs on. A guest that moves meanwhile is followed: its agent is the same process."""
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        pause = _FIRST_PAUSE
        async with _line(self._path) as line:
            pid = (await line.ask("guest-exec", _wish(argv, stdin)))["pid"]
            on_begin(pid)
            while pause < _LETS_GO:
                try:
                    status = await line.ask("guest-exec-status", {"pid": pid})
                except (TransientError, RefusedError):
                    break
                if status["exited"]:
                    return _done(status)
                pause = await _sleep(pause, until, argv[0])
        while not (status := await self._status(pid, argv[0], until))["exited"]:
            pause = await _sleep(pause, until, argv[0])
        return _done(status)

    async def _status(self, pid: int, program: str, until: float) -> dict[str, Any]:
        """Of a command that has begun. A guest that is silent, paused or being copied, has it all the same."""
        gone = float("inf")
        while True:
            try:
                status: dict[str, Any] = await self._ask("guest-exec-status", {"pid": pid})
                return status
            except _SilentError:
                gone = float("inf")
            except (TransientError, RefusedError) as error:  # it refuses where it is another process
                gone = min(gone, time.monotonic() + _RETURNS)
                if time.monotonic() >= gone or isinstance(error, RefusedError):
                    guest = self._path.parent.name
                    why = f"guest {guest} went away while {program} ran in it: what that has printed is lost"
                    raise TransientError(why) from error
            await _sleep(_LETS_GO, until, program)

    async def _ask(self, verb: str, arguments: dict[str, Any] | None = None) -> Any:
        async with _line(self._path) as line:
            return await line.ask(verb, arguments)


class _SilentError(TransientError):
    """The guest is there and says nothing."""


async def _sleep(pause: float, until: float, program: str) -> float:
    """The next pause."""
    if time.monotonic() + pause > until:
        raise TransientError(f"{program} has not ended in the guest within the time; it runs on there")
    await asyncio.sleep(pause)
    return min(pause * 1.5, _LONGEST_PAUSE)


def _wish(argv: Sequence[str], stdin: bytes) -> dict[str, Any]:
    given = {"input-data": base64.b64encode(stdin).decode()} if stdin else {}
    return {"path": argv[0], "arg": list(argv[1:]), "capture-output": True, **given}


def _done(status: dict[str, Any]) -> Done:
    code = 128 + status["signal"] if "signal" in status else status.get("exitcode", 0)
    out, err = (base64.b64decode(status.get(key, "")) for key in ("out-data", "err-data"))
    return Done(code, out, err, bool(status.get("out-truncated") or status.get("err-truncated")))


def _interface(each: dict[str, Any]) -> Interface:
    mac = each.get("hardware-address", "")
    addresses = (ip_interface(f"{a['ip-address']}/{a['prefix']}") for a in each.get("ip-addresses", ()))
    return Interface(each["name"], Mac.parse(mac) if mac else None, tuple(addresses))


async def ping(path: Path) -> None:
    """Agent.ping"""
    await Agent(path).ping()


# ── a connection ─────────────────────────────────────────────────────────────────────────────────────────────────────


class _Line:
    """A connection whose other end has greeted."""

    def __init__(self, guest: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._guest = guest
        self._reader = reader
        self._writer = writer

    async def greet(self) -> None:
        """What the agent has half read ends with the delimiter; what it still says to others is read over."""
        number = int.from_bytes(os.urandom(4))
        self._writer.write(_DELIMITER)
        self.write("guest-sync-delimited", {"id": number})
        while not _greets(await self._text(ANSWER), number):
            pass

    async def ask(self, verb: str, arguments: dict[str, Any] | None = None) -> Any:
        self.write(verb, arguments)
        return await self.read(ANSWER)

    def write(self, verb: str, arguments: dict[str, Any] | None = None) -> None:
        message = {"execute": verb, **({"arguments": arguments} if arguments else {})}
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def read(self, seconds: float) -> Any:
        answer = json.loads(await self._text(seconds))
        if "error" in answer:
            raise RefusedError(f"the agent in guest {self._guest} refuses: {answer['error'].get('desc', answer)}")
        return answer["return"]

    async def _text(self, seconds: float) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                text = await self._reader.readline()
        except TimeoutError:
            why = f"no agent answers in guest {self._guest} within {seconds:g} s"
            raise _SilentError(why, remedy="a qemu-guest-agent must run in it; the built-in guest has one") from None
        except ConnectionError:
            text = b""
        if not text.endswith(b"\n"):
            raise TransientError(f"guest {self._guest} has gone while it was asked")
        return text


@asynccontextmanager
async def _line(path: Path) -> AsyncIterator[_Line]:
    guest = path.parent.name
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_MAX)
    except OSError as error:
        raise TransientError(f"guest {guest} does not run: {path}: {error.strerror}") from error
    try:
        line = _Line(guest, reader, writer)
        await line.greet()
        yield line
    finally:
        writer.close()


def _greets(text: bytes, number: int) -> bool:
    _, delimiter, message = text.rpartition(_DELIMITER)
    with suppress(json.JSONDecodeError):
        return bool(delimiter) and json.loads(message).get("return") == number
    return False


# ── without an event loop ────────────────────────────────────────────────────────────────────────────────────────────


def execute(path: Path, argv: Sequence[str], stdin: bytes = b"", timeout: float | None = None) -> Done:
    """Agent.run"""
    return asyncio.run(Agent(path).run(argv, stdin, timeout))


def interfaces(path: Path) -> tuple[Interface, ...]:
    """Agent.interfaces"""
    return asyncio.run(Agent(path).interfaces())


def shutdown(path: Path, mode: Mode = "powerdown") -> None:
    """Agent.shutdown"""
    asyncio.run(Agent(path).shutdown(mode))
