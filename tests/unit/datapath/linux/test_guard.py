"""Which elements a port is in the guard's sets. What the rules make of them is for the lab tests (test_linux_guard)."""

from __future__ import annotations

import re
from ipaddress import ip_network

from datapath.addr import Mac
from datapath.linux.guard import RULES, Far, Plug, ruleset
from datapath.linux.ruleset import Ruleset
from datapath.spec import Attachment, Sender

MAC, VIRTUAL = Mac.parse("02:00:00:00:00:01"), Mac.parse("02:00:5e:00:01:01")


def attachment(*subnets: str, virtual: str = "") -> Attachment:
    senders = [Sender(MAC, ip_network(subnet)) for subnet in subnets]
    if virtual:
        senders.append(Sender(VIRTUAL, ip_network(virtual)))
    return Attachment("web", None, (MAC, VIRTUAL) if virtual else (MAC,), tuple(senders))


def elements(made: Ruleset) -> dict[str, set[str]]:
    """Of the sets that have any; the mark of a port is written as `#`."""
    found = {each.name: set(each.elements) for each in made.sets if each.elements}
    marks = {text.rpartition(" : ")[2] for name in ("port", "port_tagged") for text in found.get(name, ())}
    pattern = re.compile(rf"\b({'|'.join(marks)})\b") if marks else re.compile("$^")
    return {name: {pattern.sub("#", text) for text in texts} for name, texts in found.items()}


def guard(*plugs: Plug, far: tuple[Far, ...] = ()) -> dict[str, set[str]]:
    return elements(ruleset("lab", "hv1", plugs, far))


def test_an_ipv4_port() -> None:
    mac = "02:00:00:00:00:01"
    assert guard(Plug("p-web1", None, attachment("10.0.0.1"))) == {
        "port": {'"p-web1" : #'},
        "has_ipv4": {f"# . {mac}"},
        "own_mac": {f"# . {mac} . 0x20000000001"},
        "own_ipv4": {f"# . {mac} . 10.0.0.1"},
        "ipv4": {f'"p-web1" . {mac} . 10.0.0.1'},
    }


def test_an_ipv6_port_says_what_it_may_be_asked_for() -> None:
    found = guard(Plug("p-web1", None, attachment("fd00::1")))
    target = "0xfd000000000000000000000000000001"
    assert found["own_target"] == {
        f"# . 02:00:00:00:00:01 . fd00::1 . {target}",
        f"# . 02:00:00:00:00:01 . :: . {target}",
    }
    assert found["ipv6"] == {'"p-web1" . 02:00:00:00:00:01 . fd00::1'}
    assert "ipv4" not in found
    assert "has_ipv4" not in found


def test_a_tag_is_part_of_the_key() -> None:
    found = guard(Plug("p-fw", 20, attachment("10.0.0.1")))
    assert found["port_tagged"] == {'20 . "p-fw" : #'}
    assert found["ipv4_tagged"] == {'20 . "p-fw" . 02:00:00:00:00:01 . 10.0.0.1'}
    assert "port" not in found
    assert "ipv4" not in found


def test_subnets_are_ranges_that_do_not_overlap() -> None:
    found = guard(Plug("p", None, attachment("10.0.0.1", "10.7.0.0/16", "10.7.1.0/24", "10.7.1.1", "fd00::/64")))
    assert found["own_ipv4"] == {"# . 02:00:00:00:00:01 . 10.0.0.1"}
    assert found["own_ipv4_range"] == {"# . 02:00:00:00:00:01 . 10.7.0.0/16"}
    first, last = "0xfd000000000000000000000000000000", "0xfd00000000000000ffffffffffffffff"
    assert f"# . 02:00:00:00:00:01 . fd00::/64 . {first}-{last}" in found["own_target_range"]


def test_a_virtual_mac_has_its_own_addresses() -> None:
    found = guard(Plug("p", None, attachment("10.0.0.1", virtual="10.0.0.200")))
    assert found["own_ipv4"] == {"# . 02:00:00:00:00:01 . 10.0.0.1", "# . 02:00:5e:00:01:01 . 10.0.0.200"}
    assert found["has_ipv4"] == {"# . 02:00:00:00:00:01"}, "DHCP is for the port's own MAC"


def test_without_addresses_only_the_mac_counts_and_without_a_guard_nothing() -> None:
    assert guard(Plug("p", None, Attachment("web", None, (MAC,), ()))) == {
        "port": {'"p" : #'},
        "any_address": {"# . 02:00:00:00:00:01"},
    }
    assert guard(Plug("p", None, Attachment("web", None, (MAC,), None))) == {"port": {'"p" : #'}, "anything": {"#"}}


def test_what_leads_away_may_have_a_tag_where_the_bridge_filters() -> None:
    found = guard(far=(Far("vx-web"), Far("up-office", tagged=True)))
    assert found == {"places": {'"vx-web" : goto untagged', '"up-office" : goto tagged_once'}}


def test_a_port_keeps_its_mark_whoever_else_comes() -> None:
    one, other = Plug("p-a", None, attachment("10.0.0.1")), Plug("p-b", None, attachment("10.0.0.2"))
    alone, both = ruleset("lab", "hv1", [one], ()), ruleset("lab", "hv1", [other, one], ())
    changes = both.changes(alone) or ""
    assert "delete" not in changes
    assert '"p-a"' not in changes
    assert ruleset("lab", "hv1", [one, other], ()) == both


def test_every_chain_ends_with_a_verdict() -> None:
    """A base chain that is left by `goto` accepts at the end of the chain that it went to."""
    for name, body in re.findall(r"chain (\w+) \{\n(.*?)\n\}", RULES, re.DOTALL):
        last = body.splitlines()[-1].strip()
        assert last in ("drop", "accept") or last.startswith("goto ") or name == "input", name


def test_every_set_is_used_and_every_chain_is_reached() -> None:
    named = {each.name for each in ruleset("lab", "hv1", (), ()).sets}
    assert set(re.findall(r"@(?!th|nh)(\w+)", RULES)) == named
    chains = set(re.findall(r"chain (\w+)", RULES))
    reached = set(re.findall(r"goto (\w+)", RULES)) | {"prerouting", "input", "untagged", "tagged_once"}
    assert chains == reached
