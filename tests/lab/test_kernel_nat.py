"""Networks with a gateway on a kernel that has everything, where the chassis is in them by VLANs of one bridge."""

from __future__ import annotations

import pytest

from tests.lab.test_linux_nat import (
    TestIsolated,
    TestNat,
    TestRouted,
    nat,
    outside,
    test_each_network_knows_its_own_gateway_only,
    test_no_way_to_another_network,
    test_no_way_to_the_underlay,
    test_who_is_outside_is_no_vtep,
)

pytestmark = [pytest.mark.lab, pytest.mark.machine]

__all__ = [
    "TestIsolated",
    "TestNat",
    "TestRouted",
    "nat",
    "outside",
    "test_each_network_knows_its_own_gateway_only",
    "test_no_way_to_another_network",
    "test_no_way_to_the_underlay",
    "test_who_is_outside_is_no_vtep",
]
