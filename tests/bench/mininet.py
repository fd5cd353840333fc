"""The peer Mininet, on an Open vSwitch with the userspace datapath.

    python -m tests.bench.mininet linear,100     within a world of its own: see `private`

Enters: a topology in Mininet's words. Leaves: seconds until it is up (no ping has been sent), and until it is gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import NamedTuple

from tests.bench import private

SWITCHES = ("--switch", "ovsk,datapath=user", "--controller", "none")


class Times(NamedTuple):
    """Seconds."""

    up: float
    down: float


def times(topology: str) -> Times:
    return Times(*private.measure("tests.bench.mininet", topology, timeout=280))


def main() -> None:
    private.furnish("/run/openvswitch")
    private.start_open_vswitch()
    print(json.dumps(_watch(sys.argv[1])))


def _watch(topology: str) -> Times:
    """Mininet says on standard error when it begins to stop, which with `--test none` is when all is up."""
    command = ["mn", "--topo", topology, *SWITCHES, "--test", "none"]
    environment = {**os.environ, "PATH": private.PATH}
    started = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        up = next(time.perf_counter() for line in process.stderr if line.startswith("*** Stopping"))
        said = process.stderr.read()
    if process.returncode:
        raise RuntimeError(f"Mininet failed: {said}")
    return Times(up - started, time.perf_counter() - up)


if __name__ == "__main__":
    main()
