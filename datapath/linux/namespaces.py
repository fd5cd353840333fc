"""Named network namespaces that carry our mark, as `ip netns` shows them.

Enters: a name and the mark. Leaves: a namespace in which a Channel is open. Never: a namespace without our mark is
touched; the main thread never leaves its own namespace.

The mark is the link alias of `lo`, set before the name exists: whatever has a name can be told apart, even if its
maker was killed half-way. The file that the name is mounted on holds the mark too, in case it was killed just there.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from datapath.errors import ConflictError, MachineError

DIRECTORY: Final = Path("/run/netns")

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SHARED: Final = 1 << 20
_MNT_DETACH: Final = 2
_SO_NETNS_COOKIE: Final = 71

_libc = ctypes.CDLL(None, use_errno=True)
_HOME: Final = "/proc/self/ns/net"
"""The main thread's, whoever asks. It is opened when needed: a fork that closes files must not lose it."""
_NSFS: Final = os.stat(_HOME).st_dev


def _check(result: int, what: str) -> None:
    if result == 0:
        return
    code = ctypes.get_errno()
    if code == 1:  # EPERM
        raise MachineError("CAP_SYS_ADMIN", f"{what}: {os.strerror(code)}", remedy="run it as root")
    raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, flags: int) -> None:
    result = _libc.mount(source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None)
    _check(result, f"mount {target}")


def setns(descriptor: int) -> None:
    """Moves the calling thread, for good, into the network namespace of a descriptor. Raises OSError."""
    if _libc.setns(descriptor, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


def _enter(descriptor: int) -> None:
    try:
        setns(descriptor)
    except PermissionError as error:
        raise MachineError("CAP_SYS_ADMIN", str(error.strerror), remedy="run it as root") from error


@contextmanager
def home_again() -> Iterator[None]:
    """Whatever namespace this worker thread goes to meanwhile, afterwards it is back in the process's own."""
    if threading.current_thread() is threading.main_thread():
        raise RuntimeError("the main thread does not change its network namespace")
    home = os.open(_HOME, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            _enter(home)
        finally:
            os.close(home)


@contextmanager
def inside(descriptor: int) -> Iterator[None]:
    """This worker thread is in the namespace of `descriptor`, and so are the processes and sockets it starts."""
    with home_again():
        _enter(descriptor)
        yield


def new() -> None:
    """This worker thread goes to a namespace just made, which lasts until the thread leaves or it gets a name."""
    _check(_libc.unshare(_CLONE_NEWNET), "unshare")


def prepare() -> None:
    """Makes /run/netns a shared mount, as `ip netns` does, so that other mount namespaces see names come and go."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    try:
        _mount("", str(DIRECTORY), _MS_SHARED | _MS_REC)
    except OSError:  # it is no mount point yet
        _mount(str(DIRECTORY), str(DIRECTORY), _MS_BIND | _MS_REC)
        _mount("", str(DIRECTORY), _MS_SHARED | _MS_REC)


def publish(name: str, mark: str) -> None:
    """Gives the namespace of this thread a name. Raises ConflictError if the name is taken by anything but debris."""
    target = DIRECTORY / name
    if not _place(target, mark):
        raise ConflictError(
            f"{target} exists and is not ours; it was left alone",
            remedy=f"remove it with `ip netns del {name}`, or give the lab another name",
        )
    _mount("/proc/thread-self/ns/net", str(target), _MS_BIND)


def _place(target: Path, mark: str) -> bool:
    """A file to mount on, which appears with its content; False if something else is there."""
    file = os.open(DIRECTORY, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o444)
    try:
        os.write(file, mark.encode())
        # With a directory descriptor Python calls linkat(AT_SYMLINK_FOLLOW), which gives the unnamed file a name.
        os.link(f"/proc/self/fd/{file}", target, src_dir_fd=file, follow_symlinks=True)
    except FileExistsError:
        return is_debris(target, mark)
    finally:
        os.close(file)
    return True


def is_namespace(path: Path) -> bool:
    return path.stat().st_dev == _NSFS


def is_debris(path: Path, mark: str) -> bool:
    """True for the file of an interrupted creation: nothing is mounted there, and it is empty or holds our mark."""
    if is_namespace(path) or not path.is_file():
        return False
    content = path.read_bytes()[:256]
    return content in (b"", mark.encode())


def names(prefix: str) -> list[str]:
    """Names in use that begin with `prefix`; they may be somebody else's."""
    try:
        return sorted(name for name in os.listdir(DIRECTORY) if name.startswith(prefix))
    except FileNotFoundError:
        return []


def cookie() -> int:
    """Of the namespace of this thread, and never of another until the machine starts again (an inode soon is). Before
    Linux 5.14 there is none: 0."""
    with socket.socket(socket.AF_UNIX) as within:
        try:
            return int.from_bytes(within.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError:
            return 0


def inode(name: str) -> int:
    """Identifies the namespace behind a name; 0 if there is none."""
    try:
        status = os.stat(f"{DIRECTORY}/{name}")
    except FileNotFoundError:
        return 0
    return status.st_ino if status.st_dev == _NSFS else 0


def withdraw(name: str) -> None:
    """Takes the name away; the kernel drops the namespace when nobody uses it any more."""
    target = DIRECTORY / name
    _libc.umount2(str(target).encode(), _MNT_DETACH)  # fails where it is no mount, and that is all right
    target.unlink(missing_ok=True)
