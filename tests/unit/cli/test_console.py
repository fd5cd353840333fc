"""The console: a terminal of its own, and a relay that is a thread."""

from __future__ import annotations

import os
import pty
import socket
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datapath.guest.console import SOCKET
from sdn.cli import console, target
from sdn.cli.main import main
from sdn.lab.rundir import RunDir
from sdn.model.facts import GuestFacts
from tests.unit.cli.sample import guest_facts, machines

Capture = pytest.CaptureFixture[str]
Serve = Callable[[Callable[[socket.socket], None]], threading.Thread]


pytestmark = pytest.mark.timeout(20)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
    model = machines()
    monkeypatch.setattr(target, "running", lambda _: (model, guest_facts(model, vm2=GuestFacts("off"))))
    made = RunDir("overlay").guest("vm1")
    made.mkdir(parents=True)
    return made


@pytest.fixture
def serve(directory: Path) -> Iterator[Serve]:
    """Has a function talk to whoever connects first."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(directory / SOCKET))
    listening.listen()
    threads: list[threading.Thread] = []

    def start(talk: Callable[[socket.socket], None]) -> threading.Thread:
        def run() -> None:
            with listening.accept()[0] as line:
                talk(line)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(5)
    listening.close()


class Terminal:
    """`keys` is where somebody types."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys, end = pty.openpty()
        self.stdin = os.fdopen(end)
        self._made_raw, setraw = threading.Event(), tty.setraw

        def announced(terminal: int, when: int) -> None:
            setraw(terminal, when)
            self._made_raw.set()

        monkeypatch.setattr(tty, "setraw", announced)
        monkeypatch.setattr(sys, "stdin", self.stdin)

    def type(self, keys: bytes) -> None:
        """Once every key is the guest's: before that, Ctrl-C is the terminal's."""
        self._made_raw.wait(5)
        os.write(self.keys, keys)

    @property
    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.stdin.fileno())[3] & termios.ICANON

    def close(self) -> None:
        self.stdin.close()
        os.close(self.keys)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    made = Terminal(monkeypatch)
    yield made
    made.close()


def test_keys_go_to_the_guest_until_it_is_left(terminal: Terminal, serve: Serve, capfd: Capture) -> None:
    heard: list[bytes] = []

    def guest(line: socket.socket) -> None:
        line.sendall(b"login: ")
        terminal.type(b"root\x03")
        while not b"".join(heard).endswith(b"\x03"):
            heard.append(line.recv(100))
        heard.append(b"raw" if terminal.is_raw else b"cooked")
        terminal.type(b"\x1d")
        assert line.recv(100) == b""

    serve(guest)
    assert console.attach(None, "vm1", read_only=False) == 0
    assert b"".join(heard) == b"root\x03raw"
    assert not terminal.is_raw
    out, err = capfd.readouterr()
    assert out == "login: "
    assert "Ctrl-] leaves" in err


def test_the_terminal_is_as_before_though_the_line_is_cut(terminal: Terminal, serve: Serve, capfd: Capture) -> None:
    serve(lambda _: None)
    assert console.attach(None, "vm1", read_only=False) == 1
    assert not terminal.is_raw
    assert "was closed" in capfd.readouterr().err


def test_reading_only_types_nothing(terminal: Terminal, serve: Serve) -> None:
    heard: list[bytes] = []

    def guest(line: socket.socket) -> None:
        terminal.type(b"reboot\r\x03")
        heard.append(line.recv(100))

    thread = serve(guest)
    assert console.attach(None, "vm1", read_only=True) == 0
    thread.join(5)
    assert heard == [b""]


def test_a_pipe_is_typed_and_answered(serve: Serve, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.setattr(console, "_QUIET", 0.2)
    read, write = os.pipe()
    os.write(write, b"uptime\n")
    os.close(write)

    def guest(line: socket.socket) -> None:
        line.sendall(b"you said " + line.recv(100))
        assert line.recv(100) == b""

    serve(guest)
    with os.fdopen(read) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert console.attach(None, "vm1", read_only=False) == 0
    assert capfd.readouterr().out == "you said uptime\n"


def test_nobody_there(capsys: Capture) -> None:
    assert main(["console", "vm1"]) == 1
    assert "nobody relays the console of vm1" in capsys.readouterr().err
    assert main(["console", "--read-only", "vm2"]) == 2
    err = capsys.readouterr().err
    assert "vm2 is off and has no console now" in err
    assert "sdn guest start vm2" in err


def test_nobody_reads_what_is_piped_to_a_guest_that_is_off(capsys: Capture) -> None:
    """Though its console is there, with all that it has printed."""
    assert main(["console", "vm2"]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert "vm2 is off: nobody reads what is typed there" in err
    assert "sdn console vm2 --log" in err


def test_log(directory: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "console.log").write_bytes(b"Linux version 6.1\r\n\xff")
    assert main(["console", "vm1", "--log"]) == 0
    assert capfdbinary.readouterr().out == b"Linux version 6.1\r\n\xff"
    assert main(["console", "vm2", "--log"]) == 2
    assert b"has not printed anything yet" in capfdbinary.readouterr().err
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execvp", lambda _, words: commands.append(words))
    main(["console", "vm1", "-f"])
    assert commands[0][-1] == str(directory / "console.log")
    assert f"--bytes=+{(directory / 'console.log').stat().st_size + 1}" in commands[0]
    main(["console", "vm2", "-f"])
    assert "--bytes=+1" in commands[1]  # it may print something yet


def test_what_was_cut_off_the_log_is_shown_first(directory: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    (directory / "console.log.1").write_bytes(b"earlier\r\n")
    (directory / "console.log").write_bytes(b"later\r\n")
    assert main(["console", "vm1", "--log"]) == 0
    assert capfdbinary.readouterr().out == b"earlier\r\nlater\r\n"


def test_the_log_asks_the_terminal_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (directory / "console.log").write_bytes(b"~ # \x1b[6nls\n")
    main(["console", "vm1", "--log"])
    assert capfdbinary.readouterr().out == b"~ # \x1b[6nls\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main(["console", "vm1", "--log"])
    assert capfdbinary.readouterr().out == b"~ # ls\n"
