"""What the probe's answers mean, and that there is always one."""

from __future__ import annotations

from typing import Any

import pytest

from datapath.guest import accel, kvm


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"exits": kvm.EXPECTED, "ms": 1.0}, ""),
        ({"exits": kvm.EXPECTED, "ms": 900.0}, "interprets"),
        ({"exits": [[17]], "ms": 1.0}, "a small test guest ran into an error of KVM's own (exit reason 17)"),
        ({"exits": [[5]], "ms": 1.0}, "halted before"),
        ({"exits": [[2, 16, 3]] * 3, "ms": 1.0}, "did not halt"),
        ({"exits": [[2, 16, 1], [5]], "ms": 1.0}, "had 1 interrupts instead of 3"),
        ({"exits": [[99]], "ms": 1.0}, "exit reason 99"),
        ({"error": "Permission denied"}, "Permission denied"),
    ],
)
def test_verdict(answer: dict[str, Any], said: str) -> None:
    verdict = accel.verdict(answer)
    assert said in verdict
    assert bool(verdict) == bool(said)


def test_one_of_the_two_with_a_reason() -> None:
    found = accel.accelerator()
    assert found.name in ("kvm", "tcg")
    assert found.reason


def test_the_operators_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDN_ACCEL", "tcg")
    accel.accelerator.cache_clear()
    try:
        assert accel.accelerator() == accel.Accelerator("tcg", "SDN_ACCEL says so")
    finally:
        accel.accelerator.cache_clear()
