"""Token buckets, sizes, and what counts as one address."""

from __future__ import annotations

import pytest

from sdn.api.limits import BODY, Buckets, Rate, body_limit, neighbourhood, retry_after
from sdn.topology.nodes import MAX_CHARACTERS


def test_a_bucket_fills_again() -> None:
    now = [100.0]
    buckets = Buckets(Rate(2.0, 3.0), lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("b") == 0.0
    now[0] += 0.25
    assert buckets.take("a") == 0.25
    now[0] += 0.25
    assert buckets.take("a") == 0.0
    now[0] += 1000.0
    assert [buckets.take("a") == 0.0 for _ in range(4)] == [True, True, True, False]


def test_buckets_are_not_kept_for_ever() -> None:
    now = [0.0]
    buckets = Buckets(Rate(1.0, 1.0), lambda: now[0])
    buckets.take("first")
    for number in range(10_000):
        buckets.take(f"a{number}")
        assert buckets.take("first") > 0, "who asks all the time is not forgotten"
    assert len(buckets._levels) < 5000


def test_sizes() -> None:
    assert body_limit("PUT", "/v1/topology") == body_limit("POST", "/v1/plan") == MAX_CHARACTERS
    assert body_limit("PUT", "/v1/ports/a") == body_limit("GET", "/v1/topology") == BODY


@pytest.mark.parametrize(
    ("address", "one"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
    ],
)
def test_one_host_is_one_address(address: str, one: str) -> None:
    assert neighbourhood(address) == one


def test_whole_seconds() -> None:
    assert [retry_after(seconds) for seconds in (0.005, 1.0, 1.1)] == ["1", "1", "2"]
