"""A world of its own for a peer that insists on the system's Open vSwitch: mounts, network and processes are private.

Enters: the name of a module and arguments. Leaves: the JSON that its `main` prints as its last line. Never: a process,
a namespace or a file of the peer once it is over, whatever becomes of it: all end with the first process of the world.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

WORLD = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
ROOT = Path(__file__).parent.parent.parent
QUIET = ("--pidfile", "--detach", "--no-chdir", "-vconsole:off", "-vsyslog:off")
PATH = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def measure(module: str, *arguments: str, timeout: float) -> Any:
    """What `python -m module arguments` finds out in a world of its own. Raises CalledProcessError, TimeoutExpired."""
    command = [*WORLD, sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=timeout)
    return json.loads(done.stdout.splitlines()[-1])


def run(*command: str) -> str:
    """Within the world: what a command prints. What it says on standard error goes to ours."""
    environment = {**os.environ, "PATH": PATH}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def furnish(*directories: str) -> None:
    """Within the world: empty directories in place of the system's."""
    run("ip", "link", "set", "lo", "up")
    for directory in directories:
        Path(directory).mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "none", directory)


def start_open_vswitch() -> None:
    """Within the world, after `furnish("/run/openvswitch")`: the daemons at their default sockets."""
    database = "/run/openvswitch/conf.db"
    run("ovsdb-tool", "create", database, "/usr/share/openvswitch/vswitch.ovsschema")
    run("ovsdb-server", database, "--remote=punix:/run/openvswitch/db.sock", *QUIET)
    run("ovs-vswitchd", *QUIET)
    run("ovs-vsctl", "--no-wait", "init")
