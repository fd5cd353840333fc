"""Taps: a device of a chassis' switch whose other end is a file that QEMU reads and writes.

Enters: names of devices, a namespace. Leaves: persistent taps, descriptors of their queues. Never: a persistent tap
without a name that was asked for, a descriptor that a child inherits unasked.

A persistent tap outlives QEMU: its carrier goes off when the last queue is closed, and the switch's port stays as it
was. Whether a tap can have several queues is settled when it is made, all else each time a queue is opened
(tun_set_iff() in the kernel's drivers/net/tun.c); so every tap of ours can, which costs 0.2 ms and nothing later.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final, TypeVar

from datapath.errors import MachineError, TransientError
from datapath.linux import namespaces

_DEVICE: Final = "/dev/net/tun"
_TUNSETIFF: Final = 0x400454CA
_TUNSETPERSIST: Final = 0x400454CB
_TUNGETIFF: Final = 0x800454D2
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_MULTI_QUEUE, _IFF_PERSIST = 0x0002, 0x1000, 0x4000, 0x0100, 0x0800
_IFREQ: Final = struct.Struct("16sH22x")
"""struct ifreq with ifr_flags (linux/if.h)."""

T = TypeVar("T")


def make(name: str) -> None:
    """A persistent tap in the namespace of this thread, set down; one that is there stays as it is.

    It takes any number of CPUs. Raises OSError: EINVAL where the name belongs to another kind of device or to a tap of
    one queue, EBUSY where it is a TUN in use.
    """
    opened = _attached(name, 0)
    try:
        fcntl.ioctl(opened, _TUNSETPERSIST, 1)
    finally:
        os.close(opened)


def open_queues(namespace: str, name: str, count: int, vnet_hdr: bool) -> list[int]:
    """Descriptors of `count` queues of a persistent tap in a namespace, close-on-exec; the tap has its carrier then.

    Raises TransientError where there is no such tap, or another QEMU still has it.
    """
    try:
        return _elsewhere(namespace, lambda: _opened(name, count, _IFF_VNET_HDR if vnet_hdr else 0))
    except OSError as error:
        raise TransientError(f"tap {name} in {namespace} cannot be opened: {error.strerror}") from error


def _opened(name: str, count: int, flags: int) -> list[int]:
    found: list[int] = []
    try:
        for _ in range(count):
            found.append(_attached(name, flags))
        if not _is_persistent(found[0]):  # TUNSETIFF makes what is not there; it goes again with its descriptor
            raise OSError(errno.ENODEV, "there is none")
    except BaseException:
        for descriptor in found:
            os.close(descriptor)
        raise
    return found


def _attached(name: str, flags: int) -> int:
    """One queue. QEMU wants it not to block."""
    try:
        descriptor = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise MachineError("tap devices (tun)", f"no {_DEVICE}", remedy="modprobe tun") from error
    try:
        wanted = _IFF_TAP | _IFF_NO_PI | _IFF_MULTI_QUEUE | flags
        fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(name.encode(), wanted))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_persistent(descriptor: int) -> bool:
    _, flags = _IFREQ.unpack(fcntl.ioctl(descriptor, _TUNGETIFF, bytes(_IFREQ.size)))
    return bool(flags & _IFF_PERSIST)


def _elsewhere(namespace: str, errand: Callable[[], T]) -> T:
    """In a thread of its own: the caller's never leaves its namespace. 0.1 ms."""
    answer: Future[T] = Future()
    path = namespaces.DIRECTORY / namespace

    def run() -> None:
        try:
            answer.set_result(_inside(path, errand))
        except BaseException as error:
            answer.set_exception(error)

    thread = threading.Thread(target=run, name="taps")
    thread.start()
    thread.join()
    return answer.result()


def _inside(path: Path, errand: Callable[[], T]) -> T:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with namespaces.inside(descriptor):
            return errand()
    finally:
        os.close(descriptor)
