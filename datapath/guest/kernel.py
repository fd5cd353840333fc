"""Debian's cloud kernel without installing it: downloaded by apt, unpacked into a cache, ready for `qemu -kernel`.

Enters: the package lists of this machine. Leaves: a `Kernel`, image and modules with their dependencies. Never: a
package is installed, a boot loader touched.

Without a network the newest kernel that is already there serves.
"""

from __future__ import annotations

import functools
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from datapath.errors import MachineError
from datapath.guest import apt

CACHE = Path("/var/cache/sdn/kernel")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


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
    with apt.locked(cache):
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
        _fill(root, file)
    return _opened(root)


def _opened(root: Path) -> Kernel:
    (modules,) = (root / "lib" / "modules").iterdir()
    return Kernel(modules.name, root)


# ── apt ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _file_on_offer() -> str:
    """`linux-image-6.1.0-56-cloud-amd64_6.1.192-2_amd64.deb`. The lists are read anew where they know of none."""
    found = _listed()
    if not found:
        apt.update()
        found = _listed()
    if not found:
        raise MachineError(
            "kernel package",
            f"apt knows no package {metapackage()}",
            remedy=apt.MIRROR,
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
    depends = apt.run("apt-cache", "depends", "--important", metapackage(), fails=True)
    package = re.search(r"Depends: (linux-image-\d\S*)", depends)
    if not package:
        return ""
    uri = re.match(r"'\S+' (\S+\.deb) ", apt.run(*apt.GET, "--print-uris", "download", package[1], fails=True))
    return uri[1].replace("%3a", ":") if uri else ""


def _fill(root: Path, file: str) -> None:
    name, version, _ = file.split("_")
    with apt.appearing(root) as partial:
        apt.download(partial, lambda: [f"{name}={version.replace('%3a', ':')}"], lambda: [name])
        apt.unpack(partial)
        # The package leaves this to its postinst, which does not run here.
        apt.run("depmod", "-b", str(partial), _opened(partial).release)
