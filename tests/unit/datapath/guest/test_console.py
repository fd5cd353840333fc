"""The relay between a guest's one serial line and many readers, over real sockets."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datapath.errors import TransientError
from datapath.guest import past_lines
from datapath.guest.console import BEHIND, LOG, RECENT, SERIAL, SOCKET, TYPED, Relay

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Line:
    """What QEMU has: a socket that takes one client, and a log of all that was printed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clients: asyncio.Queue[Streams] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._made: list[asyncio.StreamWriter] = []

    async def open(self) -> Line:
        self.directory.mkdir(exist_ok=True)
        path = self.directory / SERIAL
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._take, path)
        return self

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._made.append(writer)
        self.clients.put_nowait((reader, writer))

    def close(self) -> None:
        """As when QEMU ends."""
        if self._server is not None:
            self._server.close()
        for writer in self._made:
            writer.close()

    async def read(self) -> Streams:
        """Somebody who comes to read."""
        reader, writer = await asyncio.open_unix_connection(self.directory / SOCKET)
        self._made.append(writer)
        return reader, writer


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    made = await Line(tmp_path / "web").open()
    yield made
    made.close()
    await asyncio.sleep(0)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    made = Relay()
    yield made
    made.close()
    await asyncio.sleep(0)


async def expect(reader: asyncio.StreamReader, data: bytes) -> None:
    async with asyncio.timeout(5):
        assert await reader.readexactly(len(data)) == data


async def test_everybody_reads_and_everybody_writes(line: Line, relay: Relay) -> None:
    await relay.attach(line.directory)
    typed, prints = await line.clients.get()
    (one, one_types), (two, two_types) = await line.read(), await line.read()
    prints.write(b"login: ")
    await expect(one, b"login: ")
    await expect(two, b"login: ")
    one_types.write(b"root\n")
    await expect(typed, b"root\n")
    two_types.write(b"secret\n")
    await expect(typed, b"secret\n")


async def test_who_comes_late_sees_the_end_of_what_was(line: Line, relay: Relay) -> None:
    await relay.attach(line.directory)
    _, prints = await line.clients.get()
    early, _ = await line.read()
    said = bytes(range(32, 256)) * 40
    prints.write(said)
    await expect(early, said)
    late, _ = await line.read()
    prints.write(b"!")
    await expect(late, said[-RECENT:] + b"!")


@pytest.mark.parametrize(
    "query",
    [
        *(b"\x05", b"\x1bZ", b"\x1b[c", b"\x1b[0c", b"\x1b[>c", b"\x1b[=0c", b"\x1b[5n", b"\x1b[6n", b"\x1b[?6n"),
        *(b"\x1b[x", b"\x1b[?u", b"\x1b[>q", b"\x1b[?2026$p", b"\x1b[4$p", b"\x1b[?1;1;0S", b"\x1b[1;1;1;1;9;9*y"),
        *(b"\x1b[14t", b"\x1b[18t", b"\x1b]11;?\x07", b"\x1b]4;1;?\x1b\\", b"\x1b]52;c;?\x07"),
        *(b"\x1bP$qm\x1b\\", b"\x1bP+q544e\x1b\\"),
    ],
)
async def test_what_a_terminal_would_answer_is_not_asked_again(query: bytes, line: Line, relay: Relay) -> None:
    """It would type its answer into the guest."""
    await relay.attach(line.directory)
    _, prints = await line.clients.get()
    early, _ = await line.read()
    shown = b"\x1b[1;32m~ #\x1b[0m \x1b[2J\x1b[3;4H\x1b[8;24;80t\x1b]0;title\x07"
    prints.write(shown + query + b"ls")
    await expect(early, shown + query + b"ls")  # live, it is the guest's business
    late, _ = await line.read()
    prints.write(b"!")
    await expect(late, shown + b"ls!")


async def test_a_new_agent_knows_the_past_by_the_log(line: Line, relay: Relay) -> None:
    (line.directory / LOG).write_bytes(b"x" * 100 + b"y" * RECENT)
    await relay.attach(line.directory)
    reader, _ = await line.read()
    await expect(reader, b"y" * RECENT)


async def test_only_root_may_read(line: Line, relay: Relay) -> None:
    await relay.attach(line.directory)
    assert stat.S_IMODE((line.directory / SOCKET).stat().st_mode) == 0o600


