"""The lab of tests/lab is the lab here."""

from __future__ import annotations

from tests.lab.conftest import lab, shared_lab

__all__ = ["lab", "shared_lab"]
