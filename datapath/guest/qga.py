"""The guest agent's client: QEMU's own qemu-guest-agent, over the unix socket of its virtio-serial port.

Enters: the path of the socket. Leaves: what ran inside, with its output and exit status. Never: a connection kept: QEMU
serves one client of the port at a time, so each request has one of its own and the next in line waits for milliseconds.

Protocol: QEMU's docs/interop/qemu-ga-ref. What an earlier client has left unread is skipped by guest-sync-delimited.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from datapath.errors import RefusedError, TransientError

ANSWERS_WITHIN: Final = 5.0
"""Seconds for one request."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.003, 0.5
"""Seconds between two looks at a command that runs: the protocol has no notification."""
_DELIMITER: Final = b"\xff"
_LONGEST_ANSWER: Final = 48 << 20
"""The agent keeps 16 MiB of each stream (QGA_READ_COUNT_MAX), in base64."""


@dataclass(frozen=True, slots=True)
class Done:
    """`code` is the exit status; where a signal has ended the command, 128 and its number, as in shells."""

    code: int
    out: bytes
    err: bytes
    truncated: bool = False


class Agent:
    """Of one guest. Raises TransientError where it does not answer, RefusedError where it cannot do what is asked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def ping(self) -> None:
        await self.request("guest-ping")

    async def shutdown(self, mode: Literal["powerdown", "reboot", "halt"]) -> None:
        """Returns when the guest has been told."""
        with contextlib.suppress(TransientError):  # it may be gone before it has answered
            await self.request("guest-shutdown", {"mode": mode})

    async def interfaces(self) -> list[dict[str, Any]]:
        """As `guest-network-get-interfaces` has them."""
        found: list[dict[str, Any]] = await self.request("guest-network-get-interfaces")
        return found

    async def run(self, command: Sequence[str], stdin: bytes = b"", environment: Sequence[str] = ()) -> Done:
        """The command with its output; however long it takes."""
        return await self.finish(await self.begin(command, stdin, environment))

    async def finish(self, pid: int) -> Done:
        """Waits for the end of what was begun."""
        pause = _FIRST_PAUSE
        while (done := await self.done(pid)) is None:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        return done

    async def begin(self, command: Sequence[str], stdin: bytes = b"", environment: Sequence[str] = ()) -> int:
        """Starts the command; its number there."""
        arguments: dict[str, Any] = {"path": command[0], "arg": list(command[1:]), "capture-output": True}
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        if environment:
            arguments["env"] = list(environment)
        return int((await self.request("guest-exec", arguments))["pid"])

    async def done(self, pid: int) -> Done | None:
        """None while it runs. What has ended is told once."""
        status = await self.request("guest-exec-status", {"pid": pid})
        if not status["exited"]:
            return None
        code = status["exitcode"] if "exitcode" in status else 128 + status.get("signal", 0)
        out, err = (base64.b64decode(status.get(name, "")) for name in ("out-data", "err-data"))
        cut = bool(status.get("out-truncated") or status.get("err-truncated"))
        return Done(code, out, err, cut)

    async def request(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        """What the agent returns."""
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                answer = await self._asked({"execute": name, "arguments": arguments or {}})
        except TimeoutError:
            raise TransientError(f"the guest agent did not answer {name} within {ANSWERS_WITHIN:g} s") from None
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            raise TransientError(f"the guest agent cannot be reached: {error}") from error
        if "error" in answer:
            raise RefusedError(f"the guest agent refused {name}: {answer['error'].get('desc', 'no reason given')}")
        return answer["return"]

    async def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(self.path, limit=_LONGEST_ANSWER)
        try:
            token = secrets.randbelow(1 << 31)
            sync = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
            # the delimiter first: an agent that was left in the middle of a request begins anew
            writer.write(_DELIMITER + json.dumps(sync).encode() + b"\n")
            await writer.drain()
            while True:
                await reader.readuntil(_DELIMITER)
                if json.loads(await reader.readline()).get("return") == token:
                    break
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            answer: dict[str, Any] = json.loads(await reader.readline())
            return answer
        finally:
            writer.close()
