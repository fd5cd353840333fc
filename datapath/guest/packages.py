"""Debian's packages unpacked into a cache, without installing them: what runs inside the built-in guest.

Enters: names of packages. Leaves: a directory that has their files, and those of the libraries that they need. Never: a
package is installed; qemu-guest-agent on a machine that is itself a guest would open it to its own host.

The libraries come with them instead of from this machine, so that what is built does not depend on what is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from datapath.errors import MachineError

_PARTIAL: Final = ".partial-"
_SECONDS: Final = 300
"""Longest that one apt command may take: 12 MB over a slow line."""
_GET: Final = ("apt-get", "-q", "-o", "APT::Sandbox::User=root")
"""As root apt would give the download to the user _apt, who may not write into a cache of ours."""
_REMEDY: Final = "a Debian mirror in /etc/apt/sources.list, then apt-get update"
_NO_DEBIAN: Final = "the built-in guest is made of Debian's packages: install apt and dpkg, or give the guest an image"
_OTHERS: Final = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")


def fetch(wanted: Sequence[str], cache: Path) -> Path:
    """A directory with the files of these packages and their libraries. Nothing is asked of apt where it is there.

    4 s the first time. Raises MachineError.
    """
    root = cache / f"packages-{hashlib.blake2b(' '.join(wanted).encode(), digest_size=6).hexdigest()}"
    if not root.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache):
            if not root.is_dir():
                _fill(wanted, root)
    return root


def remedy(cache: Path) -> str:
    return f"rm -r {cache}; it is made anew, with Debian's packages of today"


def linked(root: Path, program: str) -> dict[str, Path]:
    """The libraries of a program in `root`, the loader among them: path in a guest, without the first slash → file.

    The loader of `root` finds them, as ldd has the system's own do. Raises MachineError.
    """
    loader = _loader(root)
    places = ":".join(str(path) for path in _library_places(root))
    found = {str(loader.relative_to(root)): loader.resolve()}
    for line in _run(str(loader), "--library-path", places, "--list", str(root / program)).splitlines():
        match line.split():
            case [name, "=>", path, _] if path.startswith(f"{root}/"):
                found |= {path.removeprefix(f"{root}/"): Path(path).resolve()} if "/" not in name else {}
            case [name, "=>", *_]:
                raise MachineError(name, f"{program} needs {name}, which no package of {root} has")
    return found


def _loader(root: Path) -> Path:
    found = sorted(root.glob("lib*/ld-linux*.so.*"))
    if not found:
        raise MachineError("libc6", f"there is no loader of libraries in {root}", remedy=remedy(root))
    return found[0]


def _library_places(root: Path) -> list[Path]:
    return [path for pattern in ("lib/*-linux-gnu", "usr/lib/*-linux-gnu") for path in sorted(root.glob(pattern))]


# ── apt ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _fill(wanted: Sequence[str], root: Path) -> None:
    """All of it appears under its name at once, or not at all."""
    for stale in root.parent.glob(f"{_PARTIAL}*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = root.parent / f"{_PARTIAL}{os.getpid()}"
    partial.mkdir()
    try:
        _download(wanted, partial)
        for package in sorted(partial.glob("*.deb")):
            _run("dpkg", "-x", str(package), str(partial))
            package.unlink()
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download(wanted: Sequence[str], directory: Path) -> None:
    """A mirror forgets versions that a list of last month still names: then the lists are read anew, once."""
    try:
        _run(*_GET, "download", *closure(wanted, _dependencies(wanted)), cwd=directory)
    except MachineError:
        _run("apt-get", "-q", "update")
        _run(*_GET, "download", *closure(wanted, _dependencies(wanted)), cwd=directory)


def _dependencies(wanted: Sequence[str]) -> str:
    return _run("apt-cache", "depends", "--recurse", *(f"--no-{kind}" for kind in _OTHERS), *wanted)


def closure(wanted: Sequence[str], depends: str) -> list[str]:
    """The packages and, through libraries, the libraries that they need. `depends` is what apt-cache says.

    What installs, configures and starts them (debconf, adduser, …) has no place in a guest that nobody administers.
    """
    needs: dict[str, list[str]] = {}
    package = ""
    for line in depends.splitlines():
        if needed := re.match(r"[ |]+(?:Pre)?Depends: ([a-z0-9][^\s:]*)", line):
            needs[package].append(needed[1])
        elif line[:1].isalnum():
            package = line.strip().partition(":")[0]
            needs.setdefault(package, [])
    found = list(wanted)
    for each in found:  # which grows
        found += [other for other in needs.get(each, ()) if other.startswith("lib") and other not in found]
    return found


def _run(*command: str, cwd: Path | None = None) -> str:
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    said = " ".join(command)[:200]
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except FileNotFoundError as error:
        raise MachineError(command[0], f"no `{command[0]}` in PATH", remedy=_NO_DEBIAN) from error
    except subprocess.TimeoutExpired as error:
        raise MachineError("guest packages", f"{said}: not done after {_SECONDS} s", remedy=_REMEDY) from error
    except subprocess.CalledProcessError as error:
        why = (error.stderr or error.stdout).strip()
        raise MachineError("guest packages", f"{said}: {why}", remedy=_REMEDY) from error
    return done.stdout


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """One at a time builds in it."""
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
