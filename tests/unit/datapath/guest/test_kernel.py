"""Fetching a kernel where apt is a script of the test's: what it asks, keeps, and does when it is refused."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from datapath.errors import MachineError
from datapath.guest import kernel

FILE = "linux-image-6.1.0-9-cloud-amd64_6.1.99-1_amd64.deb"
RELEASE = "6.1.0-9-cloud-amd64"


class Apt:
    """In the place of the commands."""

    def __init__(self) -> None:
        self.lists = self.online = True
        self.ran: list[str] = []

    def run(self, *command: str, cwd: Path | None = None, fails: bool = False) -> str:
        words = " ".join(command)
        self.ran.append(words)
        if "update" in command:
            self._reach()
            self.lists = True
        if "depends" in command:
            return f"{command[-1]}\n  Depends: linux-image-{RELEASE}\n" if self.lists else ""
        if "--print-uris" in command:
            return f"'http://mirror/{FILE}' {FILE} 27000000 SHA256:00\n"
        if "download" in command:
            self._reach()
            assert cwd
            (cwd / FILE).write_text("deb")
        if command[0] == "dpkg":
            (Path(command[-1]) / "lib" / "modules" / RELEASE).mkdir(parents=True)
        return ""

    def _reach(self) -> None:
        if not self.online:
            raise MachineError("kernel package", "no network")

    def count(self, word: str) -> int:
        return sum(word in ran and "--print-uris" not in ran for ran in self.ran)


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> Apt:
    made = Apt()
    monkeypatch.setattr(kernel.apt, "run", made.run)
    monkeypatch.setattr(kernel, "metapackage", lambda: "linux-image-cloud-amd64")
    return made


def test_fetched_once(apt: Apt, tmp_path: Path) -> None:
    first, second = kernel.fetch(tmp_path), kernel.fetch(tmp_path)
    assert first == second == kernel.newest(tmp_path)
    assert first.image == tmp_path / FILE.removesuffix(".deb") / "boot" / f"vmlinuz-{RELEASE}"
    assert first.modules.is_dir()
    assert apt.count("download") == apt.count("depmod") == 1
    assert [path.name for path in tmp_path.glob("[!.]*")] == [FILE.removesuffix(".deb")]


def test_two_at_once(apt: Apt, tmp_path: Path) -> None:
    threads = [threading.Thread(target=kernel.fetch, args=[tmp_path]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert apt.count("download") == 1


def test_lists_that_are_missing_are_read(apt: Apt, tmp_path: Path) -> None:
    apt.lists = False
    assert kernel.fetch(tmp_path).release == RELEASE
    assert apt.count("update") == 1


def test_what_an_interrupted_one_left_is_no_kernel(apt: Apt, tmp_path: Path) -> None:
    (tmp_path / ".partial-1" / "boot").mkdir(parents=True)
    assert kernel.newest(tmp_path) is None
    kernel.fetch(tmp_path)
    assert not list(tmp_path.glob(".partial-*"))


def test_without_a_network(apt: Apt, tmp_path: Path) -> None:
    apt.online = False
    with pytest.raises(MachineError, match="no network"):
        kernel.fetch(tmp_path)
    assert not list(tmp_path.glob("[!.]*"))
    apt.online = True
    kept = kernel.fetch(tmp_path)
    apt.online = apt.lists = False
    assert kernel.fetch(tmp_path) == kept
