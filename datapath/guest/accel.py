"""Which accelerator QEMU gets, and why: KVM where it runs an ordinary guest, found by running one; else TCG.

Enters: /dev/kvm, the environment's SDN_ACCEL (`kvm` or `tcg`, the operator's word). Leaves: an `Accelerator`. Never:
a guess from flags or from the presence of a device: it may exist and run nothing.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from datapath.guest import kvm
from datapath.spec import Accelerator

_SECONDS = 3.0
_MILLISECONDS = 250
"""A usable KVM needs 1 ms for the probe's four million instructions; one that interprets them needs seconds."""


@functools.cache
def accelerator() -> Accelerator:
    """0.1 s the first time."""
    wanted = os.environ.get("SDN_ACCEL", "")
    if wanted:
        return Accelerator(wanted, "SDN_ACCEL says so")
    obstacle = kvm_obstacle()
    return Accelerator("tcg", obstacle) if obstacle else Accelerator("kvm", "a guest runs in it")


def kvm_obstacle() -> str:
    """Why KVM does not run guests here; empty if it does."""
    if platform.machine() != "x86_64":
        return f"KVM is not probed on {platform.machine()}"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "no /dev/kvm, or no permission to use it"
    return verdict(_answer())


def _answer() -> dict[str, Any]:
    command = [sys.executable, "-I", str(Path(kvm.__file__))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {_SECONDS:g} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _came_out(exits: list[list[int]]) -> str:
    """What became of the test guest, which has to write to a port how many interrupts it has had, and then to halt."""
    first, (reason, *_) = exits[0], exits[-1]
    if first[0] == kvm.EXIT_IO and first != kvm.EXPECTED[0]:
        return f"a small test guest had {first[-1]} interrupts instead of {kvm.EXPECTED[0][-1]}"
    return f"a small test guest {kvm.EXITS.get(reason, 'came out where it should not')} (exit reason {reason})"


def verdict(answer: dict[str, Any]) -> str:
    """What the probe's answer says against KVM; empty if nothing."""
    if "error" in answer:
        return f"KVM cannot run a guest: {answer['error']}"
    if answer["exits"] != kvm.EXPECTED:
        return f"KVM does not run guests' code: {_came_out(answer['exits'])}"
    if answer["ms"] > _MILLISECONDS:
        return f"KVM interprets guests' code: {answer['ms']:.0f} ms for {2 * kvm.LOOPS} instructions"
    return ""
