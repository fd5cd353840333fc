"""Debian's packages unpacked into a cache, without installing them: what runs inside the built-in guest.

Enters: names of packages. Leaves: a directory that has their files, and those of the libraries that they need. Never: a
package is installed; qemu-guest-agent on a machine that is itself a guest would open it to its own host.

The libraries come with them instead of from this machine, so that what is built does not depend on what is installed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from datapath.errors import MachineError
from datapath.guest import apt

_OTHERS: Final = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")


def fetch(wanted: Sequence[str], cache: Path) -> Path:
    """A directory with the files of these packages and their libraries. Nothing is asked of apt where it is there.

    4 s the first time. Raises MachineError.
    """
    root = cache / f"packages-{hashlib.blake2b(' '.join(wanted).encode(), digest_size=6).hexdigest()}"
    if not root.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with apt.locked(cache):
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
    for line in apt.run(str(loader), "--library-path", places, "--list", str(root / program)).splitlines():
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
    def closed() -> Sequence[str]:
        return closure(wanted, _dependencies(wanted))

    with apt.appearing(root) as partial:
        apt.download(partial, closed, closed)
        apt.unpack(partial)


def _dependencies(wanted: Sequence[str]) -> str:
    return apt.run("apt-cache", "depends", "--recurse", *(f"--no-{kind}" for kind in _OTHERS), *wanted)


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
