"""Which of Debian's packages are fetched, and which libraries a program gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from datapath.errors import MachineError
from datapath.guest import apt, packages

DEPENDS = """\
qemu-guest-agent
  PreDepends: init-system-helpers
  Depends: libc6
  Depends: libglib2.0-0
iperf3
  Depends: adduser
 |Depends: debconf
  Depends: <debconf-2.0>
    cdebconf
    debconf
  Depends: libiperf0
init-system-helpers
libc6
  Depends: libgcc-s1
libglib2.0-0
  Depends: libc6
libiperf0
  Depends: libssl3
adduser
  Depends: libunwanted
"""


def test_what_is_needed_are_the_packages_and_libraries_by_libraries() -> None:
    found = packages.closure(["qemu-guest-agent", "iperf3"], DEPENDS)
    assert found == ["qemu-guest-agent", "iperf3", "libc6", "libglib2.0-0", "libiperf0", "libgcc-s1", "libssl3"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for file in ("lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6", "usr/bin/perl"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    return tmp_path


def said(root: Path, libc: str) -> str:
    own = f"\t{root}/lib64/ld-linux-x86-64.so.2 => {root}/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"
    return f"\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => {libc}\n{own}"


def test_libraries_are_where_they_were(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libc = root / "lib/x86_64-linux-gnu/libc.so.6"
    monkeypatch.setattr(apt, "run", lambda *_: said(root, f"{libc} (0x00007f)"))
    found = packages.linked(root, "usr/bin/perl")
    assert found["lib/x86_64-linux-gnu/libc.so.6"] == libc
    assert set(found) == {"lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6"}


def test_a_missing_library_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "run", lambda *_: said(root, "not found"))
    with pytest.raises(MachineError, match=r"usr/bin/perl needs libc\.so\.6"):
        packages.linked(root, "usr/bin/perl")


def test_without_apt_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match=r"no `apt-[a-z]+` in PATH"):
        packages.fetch(["perl-base"], tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]
