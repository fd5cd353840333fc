"""`@pytest.mark.machine`: the test runs in a QEMU machine with Debian's kernel, and its result appears here.

Enters: the items of the run that have the marker. Leaves: their reports, as if they had run here: live, in order, with
captured output, durations and tracebacks; what they kept in artifacts/, and coverage if it is being measured. Never: a
test that has no marker is touched.

One machine for the run. It starts in the background when the items are known, and those with the marker come last, so
that its start costs little. A test that takes the machine with it, or hangs, fails with the console's last lines, and
the next one gets a new machine. `--no-machine` runs them right here, on a kernel that has all they need.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from datapath.errors import SdnError
from datapath.guest import accel, kernel
from tests.machine import boot
from tests.machine.boot import Machine, MachineDied
from tests.machine.inside import timeout_of
from tests.machine.pace import EMULATED

ROOT = Path(__file__).parent.parent.parent
ARTIFACTS = ROOT / "artifacts"
BYTECODE = Path("/var/cache/sdn/bytecode")
BOOT_SECONDS = 180.0
"""Longest until its pytest has collected: 10 s here, more on a busy machine, and a download the first time."""
GRACE_SECONDS = 30.0
"""Beyond a test's own timeout, which the pytest inside keeps: after that it cannot, and the machine is ended."""
END_SECONDS = 15.0
NEEDED = "no machine with Debian's kernel for it (SDN_NO_MACHINE=1 takes this kernel, if it has all features)"
# What would make the pytest inside do something else than what it is told.
NOT_PASSED = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTHONDONTWRITEBYTECODE", "COVERAGE_FILE", "PWD", "OLDPWD")

