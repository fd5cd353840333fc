"""apt and dpkg, which download and unpack packages without installing them.

Enters: commands, names of packages. Leaves: what they say, or a MachineError; the files of packages in a directory of a
cache. Never: a package is installed, or anything outside the cache written but apt's own lists.

Two may fill a cache at once (a lock) and either may be killed: what is half done has another name, and goes with the
next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from datapath.errors import MachineError

MIRROR: Final = "a Debian mirror in /etc/apt/sources.list, then apt-get update"
GET: Final = ("apt-get", "-q", "-o", "APT::Sandbox::User=root")
"""As root apt would give the download to the user _apt, who may not write into a cache of ours."""

_PARTIAL: Final = ".partial-"
_SECONDS: Final = 300
"""Longest that one command may take: 27 MB over a slow line."""
_NO_DEBIAN: Final = "guests are made of Debian's packages: install apt, dpkg and kmod, or give them images"


def run(*command: str, cwd: Path | None = None, fails: bool = False) -> str:
    """Standard output; a failure is a MachineError, or nothing where it `fails` as an answer."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    said = " ".join(command)[:200]
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=not fails
        )
    except FileNotFoundError as error:
        raise MachineError(command[0], f"no `{command[0]}` in PATH", remedy=_NO_DEBIAN) from error
    except subprocess.TimeoutExpired as error:
        raise MachineError("Debian packages", f"{said}: not done after {_SECONDS} s", remedy=MIRROR) from error
    except subprocess.CalledProcessError as error:
        why = (error.stderr or error.stdout).strip()
        raise MachineError("Debian packages", f"{said}: {why}", remedy=MIRROR) from error
    return done.stdout


def update() -> None:
    """Reads the lists anew."""
    run("apt-get", "-q", "update")


def download(directory: Path, first: Callable[[], Sequence[str]], then: Callable[[], Sequence[str]]) -> None:
    """A mirror forgets versions that a list of last month still names: then the lists are read anew, once. `first` and
    `then` say what is wanted, by the lists of that moment."""
    try:
        run(*GET, "download", *first(), cwd=directory)
    except MachineError:
        update()
        run(*GET, "download", *then(), cwd=directory)


def unpack(directory: Path) -> None:
    """The packages in it, which go."""
    for package in sorted(directory.glob("*.deb")):
        run("dpkg", "-x", str(package), str(directory))
        package.unlink()


@contextmanager
def appearing(root: Path) -> Iterator[Path]:
    """A directory to be filled: it appears as `root` at once, or not at all."""
    for stale in root.parent.glob(f"{_PARTIAL}*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = root.parent / f"{_PARTIAL}{os.getpid()}"
    partial.mkdir()
    try:
        yield partial
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """One at a time builds in it."""
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
