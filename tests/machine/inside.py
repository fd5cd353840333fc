"""The pytest in the machine: runs the items that it is told to, and sends their reports.

Enters: lines of JSON from the virtio-serial port: {"run": id, "next": id or null}, {"end": true}.
Leaves: {"ready": ids}, for each item {"report": …} as often as there are and {"done": id}, {"trouble": text}.
Never: an order of its own; pytest outside says which item is next.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.machine.boot import PORT
from tests.machine.pace import PATIENCE

PORTS = Path("/sys/class/virtio-ports")
_SECONDS = 20.0
_NETLINK_KOBJECT_UEVENT = 15


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Inside(config, _open_port()), "machine-inside")


def _open_port() -> IO[bytes]:
    """Its device appears a moment after its driver, when QEMU has told its name."""
    deadline = time.monotonic() + _SECONDS
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_KOBJECT_UEVENT) as events:
        events.bind((0, 1))  # what the kernel tells of devices, from before the first look on
        while time.monotonic() < deadline:
            for name in PORTS.glob("*/name"):
                if name.read_text().strip() == PORT:
                    return open(f"/dev/{name.parent.name}", "r+b", buffering=0)
            if select.select([events], [], [], max(deadline - time.monotonic(), 0))[0]:
                events.recv(1 << 16)
    raise RuntimeError(f"no virtio-serial port {PORT} within {_SECONDS} s")


class Inside:
    def __init__(self, config: pytest.Config, port: IO[bytes]) -> None:
        self.config = config
        self.port = port
        self.received = b""

    def send(self, **message: Any) -> None:
        data = json.dumps(message, default=str).encode() + b"\n"
        while data:
            data = data[self.port.write(data) :]

    def receive(self) -> dict[str, Any]:
        while b"\n" not in self.received:
            self.received += self.port.read(65536)
        line, _, self.received = self.received.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """A test may take as much longer as this machine is slower."""
        for item in items:
            item.add_marker(pytest.mark.timeout(timeout_of(item) * PATIENCE), append=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> Iterator[None]:
        if report.failed:
            self.send(trouble=f"{report.nodeid} cannot be collected in the machine:\n{report.longreprtext}")
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        self.send(ready=list(items))
        while "run" in (order := self.receive()):
            following = items.get(order["next"] or "")
            item = items[order["run"]]
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self.send(done=item.nodeid)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        self.send(report=data)

    def pytest_internalerror(self, excrepr: object) -> None:
        self.send(trouble=str(excrepr))


def timeout_of(item: pytest.Item) -> float:
    """Seconds, from the item's marker or the configuration, as pytest-timeout reads them; 0 is none."""
    marker = item.get_closest_marker("timeout")
    if marker is None:
        return float(item.config.getini("timeout") or 0)
    return float(marker.args[0] if marker.args else marker.kwargs.get("timeout", 0))
