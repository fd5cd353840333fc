"""What commands do to guests and inside them, and what they say: no guest is here."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from typer import Context

from datapath.errors import RefusedError, TransientError
from datapath.guest import means, qga
from datapath.guest.pool import volumes
from datapath.guest.pool.snapshots import Snapshot as Kept
from datapath.guest.qemu import monitor
from datapath.guest.qga import Done
from datapath.spec import Power
from sdn.cli import complete, stats, target, within
from sdn.cli.main import main
from sdn.lab import guests as lab_guests
from sdn.lab.snapshots import States
from sdn.model.facts import Facts, GuestFacts
from tests.unit.cli.sample import guest_facts, machines

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """vm1 runs, vm2 is off."""
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    model = machines()
    found = guest_facts(model, vm2=GuestFacts("off"))
    monkeypatch.setattr(target, "running", lambda _: (model, found))
    return found


class TestPower:
    @pytest.fixture
    def wishes(self, monkeypatch: pytest.MonkeyPatch, seen: Facts) -> list[tuple[Power, list[str]]]:
        made: list[tuple[Power, list[str]]] = []

        @contextmanager
        def working(_: str, names: Sequence[str], *__: object) -> Iterator[Sequence[str]]:
            yield names

        def switch(work: Sequence[str], power: Power, _: object = None, tell: Callable[[str], object] = str) -> Facts:
            made.append((power, list(work)))
            for name in work:
                tell(name)
            return seen

        monkeypatch.setattr(lab_guests, "working", working)
        monkeypatch.setattr(lab_guests, "switch", switch)
        monkeypatch.setattr(lab_guests, "await_return", lambda _: None)
        return made

    def test_start(self, wishes: list[tuple[Power, list[str]]], capsys: Capture) -> None:
        assert main(["guest", "start", "vm1"]) == 0
        assert wishes == [("on", ["vm1"])]
        assert capsys.readouterr().out == "vm1 runs already on hv1 (tcg, pid 100)\n"

    def test_stop(self, wishes: list[tuple[Power, list[str]]], capsys: Capture) -> None:
        assert main(["guest", "stop", "vm1", "vm2"]) == 0
        assert wishes == [("off", ["vm1", "vm2"])]
        assert capsys.readouterr().out == "vm1 is off\nvm2 is off\n"

    @pytest.mark.usefixtures("wishes")
    def test_stop_by_force_is_told(self, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        """vm2 was off before."""
        monkeypatch.setattr(means, "BUTTON", 0.0)
        assert main(["guest", "stop", "vm1", "vm2"]) == 0
        by_force = "its power button was not heard for 0 s, and it was ended by force"
        assert capsys.readouterr().out == f"vm1 is off: {by_force}\nvm2 is off\n"
        assert main(["guest", "stop", "--force", "vm1"]) == 0
        assert capsys.readouterr().out == "vm1 is off\n"

    @pytest.mark.parametrize("command", ["pause", "resume", "reboot"])
    def test_of_a_guest_that_is_off(self, command: str, wishes: list[object], capsys: Capture) -> None:
        assert main(["guest", command, "vm1", "vm2"]) == 2
        assert wishes == []
        err = capsys.readouterr().err
        assert "vm2 is off" in err
        assert "sdn guest start vm2" in err

    @pytest.mark.usefixtures("wishes")
    def test_reboot_is_asked_for_where_somebody_answers(
        self, seen: Facts, monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        did: list[str] = []
        monkeypatch.setattr(qga, "shutdown", lambda _, mode: did.append(f"asked for {mode}"))
        monkeypatch.setattr(monitor, "press", lambda _, *keys: did.append("-".join(keys)))
        monkeypatch.setattr(monitor, "reset", lambda _: did.append("reset"))
        main(["guest", "reboot", "vm1"])
        main(["guest", "reboot", "--hard", "vm1"])
        seen.guests["vm1"] = GuestFacts("running", "hv1", answers=False)
        main(["guest", "reboot", "vm1"])
        assert did == ["asked for reboot", "reset", "ctrl-alt-delete"]
        out = capsys.readouterr().out
        assert "vm1 is back after" in out
        assert "vm1 got Ctrl-Alt-Del; no agent in it says when it is back" in out

    def test_delete_says_that_the_file_still_has_it(
        self, wishes: list[object], monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        monkeypatch.setattr(lab_guests, "delete", wishes.append)
        assert main(["guest", "delete", "vm1"]) == 0
        assert wishes == [["vm1"]]
        assert "overlay.yaml:81:3" in capsys.readouterr().out


class TestExec:
    @pytest.fixture
    def agent(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], bytes]]:
        asked: list[tuple[Sequence[str], bytes]] = []

        async def run(_: object, argv: Sequence[str], stdin: bytes = b"", **__: object) -> Done:
            asked.append((argv, stdin))
            if "nonsense" in argv and argv[0] != "/bin/sh":
                raise RefusedError("no such file")
            return Done(3, b"out\n", b"err\n", truncated=True)

        monkeypatch.setattr(qga.Agent, "run", run)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
        return asked

    def test_output_and_exit_code_are_ours(
        self, agent: list[tuple[Sequence[str], bytes]], capfd: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert main(["exec", "vm1", "--", "ping", "-c1", "web1"]) == 3
        ((words, stdin),) = agent
        assert stdin == b"piped"
        assert list(words[-3:]) == ["ping", "-c1", "web1"]
        assert "10.10.0.1 web1\n" in words[4]  # the built-in guest knows the names of the lab
        out, err = capfd.readouterr()
        assert out == "out\n"
        assert err.startswith("err\n")
        assert "16 MiB" in err

    @pytest.mark.usefixtures("agent")
    def test_who_went_away_is_told_in_ones_own_words(self, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        async def run(_: object, argv: Sequence[str], *__: object, on_begin: Callable[[int], None]) -> Done:
            on_begin(7)
            raise TransientError(f"guest vm1 went away while {argv[0]} ran in it: what that has printed is lost")

        monkeypatch.setattr(qga.Agent, "run", run)
        assert main(["exec", "vm1", "--", "poweroff", "-f"]) == 125
        assert "guest vm1 went away while poweroff -f ran in it" in capsys.readouterr().err

    def test_images_of_others_are_left_alone(self, agent: list[tuple[Sequence[str], bytes]], seen: Facts) -> None:
        seen.guests["vm2"] = GuestFacts("running", "hv2", answers=True)
        assert main(["exec", "vm2", "--", "hostname"]) == 3
        assert agent[0][0] == ["hostname"]
        assert main(["exec", "vm2", "--", "nonsense"]) == 127

    @pytest.mark.parametrize(
        ("fact", "says"),
        [
            (GuestFacts("off"), "sdn guest start vm1"),
            (GuestFacts("paused", "hv1"), "sdn guest resume vm1"),
            (GuestFacts("running", "hv1"), "sdn console vm1"),
        ],
    )
    def test_nobody_answers(
        self, fact: GuestFacts, says: str, seen: Facts, monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        @contextmanager
        def working(*_: object) -> Iterator[None]:
            yield

        monkeypatch.setattr(lab_guests, "working", working)
        monkeypatch.setattr(lab_guests, "answer", lambda _: False)
        seen.guests["vm1"] = fact
        assert main(["exec", "vm1", "--", "true"]) == 1
        assert says in capsys.readouterr().err

    def test_too_many_names_for_one_argument_are_left_out(self) -> None:
        assert within._words(["ls"], "x" * 200_000) == ["ls"]


class TestSnapshots:
    def test_of_a_guest_that_runs(self, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        taken = [
            monitor.Snapshot("a", time.time() - 90, 100 << 20, "cpus=1", "a cpus=1"),
            monitor.Snapshot("cold", time.time(), 0, "", "cold"),
        ]
        did: list[str] = []
        monkeypatch.setattr(monitor, "snapshots", lambda _: tuple(taken))
        monkeypatch.setattr(monitor, "snapshot_save", lambda _, name: did.append(f"save {name}"))
        monkeypatch.setattr(monitor, "snapshot_load", lambda _, name: did.append(f"load {name}"))
        monkeypatch.setattr(monitor, "snapshot_delete", lambda _, name: did.append(f"delete {name}"))
        assert main(["guest", "snapshot", "list", "vm1"]) == 0
        assert "1 min 30 s ago  disk, memory (100 MiB)" in capsys.readouterr().out
        assert main(["guest", "snapshot", "create", "vm1", "b"]) == 0
        assert "b: disk and memory of vm1 kept" in capsys.readouterr().out
        assert main(["guest", "revert", "vm1", "a"]) == 0
        assert main(["guest", "snapshot", "delete", "vm1", "a"]) == 0
        assert did == ["save b", "load a", "delete a"]
        assert main(["guest", "revert", "vm1", "cold"]) == 1
        assert "sdn guest stop vm1, and then revert" in capsys.readouterr().err
        assert main(["guest", "revert", "vm1", "z"]) == 2
        assert "there are: a, cold" in capsys.readouterr().err

    def test_of_a_guest_that_is_off(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        assert main(["guest", "snapshot", "create", "vm2", "a"]) == 1
        assert "it has no disk" in capsys.readouterr().err
        own = tmp_path / "pool" / "labs" / "overlay" / "vm2.qcow2"
        own.parent.mkdir(parents=True)
        own.touch()
        kept = {"overlay/vm2": [Kept("warm", 1, 5, "warm cpus=1")], "data": []}
        monkeypatch.setattr(volumes, "snapshots", lambda disk: kept[disk])
        monkeypatch.setattr(volumes, "take_snapshot", lambda disk, name: kept[disk].append(Kept(name, 2, 0, name)))
        did: list[tuple[str, str]] = []
        monkeypatch.setattr(volumes, "revert", lambda disk, tag: did.append((disk, tag)))
        assert main(["guest", "snapshot", "create", "vm2", "a"]) == 0
        assert main(["guest", "snapshot", "create", "vm2", "warm"]) == 1
        assert "already" in capsys.readouterr().err
        assert main(["guest", "revert", "vm2", "warm"]) == 0
        assert "boots from there" in capsys.readouterr().out
        assert did == [("overlay/vm2", "warm cpus=1")]

    def test_of_one_that_is_about_to_run(self) -> None:
        states = States("overlay", "vm1", machines().guests["vm1"].machine, Path("/nowhere"), "starting")
        with pytest.raises(TransientError, match="vm1 is starting"):
            states.listed()


class TestStats:
    def test_threads_that_are_processors(self, tmp_path: Path) -> None:
        tick = os.sysconf("SC_CLK_TCK")
        for number, (name, user, system) in enumerate((("qemu (x)", 100, 0), ("CPU 0/TCG", 200, 50))):
            thread = tmp_path / "task" / str(number)
            thread.mkdir(parents=True)
            numbers = " ".join(["S", *["0"] * 10, str(user), str(system), "0"])
            (thread / "stat").write_text(f"{number} ({name}) {numbers}\n")
        assert stats.processor_time(tmp_path) == (250 / tick, 350 / tick)
        assert stats.processor_time(tmp_path / "gone") == (0, 0)

    def test_counters_are_the_guests(self) -> None:
        numbers = "7 1 0 0 0 0 0 0 9 2 0 0 0 0 0 0"
        text = f"Inter-| Receive\n face |bytes\n    lo: {numbers}\np-x:{numbers}\n"
        assert stats.parse_devices(text)["p-x"] == stats.Counters(9, 2, 7, 1)

    def test_one_that_does_not_answer_is_shown_too(
        self, seen: Facts, monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        seen.guests["vm2"] = GuestFacts("running", "hv2", pid=200)

        def statistics(path: Path) -> dict[str, int]:
            if "vm2" in str(path):
                raise TransientError("the guest's balloon driver does not answer")
            return {"actual": 128 << 20, "total": 100 << 20, "available": 60 << 20, "free": 50 << 20}

        monkeypatch.setattr(monitor, "balloon_statistics", statistics)
        monkeypatch.setattr(stats, "_interfaces", lambda *_: {"eth0": stats.Counters(1000, 10, 2000, 20)})
        assert main(["guest", "stats"]) == 0
        out = capsys.readouterr().out
        assert [line.split()[:5] for line in out.splitlines()][1] == ["vm1", "128", "MiB", "40", "MiB"]
        assert "vm2: its memory is not known: the guest's balloon driver does not answer" in out
        assert main(["guest", "stats", "vm1", "-o", "json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert found["memory"]["free"] == 50 << 20
        assert found["interfaces"]["eth0"]["sent_packets"] == 20

    def test_of_what_is_off(self, capsys: Capture) -> None:
        assert main(["guest", "stats", "vm2"]) == 0
        assert "vm2 is off" in capsys.readouterr().out


def test_completion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = cast(Context, SimpleNamespace(params={"guest": "vm1"}))
    assert complete.guests(context, "vm") == ["vm1", "vm2"]
    own = tmp_path / "pool" / "labs" / "overlay" / "vm1.qcow2"
    own.parent.mkdir(parents=True)
    own.touch()
    monkeypatch.setattr(volumes, "snapshots", lambda _: [Kept("before", 1, 5, "before cpus=1")])
    assert complete.snapshots(context, "be") == ["before"]
