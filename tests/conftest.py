"""What every test shares: golden files, whether this machine can run a lab, and what is kept when a lab test fails.

A lab test (`@pytest.mark.lab`, or `@pytest.mark.lab("tshark")` with the commands it needs besides Open vSwitch) that
cannot run says which feature is missing. That is a skip on a developer's machine and a failure under `make test` and in
CI, where a skipped test would look like a passed one.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest_plugins = ["tests.machine.plugin"]

ROOT = Path(__file__).parent.parent
ARTIFACTS = ROOT / "artifacts"
LAB_COMMANDS = ("ip", "ovs-vswitchd", "ovsdb-server", "ovs-ofctl", "ovs-appctl")
REPORTS = pytest.StashKey[dict[str, pytest.TestReport]]()

# Debian keeps daemons out of a user's PATH.
os.environ["PATH"] += os.pathsep + "/usr/local/sbin:/usr/sbin:/sbin"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing")


# ── golden files ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)`: `text` equals the file tests/golden/`name`, which `make golden` rewrites."""
    update = request.config.getoption("--update-golden")

    def check(name: str, text: str) -> None:
        path = ROOT / "tests" / "golden" / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        expected = path.read_text() if path.exists() else ""
        assert text == expected, f"{path.relative_to(ROOT)} differs; if that is intended: make golden, read the diff"

    return check


# ── can this machine run a lab? ───────────────────────────────────────────────────────────────────────────────────────


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("lab"):
        missing = lab_obstacle() or next((_no_command(c) for c in marker.args if not shutil.which(c)), "")
        if missing and _lab_required():
            pytest.fail(f"this lab test cannot run here: {missing}", pytrace=False)
        if missing:
            pytest.skip(f"lab: {missing}")


def _lab_required() -> bool:
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in ("CI", "SDN_REQUIRE_LAB"))


@functools.cache
def lab_obstacle() -> str:
    """Why no lab can run on this machine, with the remedy; empty if one can. Found by doing it, not by guessing."""
    if sys.platform != "linux":
        return f"needs Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "needs root (sudo make test)"
    for command in LAB_COMMANDS:
        if not shutil.which(command):
            return _no_command(command)
    return _namespace_obstacle()


def _no_command(command: str) -> str:
    return f"no `{command}` in PATH; scripts/bootstrap test installs what the tests need (packages.txt)"


def _namespace_obstacle() -> str:
    """A container may be root and still be refused namespaces, mounts under /run/netns, veths or TUN devices."""
    name = f"sdnt-probe-{os.getpid()}"
    try:
        return (
            _refused("network namespaces", "netns", "add", name)
            or _refused("veth devices", "-n", name, "link", "add", "name", "v0", "type", "veth", "peer", "name", "v1")
            or _refused("TUN/TAP devices (/dev/net/tun)", "-n", name, "tuntap", "add", "dev", "t0", "mode", "tap")
        )
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _refused(feature: str, *arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    return f"no {feature} here: {done.stderr.strip()}" if done.returncode else ""


# ── what is kept when a lab test fails ────────────────────────────────────────────────────────────────────────────────


class RunDirectories:
    """The labs that are up: a fixture that builds one adds its run directory, and discards it when the lab is down."""

    def __init__(self) -> None:
        self._running: list[Path] = []

    def add(self, directory: Path) -> None:
        self._running.append(directory)

    def discard(self, directory: Path) -> None:
        if directory in self._running:
            self._running.remove(directory)

    def __bool__(self) -> bool:
        return bool(self._running)

    def keep(self, where: Path) -> None:
        for directory in self._running:
            keep_lab(directory, where / directory.name)


RUNNING = RunDirectories()


@pytest.fixture(scope="session")
def run_directories() -> RunDirectories:
    return RUNNING


@pytest.fixture
def artifacts(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty directory, artifacts/<test>/, for captures and the like. It stays if the test fails."""
    directory = artifacts_of(request.node)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    yield directory
    if not any(report.failed for report in request.node.stash.get(REPORTS, {}).values()):
        shutil.rmtree(directory, ignore_errors=True)


def artifacts_of(item: pytest.Item) -> Path:
    return ARTIFACTS / re.sub(r"[^\w.\-]+", "_", item.nodeid.removeprefix("tests/")).strip("_")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    item.stash.setdefault(REPORTS, {})[report.when] = report
    # Here the fixtures are still there, so the lab is still up and can be asked.
    where = artifacts_of(item)
    if report.failed and report.when != "teardown" and (RUNNING or where.exists()):
        where.mkdir(parents=True, exist_ok=True)
        (where / "failure.txt").write_text(report.longreprtext)
        RUNNING.keep(where)
        report.sections.append(("artifacts", f"kept in {where.relative_to(ROOT)}"))
    return report


def keep_lab(directory: Path, where: Path) -> None:
    """Copies a lab's files and asks its switches; a switch that does not answer is part of the evidence."""
    where.mkdir(parents=True, exist_ok=True)
    for path in directory.rglob("*"):
        if path.is_file():  # sockets are not
            target = where / path.relative_to(directory)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for bridge in directory.glob("*/*.mgmt"):
        kept = where / bridge.parent.name
        kept.mkdir(parents=True, exist_ok=True)
        for question, answer in _questions(bridge).items():
            (kept / f"{bridge.stem}.{question}.txt").write_text(_ask(answer))


def _questions(bridge: Path) -> dict[str, list[str]]:
    ofctl = ["ovs-ofctl", "-O", "OpenFlow14", "--timeout=5"]
    asked = {
        "flows": [*ofctl, "--stats", "dump-flows", f"unix:{bridge}"],
        "groups": [*ofctl, "dump-groups", f"unix:{bridge}"],
        "ports": [*ofctl, "dump-ports-desc", f"unix:{bridge}"],
    }
    for control in bridge.parent.glob("ovs-vswitchd*.ctl"):
        appctl = ["ovs-appctl", "-t", str(control), "--timeout=5"]
        asked["megaflows"] = [*appctl, "dpctl/dump-flows", "-m"]
        asked["show"] = [*appctl, "dpif/show"]
    return asked


def _ask(command: list[str]) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"$ {' '.join(command)}\n{error}\n"
    return f"$ {' '.join(command)}\n{done.stdout}{done.stderr}"
