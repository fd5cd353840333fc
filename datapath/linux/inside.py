"""Become a process of a node: its network, its /sys, its names.

Enters: the node's namespace, a hosts file. Leaves: the calling process, inside. Never: a mount that others see.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from datapath.errors import MachineError
from datapath.linux.namespaces import setns

_CLONE_NEWNS: Final = 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 1 << 19
_MNT_DETACH: Final = 2
_libc = ctypes.CDLL(None, use_errno=True)


def become(namespace: Path, hosts: Path) -> None:
    """Enter for good, as `ip netns exec` does: /sys shows the node's devices, and `hosts` stands for /etc/hosts.

    Raises MachineError without root, FileNotFoundError where there is no such namespace.
    """
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(descriptor)
        _check(_libc.unshare(_CLONE_NEWNS))
        _mount("none", "/", "none", _MS_SLAVE | _MS_REC)
        _check(_libc.umount2(b"/sys", _MNT_DETACH))
        _mount("sysfs", "/sys", "sysfs", 0)
        _mount(str(hosts), "/etc/hosts", "none", _MS_BIND)
    except PermissionError:
        raise MachineError("root", "may not enter the node's network namespace", remedy="run it as root") from None
    finally:
        os.close(descriptor)


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None))


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
