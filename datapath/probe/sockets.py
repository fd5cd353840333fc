"""Sockets inside other network namespaces, opened by a thread of its own: the caller's namespace never changes.

A socket belongs to the namespace it was opened in, whoever uses it afterwards: only opening needs setns(2).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from datapath.addr import IPAddress
from datapath.errors import MachineError
from datapath.linux.namespaces import DIRECTORY, setns
from datapath.probe import packets

T = TypeVar("T")

_SOL_RAW: Final = 255  # linux/socket.h
_ICMP_FILTER: Final = 1  # linux/icmp.h
_ICMP6_FILTER: Final = 1  # linux/icmpv6.h
_IP_BIND_ADDRESS_NO_PORT: Final = 24  # linux/in.h
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h
_RECEIVE_BUFFER: Final = 1 << 20
"""Bytes; room for some 1,300 answers where the usual 208 KiB hold 270."""


class Namespaces:
    """A thread that visits namespaces, to open what must be opened there."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="namespaces")
        self._fds: dict[str, int] = {}
        self._here = ""

    def call(self, wanted: Sequence[tuple[str, Callable[[], T]]]) -> list[T]:
        """Call each function inside its namespace, all in one visit. Raises MachineError where there is no such one."""
        return self._thread.submit(self._visit, wanted).result()

    def close(self) -> None:
        self._thread.shutdown()  # the thread ends, and with it whatever namespace it was left in
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def _visit(self, wanted: Sequence[tuple[str, Callable[[], T]]]) -> list[T]:
        if not self._fds:
            self._fds[""] = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        results = []
        for namespace, function in wanted:
            if namespace != self._here:
                self._enter(namespace)
            results.append(function())
        return results

    def _enter(self, namespace: str) -> None:
        try:
            if namespace not in self._fds:
                self._fds[namespace] = os.open(DIRECTORY / namespace, os.O_RDONLY | os.O_CLOEXEC)
            setns(self._fds[namespace])
        except FileNotFoundError:
            raise MachineError("namespace", f"there is no network namespace {namespace}") from None
        except PermissionError:
            remedy = "run it as root"
            raise MachineError("root", f"may not enter the network namespace {namespace}", remedy=remedy) from None
        self._here = namespace


def family(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def icmp(source: IPAddress) -> socket.socket:
    """A raw socket that gets only echo replies to `source` and errors about what it sent. Raises OSError."""
    if source.version == 4:
        sock = _open(source, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        hidden = 0xFFFFFFFF & ~(1 << packets.ECHO_REPLY | 1 << packets.UNREACHABLE)
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", hidden))
    else:
        sock = _open(source, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        hidden6 = (1 << 256) - 1 & ~(1 << packets.ECHO_REPLY_6 | 1 << packets.UNREACHABLE_6)
        words = struct.pack("=8I", *(hidden6 >> 32 * i & 0xFFFFFFFF for i in range(8)))
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, words)
    return _bound(sock, source, 0)


def udp(source: IPAddress, port: int = 0) -> socket.socket:
    """A datagram socket bound to `source`. Raises OSError."""
    return _bound(_open(source, socket.SOCK_DGRAM, 0), source, port)


def tcp(source: IPAddress) -> socket.socket:
    """A stream socket that will connect from `source` and leaves nothing behind when closed. Raises OSError."""
    sock = _open(source, socket.SOCK_STREAM, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))  # no TIME_WAIT: reset at close
    sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    return _bound(sock, source, 0)


def listener(address: IPAddress, port: int) -> socket.socket | None:
    """A TCP listener on `address`; None where something listens there already. Raises OSError."""
    sock = _open(address, socket.SOCK_STREAM, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound = _unless_taken(sock, address, port)
    if bound:
        bound.listen(1024)
    return bound


def responder(address: IPAddress, port: int) -> socket.socket | None:
    """A UDP socket on `address` for echoing; None where something is bound there already. Raises OSError."""
    return _unless_taken(_open(address, socket.SOCK_DGRAM, 0), address, port)


def _open(address: IPAddress, kind: int, protocol: int) -> socket.socket:
    sock = socket.socket(family(address), kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    if kind != socket.SOCK_STREAM:
        with suppress(PermissionError):  # without root the system's limit has to do
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    return sock


def _bound(sock: socket.socket, address: IPAddress, port: int) -> socket.socket:
    try:
        sock.bind((str(address), port))
    except OSError:
        sock.close()
        raise
    return sock


def _unless_taken(sock: socket.socket, address: IPAddress, port: int) -> socket.socket | None:
    try:
        return _bound(sock, address, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return None
