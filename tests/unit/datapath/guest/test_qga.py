"""The client of the guest agent against an agent in memory, which like QEMU serves one client at a time."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from datapath.errors import RefusedError, TransientError
from datapath.guest import qga
from datapath.guest.qga import Agent

Answers = Callable[[str, dict[str, Any]], dict[str, Any] | None]


class Fake:
    """`left` is what an earlier client has not read. A command ends at the `polls`th look."""

    def __init__(self, left: bytes = b"", polls: int = 1, **status: Any) -> None:
        self.left, self.polls, self.status = left, polls, status
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.clients = 0
        self.was_let_go = asyncio.Event()
        self._turn = asyncio.Lock()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._turn:
            self.clients += 1
            writer.write(self.left)
            while text := (await reader.readline()).rpartition(b"\xff")[2]:
                request = json.loads(text)
                answer = self.answer(request["execute"], request.get("arguments", {}))
                if answer is not None:
                    delimiter = b"\xff" if "sync" in request["execute"] else b""
                    writer.write(delimiter + json.dumps(answer).encode() + b"\n")
            writer.close()
        self.was_let_go.set()

    def answer(self, verb: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        if verb == "guest-sync-delimited":
            return {"return": arguments["id"]}
        self.asked.append((verb, arguments))
        if verb == "guest-exec":
            return {"return": {"pid": 42}}
        if verb == "guest-exec-status":
            self.polls -= 1
            return {"return": {"exited": self.polls <= 0, **(self.status if self.polls <= 0 else {})}}
        if verb == "guest-ping":
            return {"return": {}}
        if verb == "guest-shutdown":
            return None
        return {"error": {"class": "GenericError", "desc": f"no {verb} here"}}


@asynccontextmanager
async def running(fake: Fake, tmp_path: Path) -> AsyncIterator[Agent]:
    path = tmp_path / "web1" / "agent.sock"
    path.parent.mkdir()
    server = await asyncio.start_unix_server(fake.serve, path)
    async with server:
        yield Agent(path)


async def test_a_command_has_input_output_and_a_code(tmp_path: Path) -> None:
    out = base64.b64encode(b"hello\n").decode()
    fake = Fake(polls=3, exitcode=2, **{"out-data": out})
    async with running(fake, tmp_path) as agent:
        begun: list[int] = []
        done = await agent.run(["cat", "-n"], b"in", on_begin=begun.append)
    assert done == qga.Done(2, b"hello\n", b"")
    assert begun == [42]
    verb, wish = fake.asked[0]
    assert (verb, wish["path"], wish["arg"], wish["capture-output"]) == ("guest-exec", "cat", ["-n"], True)
    assert base64.b64decode(wish["input-data"]) == b"in"
    assert fake.clients == 1, "a short command needs one connection"


async def test_a_long_command_lets_others_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qga, "_LETS_GO", 0.02)
    fake = Fake(polls=12, exitcode=0)
    async with running(fake, tmp_path) as agent:
        command = asyncio.create_task(agent.run(["sleep", "9"]))
        await asyncio.wait_for(fake.was_let_go.wait(), 5)
        await agent.ping()
        assert not command.done()
        assert (await command).code == 0


async def test_a_signal_counts_from_128(tmp_path: Path) -> None:
    async with running(Fake(signal=9), tmp_path) as agent:
        assert (await agent.run(["true"])).code == 137


@pytest.mark.parametrize("left", [b'{"return": {}}\n', b'half an ans{"error": 1}\n', b'\xff{"return": 77}\n', b"wer"])
async def test_what_others_left_unread_is_passed_over(tmp_path: Path, left: bytes) -> None:
    async with running(Fake(left), tmp_path) as agent:
        await agent.ping()


async def test_a_refusal_has_the_agents_reason(tmp_path: Path) -> None:
    async with running(Fake(), tmp_path) as agent:
        with pytest.raises(RefusedError, match="guest web1 refuses: no guest-network-get-interfaces here"):
            await agent.interfaces()


async def test_silence_is_success_of_a_shutdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qga, "_SILENCE", 0.05)
    fake = Fake()
    async with running(fake, tmp_path) as agent:
        await agent.shutdown("reboot")
    assert fake.asked == [("guest-shutdown", {"mode": "reboot"})]


async def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qga, "ANSWER", 0.05)
    with pytest.raises(TransientError, match="does not run"):
        await Agent(tmp_path / "web1" / "agent.sock").ping()

    class Mute(Fake):
        def answer(self, verb: str, arguments: dict[str, Any]) -> None:
            return None

    async with running(Mute(), tmp_path) as agent:
        with pytest.raises(TransientError, match="no agent answers in guest web1"):
            await agent.ping()


async def test_a_command_that_lasts_too_long_is_left(tmp_path: Path) -> None:
    async with running(Fake(polls=1000), tmp_path) as agent:
        with pytest.raises(TransientError, match="not ended"):
            await agent.run(["sleep", "9"], timeout=0.05)


async def test_a_guest_that_moves_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another QEMU is at the same path; the agent in the guest is the same process, and knows the command."""
    monkeypatch.setattr(qga, "_LETS_GO", 0.02)
    source, target = Fake(polls=1000), Fake(polls=2, exitcode=0, **{"out-data": base64.b64encode(b"here").decode()})
    path = tmp_path / "web1" / "agent.sock"
    path.parent.mkdir()
    old = await asyncio.start_unix_server(source.serve, path)
    begun = asyncio.Event()
    command = asyncio.create_task(Agent(path).run(["sleep", "9"], on_begin=lambda _: begun.set()))
    await begun.wait()
    old.close()
    path.unlink()
    await asyncio.sleep(0.1)  # for so long it is nowhere
    async with await asyncio.start_unix_server(target.serve, path):
        async with asyncio.timeout(5):
            assert (await command).out == b"here"
    assert {verb for verb, _ in target.asked} == {"guest-exec-status"}


