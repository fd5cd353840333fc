"""Asking switches for their flows ends in time, however many hang."""

from __future__ import annotations

import pytest

from datapath.errors import TransientError
from datapath.openflow.flow import Flow
from sdn.lab import observed


def test_switches_that_hang_take_no_more_than_all_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = 100.0, []
    monkeypatch.setattr(observed, "monotonic", lambda: now)

    def flows(chassis: str) -> list[Flow]:
        nonlocal now
        asked.append(chassis)
        now += observed.WITHIN
        if chassis != "slow":
            raise TransientError(f"{chassis}: its switch does not answer")
        return []

    patient = observed.patiently(flows)
    assert [patient("slow") for _ in range(3)] == [[], [], []], "those that answer may be as many as there are"
    for chassis in ("hv1", "hv2"):
        with pytest.raises(TransientError, match=f"{chassis}: its switch does not answer"):
            patient(chassis)
    with pytest.raises(TransientError, match="hv3: its switch was not asked: others have not answered within 10 s"):
        patient("hv3")
    assert asked == ["slow", "slow", "slow", "hv1", "hv2"]
