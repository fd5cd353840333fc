"""Guests of whole labs move, on both datapaths: by the file and by `sdn migrate`, under pings from both chassis, while
they write memory and hold a TCP connection; and what is left when something goes wrong.

What becomes of QEMU's memory, disks and devices in every mode is in test_migration.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from datapath.spec import device_name
from sdn.cli.main import main
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.pinger import pinging
from tests.lab.processes import FORKED, eventually, kill, pid_of, whole
from tests.machine.pace import PATIENCE

pytestmark = [pytest.mark.lab("qemu-system-x86_64"), pytest.mark.timeout(300 * PATIENCE)]

DATAPATHS = ("ovs", "linux")
MODES = ("auto", "stop-and-copy", "post-copy")
LONGEST = 5 * PATIENCE
"""Seconds without an answer after which a move has not been one. How short they are, the bench measures."""
SECONDS = 30 * PATIENCE


def topology(datapath: str = "ovs", chassis: str = "hv1", **machine: Any) -> dict[str, Any]:
    """A guest, and a node on each of three chassis."""
    return {
        "chassis": {"hv[1-3]": {"datapath": datapath}},
        "networks": {"web": {"segment": {"vxlan": 100}, "subnet": "10.50.0.0/24"}},
        "nodes": {f"n{number}": {"chassis": f"hv{number}", "network": "web"} for number in (1, 2, 3)},
        "guests": {"g1": {"chassis": chassis, "network": "web", **machine}},
    }


def migrate(lab: Lab, *words: str) -> int:
    return main(["migrate", *words, "--lab", lab.name])


def at(lab: Lab) -> str:
    seen = lab.facts.guests["g1"]
    assert (seen.phase, seen.leaves, seen.error) == ("running", "", "")
    return seen.at


def test_what_runs_in_it_is_followed(lab: Labs) -> None:
    running = lab(topology("linux"))
    running.execute("g1", "mkfifo", "/tmp/turn")
    with ThreadPoolExecutor(1) as others:
        followed = others.submit(running.execute, "g1", "sh", "-c", "echo begun; mkdir /tmp/begun; cat /tmp/turn")
        eventually(lambda: "begun" in running.execute("g1", "ls", "/tmp"), SECONDS)
        moved = migrate(running, "g1", "hv2")
        running.execute("g1", "sh", "-c", "echo done >/tmp/turn")
        said = followed.result()
    assert (moved, at(running), said) == (0, "hv2", "begun\ndone\n")


def expect_reached(lab: Lab) -> None:
    """From every chassis."""
    for number in (1, 2, 3):
        lab.ping(f"n{number}", "g1")


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_it_moves_under_a_ping_and_nothing_gets_lost(
    lab: Labs, datapath: str, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    running = lab(topology(datapath))
    started = running.facts.guests["g1"].pid
    running.execute("g1", "sdn-memory", "start", "50000")
    for mode, chassis in zip(MODES, ("hv2", "hv3", "hv1"), strict=True):
        with pinging(running, ("n1", "g1"), ("n3", "g1")) as pingers:
            assert migrate(running, "g1", chassis, "--mode", mode) == 0
            for pinger in pingers:
                pinger.wait(50, SECONDS)
                pinger.stop()
            gap = max(pinger.silence() for pinger in pingers)
        said = capsys.readouterr().out.splitlines()[0]
        with capsys.disabled():
            print(f"\n{datapath}, {mode}: {gap * 1000:.0f} ms without an answer; {said}")
        record_property(mode, round(gap * 1000))
        assert said.startswith(f"g1 is on {chassis} now")
        assert gap < LONGEST
        assert at(running) == chassis
        assert running.execute("g1", "sdn-memory", "check").startswith("pass")
        expect_reached(running)
    assert running.facts.guests["g1"].pid != started
    assert whole(running)


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_the_file_moves_it_too_and_its_place_is_cleaned(lab: Labs, datapath: str) -> None:
    running = lab(topology(datapath))
    device = device_name("p", "g1", "eth0")
    running.apply(topology(datapath, "hv2"))
    assert at(running) == "hv2"
    assert running.facts.guests["g1"].note.startswith("moved from hv1 to hv2")
    assert device in running.execute("hv2", "ls", "/sys/class/net")
    assert device not in running.execute("hv1", "ip", "-o", "link")
    assert os.listdir(running.run.path / "guests") == ["g1"]
    running.apply(topology(datapath, "hv2"))
    expect_reached(running)


def test_a_connection_lives_on(lab: Labs) -> None:
    running = lab(topology())
    there = ["ip", "netns", "exec", running.namespace("n3"), "iperf3", "--server", "--one-off", "--json"]
    server = subprocess.Popen(there, stdout=subprocess.PIPE)
    try:
        client = f"iperf3 --client {running.port('n3').ips[0]} --time 4 </dev/null >/tmp/iperf 2>&1 &"
        running.execute("g1", "sh", "-c", client)
        assert migrate(running, "g1", "hv2") == 0
        said = json.loads(server.communicate(timeout=SECONDS)[0])
    finally:
        server.kill()
        server.wait()
    assert "error" not in said
    assert all(each["sum"]["bytes"] for each in said["intervals"])
    assert "iperf Done" in running.execute("g1", "cat", "/tmp/iperf")


def test_pre_copy_under_tcg_is_refused_and_nothing_changes(lab: Labs, capsys: pytest.CaptureFixture[str]) -> None:
    running = lab(topology())
    if running.facts.guests["g1"].accelerator == "kvm":
        pytest.skip("KVM has pre-copy")
    before = running.facts.guests["g1"].pid
    assert migrate(running, "g1", "hv2", "--mode", "pre-copy") == 1
    assert "pre-copy needs KVM" in capsys.readouterr().err
    eventually(lambda: whole(running))
    assert at(running) == "hv1"
    assert running.facts.guests["g1"].pid == before
    assert running.model.nodes["g1"].chassis == "hv1"
    expect_reached(running)


def test_an_agent_killed_while_guests_move(lab: Labs) -> None:
    """Each time at another moment: the next agent has the guest where it shall be."""
    running = lab(topology())
    running.execute("g1", "sdn-memory", "start", "20000")
    for number in range(4):
        chassis = f"hv{2 - number % 2}"
        moving = subprocess.Popen(
            [sys.executable, "-m", "sdn.cli.main", "migrate", "g1", chassis, "-l", running.name], stdout=-3, stderr=-3
        )
        eventually(lambda chassis=chassis: running.model.nodes["g1"].chassis == chassis)
        time.sleep(0.1 * number)  # the moment at which it is killed is what is tested
        kill(pid_of(running, "agent"))
        assert moving.wait(SECONDS) == 0
        eventually(lambda chassis=chassis: running.facts.guests["g1"].at == chassis and whole(running), SECONDS)
        assert running.execute("g1", "sdn-memory", "check").startswith("pass")
        assert running.facts.guests["g1"].restarts == 0
        assert os.listdir(running.run.path / "guests") == ["g1"]
    expect_reached(running)


def test_the_destination_is_killed_while_it_moves(lab: Labs) -> None:
    running = lab(topology(migration="stop-and-copy"))
    running.execute("g1", "sdn-memory", "start", "20000")
    before = running.facts.guests["g1"].pid
    stop, arriving = threading.Event(), running.run.path / "guests" / "g1.arriving" / "pid"

    def hunt() -> None:
        """In the first moment at which there is somebody."""
        while not stop.is_set():
            if pid := written_in(arriving):
                os.kill(pid, signal.SIGKILL)
                return

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        assert migrate(running, "g1", "hv2") == 1
    finally:
        stop.set()
        hunter.join()
    eventually(lambda: whole(running))
    assert at(running) == "hv1"
    assert running.facts.guests["g1"].pid == before
    assert running.execute("g1", "sdn-memory", "check").startswith("pass")
    expect_reached(running)
    assert migrate(running, "g1", "hv2") == 0
    assert running.execute("g1", "sdn-memory", "check").startswith("pass")


def written_in(pidfile: Path) -> int:
    """0 while there is none, or an empty one."""
    try:
        return int(pidfile.read_text() or 0)
    except FileNotFoundError:
        return 0


def test_its_processes_are_those_of_the_lab(lab: Labs) -> None:
    """What has moved twice is found and removed by `sdn down` as ever."""
    running = lab(topology())
    for chassis in ("hv2", "hv3"):
        assert migrate(running, "g1", chassis) == 0
    kill(*(pid_of(running, name) for name in FORKED))
    running.down()
    assert running.leftovers() == []


def test_a_trunk_guest_goes_from_any_kind_of_switch_to_any_other(lab: Labs) -> None:
    """Its device is the same wherever it is: a lab with a userspace switch has no offloads anywhere."""
    running = lab(
        {
            "chassis": {"hv[1-2]": {}, "hv3": {"datapath": "linux"}},
            "networks": {
                "web": {"segment": {"vxlan": 100}, "subnet": "10.50.0.0/24"},
                "db": {"segment": {"vxlan": 101}, "subnet": "10.51.0.0/24"},
            },
            "nodes": {"n1": {"chassis": "hv1", "network": "web"}, "d1": {"chassis": "hv2", "network": "db"}},
            "guests": {"g1": {"chassis": "hv3", "trunk": {"native": "web", 20: "db"}}},
        }
    )
    for chassis, mode in (("hv1", "auto"), ("hv3", "post-copy"), ("hv2", "stop-and-copy"), ("hv3", "auto")):
        assert migrate(running, "g1", chassis, "--mode", mode) == 0
        for node in ("n1", "d1"):
            running.ping(node, "g1")
