"""Debian's cloud kernel without installing it: downloaded by apt, unpacked into a cache, ready for `qemu -kernel`.

Enters: the package lists of this machine. Leaves: a `Kernel`, image and modules with their dependencies. Never: a
package is installed, a boot loader touched, anything outside the cache written but apt's own lists.

Two may fetch at once (a lock) and either may be killed (what is half done has another name, and goes with the next
fetch). Without a network the newest kernel that is already there serves.
"""

from __future__ import annotations

import fcntl
import functools
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datapath.errors import MachineError

CACHE = Path("/var/cache/sdn/kernel")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PARTIAL = ".partial-"
_SECONDS = 300
"""Longest that one apt command may take: 27 MB over a slow line."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """`release` is its `uname -r`; `root` has boot/ and lib/modules/ as its package has them."""

    release: str
    root: Path

    @property
    def image(self) -> Path:
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.root / "lib" / "modules" / self.release


def fetch(cache: Path = CACHE) -> Kernel:
    """The kernel that apt offers now. 0.5 s where it is in the cache, else a download of 27 MB and 3 s.

    Raises MachineError where there is neither a kernel in the cache nor a way to get one.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache):
        try:
            return _offered(cache)
        except MachineError:
            kernel = newest(cache)
            if kernel is None:
                raise
            return kernel


def newest(cache: Path = CACHE) -> Kernel | None:
    """What was fetched last; no apt, no network."""
    kept = [path for path in cache.glob("linux-image-*") if path.is_dir()]
    return _opened(max(kept, key=lambda path: path.stat().st_mtime)) if kept else None


def _offered(cache: Path) -> Kernel:
    file = _file_on_offer()
    root = cache / file.removesuffix(".deb")
    if not root.exists():
        _fill(cache, root, file)
    return _opened(root)


def _opened(root: Path) -> Kernel:
    (modules,) = (root / "lib" / "modules").iterdir()
    return Kernel(modules.name, root)


# ── apt ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _file_on_offer() -> str:
    """`linux-image-6.1.0-56-cloud-amd64_6.1.192-2_amd64.deb`. The lists are read anew where they know of none."""
    found = _listed()
    if not found:
        _run("apt-get", "-q", "update")
        found = _listed()
    if not found:
        raise MachineError(
            "kernel package",
            f"apt knows no package {metapackage()}",
            remedy="a Debian mirror in /etc/apt/sources.list, then apt-get update",
        )
    return found


@functools.cache
def metapackage() -> str:
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise MachineError("kernel package", f"there is no cloud kernel of Debian for {platform.machine()}")
    return f"linux-image-cloud-{architecture}"


def _listed() -> str:
    """The metapackage depends on the package of one version; empty where the lists are missing."""
    depends = _run("apt-cache", "depends", "--important", metapackage(), fails=True)
    package = re.search(r"Depends: (linux-image-\d\S*)", depends)
    if not package:
        return ""
    uri = re.match(r"'\S+' (\S+\.deb) ", _run(*_GET, "--print-uris", "download", package[1], fails=True))
    return uri[1].replace("%3a", ":") if uri else ""


# As root apt would give the download to the user _apt, who may not write into a cache of ours.
_GET = ("apt-get", "-q", "-o", "APT::Sandbox::User=root")


def _fill(cache: Path, root: Path, file: str) -> None:
    """The whole kernel appears under its name at once, or not at all."""
    for stale in cache.glob(f"{_PARTIAL}*"):
        shutil.rmtree(stale)
    partial = cache / f"{_PARTIAL}{os.getpid()}"
    partial.mkdir()
    try:
        package, version, _ = file.split("_")
        _download(f"{package}={version.replace('%3a', ':')}", partial)
        (deb,) = partial.glob("*.deb")
        _run("dpkg", "-x", str(deb), str(partial))
        deb.unlink()
        # The package leaves this to its postinst, which does not run here.
        _run("depmod", "-b", str(partial), _opened(partial).release)
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download(package: str, directory: Path) -> None:
    """A mirror forgets versions that a list of last month still names: then the lists are read anew, once."""
    try:
        _run(*_GET, "download", package, cwd=directory)
    except MachineError:
        _run("apt-get", "-q", "update")
        _run(*_GET, "download", package.partition("=")[0], cwd=directory)


def _run(*command: str, cwd: Path | None = None, fails: bool = False) -> str:
    """Standard output; a failure is a MachineError, or nothing where it `fails` as an answer."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=not fails
        )
    except FileNotFoundError as error:
        raise MachineError(command[0], f"no `{command[0]}` in PATH", remedy="apt-get install apt dpkg kmod") from error
    except subprocess.TimeoutExpired as error:
        raise MachineError("kernel package", f"{' '.join(command)}: not done after {_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()
        raise MachineError("kernel package", f"{' '.join(command)}: {said}") from error
    return done.stdout


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