@pytest.mark.parametrize("is_another", [True, False])
async def test_a_command_whose_guest_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_another: bool) -> None:
    """For good, or there is another agent, which has never heard of the command."""
    monkeypatch.setattr(qga, "_LETS_GO", 0.02)
    monkeypatch.setattr(qga, "_RETURNS", 0.1)
    fake = Fake(polls=1000)
    begun = asyncio.Event()
    async with running(fake, tmp_path) as agent:
        command = asyncio.create_task(agent.run(["sleep", "9"], on_begin=lambda _: begun.set()))
        await begun.wait()
        if is_another:
            monkeypatch.setattr(fake, "answer", forgetful)
            with pytest.raises(TransientError, match="went away while sleep ran in it"):
                await command
    if not is_another:
        (tmp_path / "web1" / "agent.sock").unlink(missing_ok=True)
        with pytest.raises(TransientError, match="went away while sleep ran in it"):
            await command


def muted(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """From now on it says nothing; set once it has been asked five times."""
    for patience in ("_LETS_GO", "_RETURNS", "ANSWER"):
        monkeypatch.setattr(qga, patience, 0.02)
    asked: list[str] = []
    often = asyncio.Event()

    def silent(verb: str, _: dict[str, Any]) -> None:
        asked.append(verb)
        if len(asked) == 5:
            often.set()

    monkeypatch.setattr(fake, "answer", silent)
    return often


async def test_a_command_outlasts_the_silence_of_its_guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is paused for longer than anybody waits for an answer, or for one that is gone."""
    fake = Fake(polls=1000, exitcode=0)
    spoken, begun = fake.answer, asyncio.get_running_loop().create_future()
    async with running(fake, tmp_path) as agent:
        command = asyncio.create_task(
            agent.run(["sleep", "9"], on_begin=lambda _: begun.set_result(muted(fake, monkeypatch)))
        )
        await (await begun).wait()
        assert not command.done()
        monkeypatch.setattr(qga, "ANSWER", 5.0)
        monkeypatch.setattr(fake, "answer", spoken)
        fake.polls = 0
        async with asyncio.timeout(5):
            assert (await command).code == 0


async def test_silence_ends_with_the_time_that_the_command_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(polls=1000)
    async with running(fake, tmp_path) as agent:
        with pytest.raises(TransientError, match="it runs on there"):
            await agent.run(["sleep", "9"], timeout=1.0, on_begin=lambda _: muted(fake, monkeypatch))


def forgetful(verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if verb == "guest-sync-delimited":
        return {"return": arguments["id"]}
    return {"error": {"class": "GenericError", "desc": "Invalid parameter 'pid'"}}
