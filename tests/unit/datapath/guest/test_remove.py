"""What is ended and removed when a lab goes, and what is left alone. The processes only look like QEMU."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datapath.guest import remove

Process = subprocess.Popen[bytes]


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    """`process(name, *arguments)`: runs until it is killed, by that name."""
    made: list[Process] = []

    def start(name: str, *arguments: str, cwd: Path | None = None) -> Process:
        # What is after the script's end-of-options are its own arguments, which nobody reads.
        command = [name, "-c", "echo; read -r forever", *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        made.append(subprocess.Popen(command, executable="/bin/sh", cwd=cwd, **pipes))
        assert made[-1].stdout is not None
        made[-1].stdout.readline()  # only a program that runs has a command line
        return made[-1]

    yield start
    for each in made:
        each.kill()
        each.communicate()


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    monkeypatch.delenv("SDN_LIBVIRT_URI", raising=False)
    for directory in ("pool/labs/mine", "pool/labs/yours", "pool/volumes", "run/guests/web", "run/c1"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "pool/labs/mine/web.qcow2").touch()
    return tmp_path / "run"


def test_everything_of_the_lab_goes_and_nothing_else(run_dir: Path, process: Callable[..., Process]) -> None:
    ours = process("qemu-system-x86_64", "-uuid", "1", "-pidfile", f"{run_dir}/guests/web/pid")
    unfinished = process("/usr/bin/qemu-system-x86_64", "-chardev", f"file,path={run_dir}/guests/db/console.log")
    of_another_lab = process("qemu-system-x86_64", "-pidfile", f"{run_dir}x/guests/web/pid")
    no_guest = process("vi", f"{run_dir}/guests/web/console.log")
    (run_dir / "guests/web/pid").write_text(str(no_guest.pid))  # it was given to another process meanwhile
    remove.remove_all("mine", run_dir)
    assert ours.wait(5) == unfinished.wait(5) == -9
    assert of_another_lab.poll() is None
    assert no_guest.poll() is None
    assert not (run_dir / "guests").exists()
    assert (run_dir / "c1").exists()
    pool = run_dir.parent / "pool"
    assert sorted(str(path.relative_to(pool)) for path in pool.rglob("*")) == ["labs", "labs/yours", "volumes"]


def test_a_lab_without_guests(run_dir: Path, tmp_path: Path) -> None:
    remove.remove_all("unknown", tmp_path / "nowhere")
    assert (run_dir / "guests/web").exists()


async def test_of_one_guest(run_dir: Path, process: Callable[..., Process]) -> None:
    ours = process("qemu-system-x86_64", "-pidfile", f"{run_dir}/guests/web/pid")
    arrives = process("qemu-system-x86_64", "-pidfile", f"{run_dir}/guests/web.arriving/pid")
    other = process("qemu-system-x86_64", "-pidfile", f"{run_dir}/guests/web2/pid")
    moved = process("qemu-system-x86_64", "-pidfile", "/elsewhere/pid", cwd=run_dir / "guests/web")
    await remove.end(run_dir / "guests/web")
    assert ours.wait(0.1) == moved.wait(0.1) == -9
    assert arrives.poll() is None
    await remove.end(run_dir / "guests/web", run_dir / "guests/web.arriving")
    assert arrives.wait(0.1) == -9
    assert other.poll() is None


async def test_one_that_has_moved_and_moves_again_is_not_its_own_destination(
    run_dir: Path, process: Callable[..., Process]
) -> None:
    """It was launched in the directory of an arrival, which has become its own; there is another by that name now."""
    arriving = run_dir / "guests/web.arriving"
    arriving.mkdir()
    destination = process("qemu-system-x86_64", "-pidfile", f"{arriving}/pid", cwd=arriving)
    source = process("qemu-system-x86_64", "-pidfile", f"{arriving}/pid", cwd=run_dir / "guests/web")
    await remove.end(arriving)
    assert destination.wait(0.1) == -9
    assert source.poll() is None
    await remove.end(run_dir / "guests/web")
    assert source.wait(0.1) == -9


async def test_one_whose_directory_somebody_removed_is_found_by_what_it_was_told(
    run_dir: Path, process: Callable[..., Process]
) -> None:
    home = run_dir / "guests/web"
    ours = process("qemu-system-x86_64", "-pidfile", f"{home}/pid", cwd=home)
    home.rmdir()
    await remove.end(home)
    assert ours.wait(0.1) == -9
