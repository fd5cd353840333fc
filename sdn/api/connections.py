"""A connection of the server: whose it is, where that has to be known, and how it is ended.

Enters: the two ends of a TCP connection on this machine. Leaves: the user whose process has the other end, by the
kernel's word. Never: a guess: an end that is closed already is nobody's.

inet_diag (NETLINK_SOCK_DIAG, uapi/linux/inet_diag.h) finds one socket by its addresses and ports, however many there
are. Where the kernel has no tcp_diag, /proc/net/tcp has the same.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from struct import Struct, error
from typing import Final

from starlette.types import Scope

STATE: Final = "sdn.connection"
"""In the scope's state."""
_ROOT: Final = 0
_PROC: Final = Path("/proc/net")


@dataclass(slots=True)
class Connection:
    """`user`: None where nobody has looked, or the other end is gone. `abort` closes it without a word; `unsent` says
    how many bytes wait for the client. `answers` counts those that were given."""

    user: int | None
    abort: Callable[[], None]
    unsent: Callable[[], int] = lambda: 0
    answers: int = 0

    def answered(self, patience: float) -> None:
        """What was written to the last byte may still wait for a client that never reads: it is left when nothing has
        gone for so many seconds."""
        self.answers += 1
        self._look_again(self.answers, self.unsent(), patience)

    def _look_again(self, answer: int, unsent: int, patience: float) -> None:
        if unsent:
            asyncio.get_running_loop().call_later(patience, self._look, answer, unsent, patience)

    def _look(self, answer: int, before: int, patience: float) -> None:
        unsent = self.unsent()
        if answer != self.answers:  # the client has read this one, and asked again
            return
        if unsent >= before:
            self.abort()
        else:
            self._look_again(answer, unsent, patience)


def of(scope: Scope) -> Connection | None:
    found: Connection | None = scope.get("state", {}).get(STATE)
    return found


def trusted() -> frozenset[int]:
    """Root, whoever this process runs as, and behind sudo or pkexec whoever called it."""
    called = (os.environ.get(name, "") for name in ("SUDO_UID", "PKEXEC_UID"))
    return frozenset((_ROOT, os.geteuid(), *(int(uid) for uid in called if uid.isdecimal())))


class End:
    """Of a TCP connection: address and port."""

    def __init__(self, name: tuple[str, int]) -> None:
        self.address: IPv4Address | IPv6Address = ip_address(name[0].partition("%")[0])
        self.port = name[1]

    def in_proc(self) -> str:
        """Words of 32 bits as the machine has them, in hex."""
        packed = self.address.packed
        words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
        return f"{''.join(f'{word:08X}' for word in words)}:{self.port:04X}"


def user_of(theirs: End, ours: End) -> int | None:
    """Who has the socket at the other end. None where there is none any more."""
    try:
        return _by_diag(theirs, ours)
    except (OSError, error):  # no tcp_diag, or no such socket, which the kernel does not tell apart
        return _by_proc(theirs, ours)


_HEADER: Final = Struct("=IHHII")
_REQUEST: Final = Struct("=BBBxI")
_ID: Final = Struct("!HH16s16s")
_INTERFACE_AND_COOKIE: Final = Struct("=III")
_ANSWER: Final = Struct("=48xIIIII")
"""Of inet_diag_msg behind its first four bytes: the socket, then expires, rqueue, wqueue, uid, inode."""
_BY_FAMILY, _REQUESTED, _ALL_STATES, _NO_COOKIE = 20, 1, 0xFFFFFFFF, 0xFFFFFFFF


def _by_diag(theirs: End, ours: End) -> int | None:
    """Raises OSError and struct.error."""
    family = socket.AF_INET if theirs.address.version == 4 else socket.AF_INET6
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES)
    body += _ID.pack(theirs.port, ours.port, theirs.address.packed, ours.address.packed)
    body += _INTERFACE_AND_COOKIE.pack(0, _NO_COOKIE, _NO_COOKIE)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as asked:
        asked.settimeout(1.0)
        asked.send(_HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUESTED, 0, 0) + body)
        answer = asked.recv(4096)
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        raise OSError("no such socket")
    *_, user, inode = _ANSWER.unpack_from(answer, _HEADER.size + 4)
    return user if inode else None  # the kernel calls root the owner of a socket that its process has closed


_NETLINK_SOCK_DIAG: Final = 4
_USER, _INODE = 7, 9


def _by_proc(theirs: End, ours: End) -> int | None:
    """proc(5)."""
    ends = f" {theirs.in_proc()} {ours.in_proc()} "
    try:
        content = (_PROC / ("tcp" if theirs.address.version == 4 else "tcp6")).read_text()
    except OSError:
        return None
    line = next((line for line in content.splitlines() if ends in line), "").split()
    return int(line[_USER]) if line and line[_INODE] != "0" else None