async def test_readers_stay_when_the_guest_starts_again(line: Line, relay: Relay) -> None:
    await relay.attach(line.directory)
    _, prints = await line.clients.get()
    reader, types = await line.read()
    prints.write(b"panic")
    prints.close()
    await expect(reader, b"panic")
    types.write(b"anybody?")
    await line.open()
    await relay.attach(line.directory)
    typed, prints = await line.clients.get()
    prints.write(b" booting")
    await expect(reader, b" booting")
    types.write(b"root\n")
    await expect(typed, b"root\n")


async def test_the_last_words_come_though_the_next_run_has_begun(line: Line, relay: Relay) -> None:
    await relay.attach(line.directory)
    _, prints = await line.clients.get()
    reader, _ = await line.read()
    await relay.attach(line.directory)
    _, next_prints = await line.clients.get()
    prints.write(b"last words")
    await expect(reader, b"last words")
    prints.close()
    next_prints.write(b"hello")
    await expect(reader, b"hello")


async def test_a_launch_that_cleared_the_directory(line: Line, relay: Relay) -> None:
    await relay.attach(line.directory)
    old, _ = await line.read()
    _, prints = await line.clients.get()
    prints.write(b"bye ")
    await expect(old, b"bye ")
    (line.directory / SOCKET).unlink()
    await relay.attach(line.directory)
    new, _ = await line.read()
    _, prints = await line.clients.get()
    prints.write(b"hello")
    await expect(old, b"hello")
    await expect(new, b"bye hello")


async def test_the_socket_of_a_dead_agent_is_replaced(line: Line, relay: Relay) -> None:
    dead = Relay()
    await dead.attach(line.directory)
    dead.close()
    assert (line.directory / SOCKET).exists()
    await relay.attach(line.directory)
    await line.read()


async def test_a_slow_reader_is_dropped_and_delays_nobody(line: Line, relay: Relay) -> None:
    await relay.attach(line.directory)
    _, prints = await line.clients.get()
    slow, fast = await asyncio.open_unix_connection(line.directory / SOCKET, limit=1), await line.read()
    total = 64 * BEHIND
    async with asyncio.timeout(20):
        for _ in range(total // 4096):
            prints.write(b"." * 4096)
            await prints.drain()
            assert await fast[0].readexactly(4096) == b"." * 4096
        taken = len(await slow[0].read(-1))
    assert taken < total, "it was disconnected"
    prints.write(b"on")
    await expect(fast[0], b"on")
    slow[1].close()


async def test_what_a_guest_does_not_take_is_not_kept(line: Line, relay: Relay) -> None:
    """Whoever types faster than the guest reads is slowed down, as by a serial line."""
    await relay.attach(line.directory)
    typed, prints = await line.clients.get()
    _, types = await line.read()
    prints.transport.pause_reading()  # type: ignore[attr-defined]
    sent = 8 << 20
    types.write(b"k" * sent)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await types.drain()
    guest = relay._guest
    assert guest is not None
    assert guest.transport.get_write_buffer_size() <= TYPED + (1 << 18), "one read more than the limit"
    prints.transport.resume_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        await typed.readexactly(sent)


async def test_a_console_that_is_not_there_may_come(tmp_path: Path, relay: Relay) -> None:
    (tmp_path / "web").mkdir()
    with pytest.raises(TransientError, match="cannot be reached"):
        await relay.attach(tmp_path / "web")


async def test_close_disconnects(line: Line, relay: Relay) -> None:
    await relay.attach(line.directory)
    reader, _ = await line.read()
    typed, prints = await line.clients.get()
    prints.write(b"bye")
    await expect(reader, b"bye")
    relay.close()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
        assert await typed.read() == b""


async def test_a_log_that_has_grown_is_cut_while_the_guest_prints_on(
    line: Line, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = line.directory / LOG
    log.write_bytes(bytes(past_lines.MOST + 1))
    await relay.attach(line.directory)
    assert log.stat().st_size == 0
    _, prints = await line.clients.get()
    log.write_bytes(b"x" * (past_lines.MOST + 1))
    bound, looked = past_lines.bound, asyncio.Event()
    monkeypatch.setattr(past_lines, "bound", lambda path: (bound(path), looked.set()))
    prints.write(bytes(past_lines.STEP))
    await asyncio.wait_for(looked.wait(), 5)
    assert log.stat().st_size == 0
    assert past_lines.earlier(log).read_bytes() == b"x" * (past_lines.MOST + 1)
