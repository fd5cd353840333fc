from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

import pytest

from datapath.linux.forward import Leg, Own, forwards, ruleset
from datapath.linux.ruleset import Ruleset
from datapath.spec import ForwardMode, Gateway


def leg(mode: ForwardMode, network: str = "192.168.122.1/24", device: str = "brv-home") -> Leg:
    isolated = mode == "isolated"
    return Leg(device, Gateway(IPv4Interface(network), mode, "" if isolated else "office"), "" if isolated else "up")


OFFICE = Own("up", IPv4Address("203.0.113.2"))


def elements(made: Ruleset) -> dict[str, set[str]]:
    return {each.name: set(each.elements) for each in made.sets}


def test_nat_is_masqueraded_and_known_connections_come_back() -> None:
    made = ruleset("lab", "hv1", [leg("nat")], [OFFICE])
    assert elements(made) == {
        "own": {'"up" . 203.0.113.2', '"brv-home" . 192.168.122.1'},
        "routed_out": set(),
        "masqueraded": {'"brv-home" . 192.168.122.0/24 . "up"'},
        "sources": {'192.168.122.0/24 . "up"'},
    }


def test_routed_goes_both_ways_as_it_is() -> None:
    found = elements(ruleset("lab", "hv1", [leg("routed")], [OFFICE]))
    assert found["routed_out"] == {'"brv-home" . 192.168.122.0/24 . "up"'}
    assert not found["masqueraded"]
    assert not found["sources"]


@pytest.mark.parametrize("legs", [[], [leg("isolated")]])
def test_where_nothing_is_forwarded_no_connection_is_tracked(legs: list[Leg]) -> None:
    made = ruleset("lab", "hv1", legs, [])
    assert not forwards(legs)
    assert "ct " not in made.rules
    assert "masquerade" not in made.rules
    assert "chain forward {\n    type filter hook forward priority 0; policy accept;\n    drop\n}" in made.rules


def test_the_chassis_own_sockets_are_the_underlays() -> None:
    """Whatever else there is: the tunnels' sockets are open on every chassis."""
    for legs in ([], [leg("nat")], [leg("isolated")]):
        rules = ruleset("lab", "hv1", legs, []).rules
        chain = rules[rules.index("chain input") :].split("}\n\n")[0]
        assert chain.index('iifname { "lo", "underlay0" } accept') < chain.index("\n    drop\n")


def test_one_more_network_is_a_change_of_elements() -> None:
    before = ruleset("lab", "hv1", [leg("nat")], [OFFICE])
    after = ruleset("lab", "hv1", [leg("nat"), leg("routed", "192.168.123.1/24", "brv-dmz")], [OFFICE])
    assert (after.changes(before) or "").startswith("add element ip sdn own")
