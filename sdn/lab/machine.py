"""What this machine must have for a lab; asked only when a lab is about to start, to word the error well."""

from __future__ import annotations

import os
import shutil

from datapath.errors import MachineError

PROGRAMS = {
    "ovsdb-server": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
    "ovsdb-tool": "openvswitch-switch",
}
"""Programs that a lab starts, with the Debian package that brings each."""


def check() -> None:
    """Raises MachineError that names everything missing and what to install."""
    if os.geteuid() != 0:
        raise MachineError("root", "network namespaces need root", remedy="run it as root, for example with sudo")
    where = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [program for program in PROGRAMS if shutil.which(program, path=where) is None]
    if missing:
        packages = " ".join(sorted({PROGRAMS[program] for program in missing}))
        raise MachineError(
            "Open vSwitch",
            f"not installed: {', '.join(missing)}",
            remedy=f"apt-get install {packages} (Fedora: dnf install openvswitch; Arch: pacman -S openvswitch)",
        )
