"""The processes of a running lab: who runs, and to kill, hang and wait for them.

Enters: a lab, pids that it names. Leaves: dead or stopped processes, by pidfd. Never: a process of somebody else.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import sdn.lab
from datapath.errors import SdnError
from sdn.lab import processes
from tests.lab.labs import Lab

FORKED: Final = ("controller", "agent")
SUPERVISED: Final = ("store", *FORKED)
PAIR: Final = ("ovsdb-server", "ovs-vswitchd")


def whole(lab: Lab) -> bool:
    try:
        return not sdn.lab.status(lab.name).troubles
    except SdnError:  # its store is away
        return False


def eventually(condition: Callable[[], bool], within: float = 10.0) -> None:
    """Asks again and again: what is waited for tells nobody."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.02)


def pid_of(lab: Lab, name: str) -> int:
    """0 while it does not run."""
    if name == "supervisor":
        return lab.run.supervisor or 0
    return next((each.pid for each in processes.read(lab.run.processes) if each.name == name and each.alive), 0)


def daemon(lab: Lab, chassis: str, name: str) -> int:
    """0 while it does not run."""
    try:
        pid = int((lab.chassis_dir(chassis) / f"{name}.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0
    return pid if processes.exists(pid) else 0


def everything(lab: Lab) -> list[int]:
    return [pid_of(lab, name) for name in SUPERVISED] + [
        daemon(lab, chassis, name) for chassis in sdn.lab.managed(lab.model) for name in PAIR
    ]


def kill(*pids: int) -> int:
    """All at once, with SIGKILL; returns the first when all are gone."""
    assert all(pids), pids
    descriptors = [os.pidfd_open(pid) for pid in pids]
    for descriptor in descriptors:
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            assert descriptor is not descriptors[0]  # it went with its parent
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], 5)[0]
        os.close(descriptor)
    return pids[0]


def await_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([descriptor], [], [], 5)[0]
    os.close(descriptor)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """It hangs: its sockets stay open and nothing answers."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def disconnected(lab: Lab, chassis: str) -> bool:
    return "false" in lab.vsctl(chassis, "--bare", "--columns=is_connected", "list", "controller")
