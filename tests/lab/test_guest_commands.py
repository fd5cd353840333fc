"""`sdn guest`, `sdn console` and `sdn exec` as somebody types them, in a lab with a guest on each kind of switch."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.conftest import Labs
from tests.lab.labs import ROOT, Lab
from tests.lab.processes import eventually, kill
from tests.machine.pace import PATIENCE

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

TOPOLOGY = {
    "chassis": {"hv1": {}, "hv2": {"datapath": "linux"}, "hv3": {}},
    "networks": {
        "web": {"segment": {"vxlan": 300}, "subnet": "10.60.0.0/24"},
        "db": {"segment": {"vxlan": 301}, "subnet": "10.61.0.0/24"},
    },
    "nodes": {"n1": {"chassis": "hv1", "network": "web"}, "n2": {"chassis": "hv2", "network": "db"}},
    "guests": {
        "g1": {"chassis": "hv1", "trunk": {"native": "web", 20: "db"}, "restart": "never"},
        "g2": {"chassis": "hv2", "network": "web"},
    },
}
SECONDS = 60 * PATIENCE


@pytest.fixture(scope="module")
def running(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGY)


def command(lab: Lab, *words: str) -> list[str]:
    """The options of exec stand before what it executes."""
    place = 1 if words[0] == "exec" else len(words)
    return [sys.executable, "-m", "sdn.cli.main", *words[:place], "--lab", lab.name, *words[place:]]


def sdn(lab: Lab, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(lab, *words), input=stdin, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, check=False
    )


def done(lab: Lab, *words: str, stdin: str = "") -> str:
    """What it says where it must not fail."""
    result = sdn(lab, *words, stdin=stdin)
    assert result.returncode == 0, result.stderr
    return result.stdout


def of(lab: Lab, guest: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done(lab, "guest", "show", guest, "-o", "json"))
    return found


class Terminal:
    """`sdn console` on a terminal."""

    def __init__(self, lab: Lab, guest: str, *options: str) -> None:
        self.screen, end = pty.openpty()
        words = command(lab, "console", guest, *options)
        self.process = subprocess.Popen(words, stdin=end, stdout=end, stderr=end, cwd=ROOT)
        os.close(end)
        self.seen = b""

    def type(self, keys: bytes) -> None:
        os.write(self.screen, keys)

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + SECONDS
        while text not in self.seen:
            ready, _, _ = select.select([self.screen], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{text!r} did not come, but {self.seen!r}"
            self.seen += os.read(self.screen, 4096)


@contextmanager
def console(lab: Lab, guest: str, *options: str) -> Iterator[Terminal]:
    terminal = Terminal(lab, guest, *options)
    try:
        terminal.wait_for(b"console of")
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.screen)


class TestExec:
    @pytest.mark.parametrize("guest", ["g1", "g2"])
    def test_names_of_the_lab_are_known(self, running: Lab, guest: str) -> None:
        other = {"g1": "g2", "g2": "g1"}[guest]
        assert "1 packets received" in done(running, "exec", guest, "--", "ping", "-c1", "-W5", other)
        assert "1 packets received" in done(running, "exec", guest, "--", "ping", "-c1", "-W5", "n1")

    def test_streams_and_exit_code_pass_through(self, running: Lab) -> None:
        result = sdn(running, "exec", "g1", "--", "sh", "-c", "cat; echo wrong >&2; exit 3", stdin="piped\n")
        assert (result.returncode, result.stdout, result.stderr) == (3, "piped\n", "wrong\n")

    def test_a_command_that_is_not_there(self, running: Lab) -> None:
        assert sdn(running, "exec", "g1", "--", "nonsense").returncode == 127


class TestConsole:
    def test_two_readers_see_the_same(self, running: Lab) -> None:
        with console(running, "g1") as first, console(running, "g1") as second:
            first.type(b"\recho $((6 * 7))-here\r")
            first.wait_for(b"42-here")
            second.wait_for(b"42-here")
            first.type(b"\x1d")
            assert first.process.wait(SECONDS) == 0
            second.type(b"\recho $((7 * 7))-there\r")
            second.wait_for(b"49-there")

    def test_reading_only(self, running: Lab) -> None:
        with console(running, "g1", "--read-only") as reader:
            reader.type(b"\recho $((8 * 8))-quiet\r")
            done(running, "exec", "g1", "--", "sh", "-c", "echo a-word > /dev/ttyS0")
            reader.wait_for(b"a-word")
            assert b"64-quiet" not in reader.seen

    def test_a_pipe_is_typed_and_answered(self, running: Lab) -> None:
        assert "81-piped" in done(running, "console", "g2", stdin="echo $((9 * 9))-piped\n")

    def test_the_log_has_it_from_the_start(self, running: Lab) -> None:
        done(running, "exec", "g2", "--", "sh", "-c", "echo kept-word > /dev/ttyS0")
        eventually(lambda: "kept-word" in done(running, "console", "g2", "--log"))


class TestLives:
    def test_pause_and_resume(self, running: Lab) -> None:
        done(running, "guest", "pause", "g2")
        running.ping("n1", "g2", expect="fail")
        done(running, "guest", "resume", "g2")
        running.ping("n1", "g2")

    def test_off_and_on(self, running: Lab) -> None:
        before = of(running, "g2")["pid"]
        done(running, "guest", "stop", "g2")
        assert (of(running, "g2")["phase"], of(running, "g2")["pid"]) == ("off", 0)
        assert sdn(running, "status").returncode == 0, "that it is off is wished"
        done(running, "guest", "start", "g2")
        assert of(running, "g2")["answers"], "the built-in guest is on when one can use it"
        assert sdn(running, "status").returncode == 0
        assert of(running, "g2")["pid"] not in (0, before)
        running.ping("n1", "g2")

    def test_one_that_switches_itself_off_stays_so_until_somebody_says_which_way(self, running: Lab) -> None:
        done(running, "exec", "g2", "--", "sh", "-c", "(sleep 0.5; poweroff) > /dev/null 2>&1 &")
        eventually(lambda: of(running, "g2")["phase"] == "off")
        status = sdn(running, "status")
        assert status.returncode == 1
        assert "guest g2 has switched itself off, and shall be on" in status.stdout
        assert "`sdn guest start g2` starts it" in status.stdout
        done(running, "guest", "stop", "g2")
        assert sdn(running, "status").returncode == 0
        done(running, "guest", "start", "g2")
        assert sdn(running, "status").returncode == 0

    def test_by_force(self, running: Lab) -> None:
        began = time.monotonic()
        done(running, "guest", "stop", "--force", "g2")
        assert time.monotonic() - began < 5 * PATIENCE
        assert of(running, "g2")["restarts"] == 0
        done(running, "guest", "start", "g2")

    @pytest.mark.parametrize("options", [[], ["--hard"]], ids=["asked", "reset"])
    def test_reboot(self, running: Lab, options: list[str]) -> None:
        done(running, "exec", "g2", "--", "touch", "/tmp/before")  # its files are in memory
        before = of(running, "g2")["pid"]
        assert "is back after" in done(running, "guest", "reboot", "g2", *options)
        assert sdn(running, "exec", "g2", "--", "ls", "/tmp/before").returncode == 1
        assert of(running, "g2")["pid"] == before
        running.ping("n1", "g2")

    def test_one_that_has_died_says_why_and_is_started_again_by_hand(self, running: Lab) -> None:
        done(running, "exec", "g1", "--", "sh", "-c", "echo last-word > /dev/ttyS0")
        eventually(lambda: "last-word" in done(running, "console", "g1", "--log"))  # a serial line is slow
        kill(of(running, "g1")["pid"])
        eventually(lambda: of(running, "g1")["phase"] == "failed")
        status = sdn(running, "status")
        assert status.returncode == 1
        assert "last-word" in status.stdout
        done(running, "guest", "start", "g1")
        running.ping("n1", "g1")
        assert sdn(running, "status").returncode == 0

    def test_deleted_and_created_by_the_file(self, running: Lab) -> None:
        done(running, "guest", "delete", "g2")
        assert "g2" not in running.model.nodes
        assert not running.run.guest("g2").exists()
        running.apply(TOPOLOGY)
        running.ping("n1", "g2")


class TestSnapshots:
    def test_memory_and_back(self, running: Lab) -> None:
        done(running, "guest", "snapshot", "create", "g1", "before")
        done(running, "exec", "g1", "--", "touch", "/tmp/after")
        assert "before" in done(running, "guest", "snapshot", "list", "g1")
        done(running, "guest", "revert", "g1", "before")
        assert sdn(running, "exec", "g1", "--", "ls", "/tmp/after").returncode == 1
        running.ping("n1", "g1")
        running.ping("n2", "g1")  # its tags too
        done(running, "guest", "snapshot", "delete", "g1", "before")
        assert json.loads(done(running, "guest", "snapshot", "list", "g1", "-o", "json")) == []


def test_a_trunk_guest_hears_its_tags_after_a_move(running: Lab) -> None:
    for chassis in ("hv3", "hv1"):
        assert f"g1 is on {chassis} now" in done(running, "migrate", "g1", chassis)
        running.ping("n1", "g1")
        running.ping("n2", "g1")


def test_the_addresses_that_a_guest_has_are_asked_of_it(running: Lab) -> None:
    before = of(running, "g2")["addresses_inside"]["eth0"]
    assert before == of(running, "g2")["addresses"]
    done(running, "exec", "g2", "--", "ip", "addr", "add", "192.0.2.9/24", "dev", "eth0")
    assert "192.0.2.9/24 (the guest's own doing)" in done(running, "guest", "show", "g2")
    done(running, "exec", "g2", "--", "ip", "addr", "del", "192.0.2.9/24", "dev", "eth0")


def test_figures(running: Lab) -> None:
    before = _interface(running)
    done(running, "exec", "g1", "--", "ping", "-c3", "n1")
    after = _interface(running)
    assert after["sent_packets"] >= before["sent_packets"] + 3
    assert after["received_packets"] >= before["received_packets"] + 3


def _interface(lab: Lab) -> dict[str, int]:
    (found,) = json.loads(done(lab, "guest", "stats", "g1", "-o", "json"))
    assert 0 < found["memory"]["free"] < found["memory"]["actual"] == 128 << 20
    assert 0 < found["vcpu_seconds"] <= found["seconds"]
    interface: dict[str, int] = found["interfaces"]["eth0"]
    return interface


def test_status_says_why_guests_run_as_they_do(running: Lab) -> None:
    accelerator, reason = (of(running, "g1")[key] for key in ("accelerator", "reason"))
    assert sdn(running, "status").stdout.count(f"{accelerator}: {reason}") == 1
