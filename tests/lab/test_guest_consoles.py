"""What is kept of a guest's console stays within bounds, whoever runs the guest."""

from __future__ import annotations

from typing import Any

import pytest

from datapath.guest.console import LOG
from datapath.guest.past_lines import MOST, STEP, earlier
from tests.lab.conftest import Labs
from tests.lab.processes import eventually
from tests.machine.pace import PATIENCE

pytestmark = [pytest.mark.lab("libvirtd"), pytest.mark.timeout(300)]


def test_a_guest_that_prints_on_and_on_fills_no_disk(lab: Labs) -> None:
    """QEMU goes on at the end of its log, and that is the beginning once it was cut."""
    guest: dict[str, Any] = {"chassis": "hv1", "network": "web"}
    running = lab(
        {
            "chassis": {"hv1": {"datapath": "linux"}},
            "networks": {"web": {"segment": {"vxlan": 100}, "subnet": "10.50.0.0/24"}},
            "guests": {"g1": guest, "g2": {**guest, "driver": "libvirt"}},
        }
    )
    for name in ("g1", "g2"):
        log = running.run.guest(name) / LOG
        with log.open("ab") as file:
            file.write(b"x" * MOST)
        running.execute(name, "sh", "-c", f"head -c {STEP} /dev/zero | tr '\\0' y > /dev/console")
        eventually(earlier(log).exists, 30 * PATIENCE)
        running.execute(name, "sh", "-c", "echo after > /dev/console")
        eventually(lambda: log.read_bytes().endswith(b"after\r\n"), 10 * PATIENCE)  # noqa: B023
        assert log.stat().st_size < STEP
        assert b"\0" not in log.read_bytes()
        assert earlier(log).stat().st_size > MOST
