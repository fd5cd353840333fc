"""Packages of Debian unpacked into a cache, not installed: what a test reads or runs from them.

Two may fetch at once (a lock), and what is half done has another name, as in `datapath.guest.kernel`.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

_CACHE = Path("/var/cache/sdn/tests")
_GET = ("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download")
_SECONDS = 120


def unpacked(*packages: str) -> Path:
    """The directory that has the files of all packages. The test is skipped where apt cannot get them."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    name = hashlib.blake2b(" ".join(packages).encode(), digest_size=6).hexdigest()
    root = _CACHE / f"{packages[0]}-{name}"
    with (_CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            _fetch(packages, root)
    return root


def _fetch(packages: tuple[str, ...], root: Path) -> None:
    partial = root.with_name(f".{root.name}")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "archives").mkdir(parents=True)
    try:
        _run(*_GET, *packages, cwd=partial / "archives")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"apt cannot download {' '.join(packages)}: {error.stderr.strip().splitlines()[-1:]}")
    for archive in (partial / "archives").glob("*.deb"):
        _run("dpkg", "-x", str(archive), str(partial / "files"), cwd=partial)
    (partial / "files").rename(root)
    shutil.rmtree(partial)


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=_SECONDS)
