"""VLANs of a chassis' bridge: none twice, and nobody's changes because others come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath.errors import RefusedError
from datapath.linux.vids import FIRST, LAST, allot
from datapath.spec import Bridged

NAMES = st.text("abcdefgh", min_size=1, max_size=3)
VIDS = st.integers(FIRST, LAST) | st.integers(2048, 2053) | st.integers(1, 4)


@st.composite
def networks(draw: st.DrawFn) -> list[Bridged]:
    names = draw(st.sets(NAMES, max_size=30))
    own = draw(st.dictionaries(st.sampled_from(sorted(names)), VIDS)) if names else {}
    return [Bridged(name, 1500, physnet="p" if name in own else "", vlan_id=own.get(name, 0)) for name in names]


@given(networks(), st.dictionaries(NAMES, st.lists(VIDS, max_size=3)), st.dictionaries(NAMES, VIDS))
def test_each_network_has_one_of_its_own(
    given: list[Bridged], tags: dict[str, list[int]], before: dict[str, int]
) -> None:
    found = allot(given, tags, before)
    assert found.keys() == {network.network for network in given}
    assert len(set(found.values())) == len(found)
    assert all(FIRST <= vid <= LAST for vid in found.values())


@given(networks(), st.dictionaries(NAMES, st.lists(VIDS, max_size=3)), st.randoms())
def test_their_order_does_not_matter(given: list[Bridged], tags: dict[str, list[int]], random: object) -> None:
    shuffled = list(given)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert allot(shuffled, tags, {}) == allot(given, tags, {})


@given(networks(), networks(), st.dictionaries(NAMES, st.lists(VIDS, max_size=3)))
def test_who_is_there_stays_what_it_was(old: list[Bridged], new: list[Bridged], tags: dict[str, list[int]]) -> None:
    """Whatever trunks and networks come; but for VLAN ids that a network has by itself."""
    before = allot(old, {}, {})
    come = [network for network in new if network.network not in before]
    after = allot([*old, *come], tags, before)
    claimed = {network.vlan_id for network in come if network.vlan_id}
    assert {name: vid for name, vid in after.items() if name in before and before[name] not in claimed} == {
        name: vid for name, vid in before.items() if vid not in claimed
    }


@given(networks(), NAMES)
def test_a_new_one_that_collides_with_nobody_moves_nobody(given: list[Bridged], name: str) -> None:
    """Also for an agent that has not seen what was before."""
    if name in {network.network for network in given}:
        return
    alone = allot([Bridged(name, 1500)], {}, {})[name]
    before = allot(given, {}, {})
    if alone not in before.values():
        after = allot([*given, Bridged(name, 1500)], {}, {})
        assert after == before | {name: alone}


def test_a_vlan_keeps_its_id_and_the_first_of_two_alike() -> None:
    found = allot([Bridged("b", 1500, physnet="y", vlan_id=10), Bridged("a", 1500, physnet="x", vlan_id=10)], {}, {})
    assert found["a"] == 10
    assert found["b"] != 10


def test_a_trunk_s_tag_is_preferred_and_not_fought_for() -> None:
    given = [Bridged("a", 1500), Bridged("b", 1500), Bridged("c", 1500, physnet="p", vlan_id=20)]
    found = allot(given, {"a": [20, 30], "b": [30]}, {})
    assert (found["a"], found["c"]) == (30, 20)
    assert found["b"] not in (20, 30)


def test_a_bridge_has_4094() -> None:
    many = [Bridged(f"n{number}", 1500) for number in range(LAST)]
    assert sorted(allot(many, {}, {}).values()) == list(range(FIRST, LAST + 1))
    with pytest.raises(RefusedError, match="4095 networks on one chassis: a bridge has 4094 VLANs"):
        allot([*many, Bridged("m", 1500)], {}, {})