# Process 1 of the machine, after its files are there. A shell collects the orphans while it waits for its child.
SCRIPT = """\
{environment}
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin
ip link set lo up
modprobe -a tun openvswitch
echo {hostname} >/proc/sys/kernel/hostname
mount -t bpf bpf /sys/fs/bpf
cd {directory}
{command} </dev/null &
wait $!
echo "pytest ended with $?"
echo b >/proc/sysrq-trigger
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-machine",
        action="store_true",
        default=bool(os.environ.get("SDN_NO_MACHINE")),
        help="run the tests marked `machine` on this machine's own kernel (also SDN_NO_MACHINE=1)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "machine: needs features that this kernel may lack; runs in a QEMU machine with Debian's kernel"
    )
    if not config.pluginmanager.hasplugin("tests.machine.inside") and not config.getoption("--no-machine"):
        config.pluginmanager.register(Outside(config), "machine-outside")


def pytest_itemcollected(item: pytest.Item) -> None:
    """It builds labs: `-m lab` has it, and the conditions of lab tests hold in the machine."""
    if item.get_closest_marker("machine") and not item.get_closest_marker("lab"):
        item.add_marker("lab")


class Outside:
    """In the pytest that was started: it hands items over, and takes their reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.running: Running | None = None
        self.items: list[pytest.Item] = []
        self.failed = ""
        """Why there is no machine and none will be tried again."""

    # ── which ──

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=_is_marked)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        self.items = [item for item in session.items if _is_marked(item)]
        if not self.items or session.config.option.collectonly or session.testsfailed:
            return
        self.failed = boot.obstacle()
        for item in self.items:
            # The pytest in the machine keeps it, with its own measure; here it would count the machine's start.
            item.stash[TIMEOUT] = timeout_of(item)
            item.add_marker(pytest.mark.timeout(0), append=False)
        if not self.failed:
            self.running = Running(self.config, self.items)

    # ── one of them ──

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Only where the machine cannot be had: else the item is set up in the machine."""
        if _is_marked(item):
            reason = f"{NEEDED}: {self.failed}"
            if any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in ("CI", "SDN_REQUIRE_LAB")):
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not _is_marked(item) or self._no_machine():
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item, nextitem):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _no_machine(self) -> str:
        """Why there is none; waits for its start."""
        if self.failed:
            return self.failed
        if self.running is None:
            self.running = Running(self.config, self.items)
        try:
            self.running.ready()
        except (SdnError, MachineDied) as error:
            self.failed = str(error)
            self._drop()
        return self.failed

    def _reports(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[pytest.TestReport]:
        assert self.running is not None
        try:
            for data in self.running.run(item, nextitem):
                yield self.config.hook.pytest_report_from_serializable(config=self.config, data=_with_tuples(data))
        except MachineDied as error:
            self._drop()
            yield _failure(item, str(error))

    # ── the end ──

    def _drop(self) -> None:
        if self.running is not None:
            self.running.stop()
            self.running = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        if self.running is not None:
            self.running.end()
        self._drop()

    def pytest_unconfigure(self) -> None:
        self._drop()


TIMEOUT = pytest.StashKey[float]()


def _with_tuples(report: dict[str, Any]) -> dict[str, Any]:
    """JSON has made lists of them, and pytest takes a list for another kind of reason."""
    for key in ("location", "longrepr"):
        if isinstance(report[key], list):
            report[key] = tuple(report[key])
    for key in ("sections", "user_properties"):
        report[key] = [tuple(pair) for pair in report[key]]
    return report


def _is_marked(item: pytest.Item) -> bool:
    return item.get_closest_marker("machine") is not None


def _failure(item: pytest.Item, reason: str) -> pytest.TestReport:
    keywords: dict[str, Any] = dict.fromkeys(item.keywords, 1)
    return pytest.TestReport(item.nodeid, item.location, keywords, "failed", reason, "call")


class Running:
    """A machine and the pytest in it. A thread of its own fetches the kernel and starts it, and lives as long as it:
    the processes that it started end with the thread."""

    def __init__(self, config: pytest.Config, items: Sequence[pytest.Item]) -> None:
        self.config = config
        self.accelerator = accel.accelerator()
        self.patience = EMULATED if self.accelerator.name == "tcg" else 1.0
        self.kept = ARTIFACTS / f".machine-{os.getpid()}"
        self.script = self._script(items)
        self.machine: Machine | None = None
        self.trouble: Exception | None = None
        self.known: set[str] = set()
        self._begun, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name="machine", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        try:
            self.machine = Machine(kernel.fetch(), self.accelerator, self.script, self._writable())
        except Exception as error:
            self.trouble = error
        self._begun.set()
        self._ended.wait()
        if self.machine is not None:
            self.machine.stop()

    def _writable(self) -> list[Path]:
        for left in ARTIFACTS.glob(".machine-*"):  # by a pytest that was killed
            if not Path("/proc", left.name.removeprefix(".machine-")).exists():
                shutil.rmtree(left)
        for path in (self.kept, BYTECODE):
            path.mkdir(parents=True, exist_ok=True)
        return [ARTIFACTS, BYTECODE]

    # ── what runs in it ──

    def _script(self, items: Sequence[pytest.Item]) -> str:
        given = {key: value for key, value in os.environ.items() if key.isidentifier() and key not in NOT_PASSED}
        environment = given | self._measuring() | {"SDN_TEST_PATIENCE": str(self.patience)}
        if sys.dont_write_bytecode:
            environment["PYTHONPYCACHEPREFIX"] = str(BYTECODE)
        return SCRIPT.format(
            environment="\n".join(f"export {key}={shlex.quote(value)}" for key, value in environment.items()),
            hostname=shlex.quote(socket.gethostname()),
            directory=shlex.quote(str(self.config.rootpath)),
            command=shlex.join(self._pytest(items)),
        )

    def _pytest(self, items: Sequence[pytest.Item]) -> list[str]:
        option, start = self.config.option, ["-m", "pytest"]
        if coverage := _coverage():
            start = ["-m", "coverage", "run", "-p", *([f"--rcfile={coverage[1]}"] if coverage[1] else []), *start]
        return [
            *(sys.executable, *start, "-p", "tests.machine.inside", "-p", "no:cacheprovider"),
            *([] if any(_uses_hypothesis(item) for item in items) else ["-p", "no:hypothesispytest"]),
            *(f"--rootdir={self.config.rootpath}", f"--tb={option.tbstyle}", f"--verbosity={option.verbose}"),
            "--color=yes" if self.config.get_terminal_writer().hasmarkup else "--color=no",
            *(["--showlocals"] if option.showlocals else []),
            *dict.fromkeys(str(item.path) for item in items),
        ]

    def _measuring(self) -> dict[str, str]:
        return {"COVERAGE_FILE": str(self.kept / ".coverage")} if _coverage() else {}

    # ── and what it says ──

    def ready(self) -> None:
        """Returns when its pytest has collected. Raises SdnError or MachineDied."""
        self._begun.wait()
        if self.trouble is not None:
            raise self.trouble
        if not self.known:
            self.known = set(self._receive(BOOT_SECONDS * self.patience)["ready"])

    def run(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[dict[str, Any]]:
        """The reports of one item, as they come."""
        assert self.machine is not None
        if item.nodeid not in self.known:
            raise MachineDied("the pytest in the machine does not know this test")
        following = nextitem.nodeid if nextitem and _is_marked(nextitem) else None
        self.machine.send({"run": item.nodeid, "next": following})
        limit = item.stash[TIMEOUT] * self.patience
        while "report" in (message := self._receive(limit + GRACE_SECONDS if limit else 86400)):
            yield message["report"]

    def _receive(self, seconds: float) -> dict[str, Any]:
        assert self.machine is not None
        message = self.machine.receive(seconds)
        if "trouble" in message:
            raise MachineDied(f"the pytest in the machine: {message['trouble']}")
        return message

    def end(self) -> None:
        """Lets it finish what fixtures of the session and coverage have to write."""
        if self.machine is not None and self.known:
            with contextlib.suppress(MachineDied):
                self.machine.send({"end": True})
                self.machine.wait(END_SECONDS * self.patience)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        coverage = _coverage()
        for path in self.kept.glob(".coverage.*"):
            if coverage:
                shutil.move(path, Path(coverage[0]).parent / path.name)
        shutil.rmtree(self.kept, ignore_errors=True)
        with contextlib.suppress(OSError):
            ARTIFACTS.rmdir()  # only if nothing was kept


def _uses_hypothesis(item: pytest.Item) -> bool:
    """Its plugin costs a second and more in the machine, and only such tests need it."""
    return bool(getattr(getattr(item, "obj", None), "is_hypothesis_test", False))


def _coverage() -> tuple[str, str] | None:
    """Where the coverage that is being measured here goes, and its configuration file; None if none is."""
    module = sys.modules.get("coverage")
    current = module.Coverage.current() if module else None
    if current is None:
        return None
    return str(Path(current.config.data_file).absolute()), str(current.config.config_file or "")
