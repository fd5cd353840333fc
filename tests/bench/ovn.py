"""The peer OVN: northd, a southbound database and ovn-controller on one chassis, over an Open vSwitch in userspace.

    python -m tests.bench.ovn 1000     within a world of its own: see `private`

Enters: how many ports one logical switch has. Leaves: milliseconds that one more takes, added, bound to an interface
and confirmed by the chassis (`ovn-nbctl --wait=hv`).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from tests.bench import private

RUN = "/run/ovn"
SCHEMAS = Path("/usr/share/ovn")
ADDITIONS = 20


def port_more(ports: int) -> float | None:
    """The median; None where OVN is not installed."""
    if shutil.which("ovn-northd", path=private.PATH) is None:
        return None
    return float(private.measure("tests.bench.ovn", str(ports), timeout=200))


def main() -> None:
    private.furnish("/run/openvswitch", RUN)
    private.start_open_vswitch()
    _start_ovn()
    _fill(int(sys.argv[1]))
    print(json.dumps(median(_add(number) for number in range(ADDITIONS))))


def _start_ovn() -> None:
    for name in ("nb", "sb"):
        database = f"{RUN}/ovn{name}_db.db"
        private.run("ovsdb-tool", "create", database, str(SCHEMAS / f"ovn-{name}.ovsschema"))
        private.run(
            "ovsdb-server", database, f"--remote=punix:{RUN}/ovn{name}_db.sock", f"--unixctl={RUN}/ovn{name}_db.ctl",
            f"--pidfile={RUN}/ovn{name}_db.pid", "--detach", "--no-chdir", "-vconsole:off", "-vsyslog:off",
        )  # fmt: skip
    private.run("ovn-nbctl", "init")
    private.run("ovn-sbctl", "init")
    private.run(
        "ovs-vsctl", "set", "open_vswitch", ".", "external_ids:system-id=hv1",
        f"external_ids:ovn-remote=unix:{RUN}/ovnsb_db.sock", "external_ids:ovn-encap-type=geneve",
        "external_ids:ovn-encap-ip=127.0.0.1", "external_ids:ovn-bridge-datapath-type=netdev",
    )  # fmt: skip
    private.run("ovn-northd", *private.QUIET)
    private.run("ovn-controller", *private.QUIET)


def _fill(ports: int) -> None:
    private.run("ovn-nbctl", "ls-add", "lan")
    private.run("ovn-nbctl", "--wait=hv", *_joined(_logical(f"p{number}", number) for number in range(ports)))
    private.run("ovs-vsctl", *_joined(_interface(f"p{number}") for number in range(ports // 10)))
    private.run("ovn-nbctl", "--wait=hv", "sync")


def _joined(commands: Iterable[list[str]]) -> list[str]:
    return [word for command in commands for word in ("--", *command)]


def _logical(name: str, number: int) -> list[str]:
    address = f"0a:00:00:00:{number >> 8:02x}:{number & 255:02x} 10.3.{number // 250}.{number % 250 + 2}"
    return [
        "lsp-add",
        "lan",
        name,
        "--",
        "lsp-set-addresses",
        name,
        address,
        "--",
        "lsp-set-port-security",
        name,
        address,
    ]


def _interface(name: str) -> list[str]:
    return [
        "add-port", "br-int", name, "--", "set", "interface", name, "type=internal", f"external_ids:iface-id={name}"
    ]  # fmt: skip


def _add(number: int) -> float:
    name = f"new{number}"
    started = time.perf_counter()
    private.run("ovs-vsctl", *_interface(name))
    private.run("ovn-nbctl", "--wait=hv", *_joined([_logical(name, 2000 + number)]))
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    os.environ["OVN_RUNDIR"] = RUN
    main()
