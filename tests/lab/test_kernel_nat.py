"""Networks with a gateway on a kernel that has everything, where the chassis is in them by VLANs of one bridge."""

from __future__ import annotations

import pytest

from tests.lab.test_linux_nat import TestNat, TestRouted, nat, outside, test_no_way_to_the_underlay

pytestmark = [pytest.mark.lab, pytest.mark.machine]

__all__ = ["TestNat", "TestRouted", "nat", "outside", "test_no_way_to_the_underlay"]
