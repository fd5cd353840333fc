"""Our tables in a namespace's nftables, and what others do to them."""

from __future__ import annotations

import itertools
import os
import re
import select
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Interface, ip_network
from pathlib import Path

import pytest

from datapath.addr import Mac
from datapath.errors import ConflictError, RefusedError
from datapath.linux import forward, guard
from datapath.linux.forward import Leg
from datapath.linux.guard import Plug
from datapath.linux.nft import Tables
from datapath.linux.ruleset import Ruleset, Set
from datapath.spec import Attachment, Gateway, Sender
from tests.lab.capture import in_namespace
from tests.lab.labs import run

pytestmark = pytest.mark.lab

_count = itertools.count(1)


@pytest.fixture
def place() -> Iterator[str]:
    name = f"sdnt-{os.getpid()}-nft{next(_count)}"
    run("ip", "netns", "add", name)
    try:
        yield name
    finally:
        run("ip", "netns", "delete", name)


@pytest.fixture
def opened(place: str) -> Iterator[Callable[[], Tables]]:
    """Makes one more process' view of the namespace, so to say."""
    made: list[Tables] = []

    def open_one() -> Tables:
        made.append(in_namespace(place, Tables))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


def nft(place: str, *command: str) -> str:
    return run("ip", "netns", "exec", place, "nft", *command)


def plug(number: int, *more: str) -> Plug:
    mac = Mac((2 << 40) + number)
    subnets = (f"10.0.{number >> 8}.{number & 255}", f"fd00::{number:x}", *more)
    senders = tuple(Sender(mac, ip_network(subnet)) for subnet in subnets)
    return Plug(f"p-{number}", None, Attachment("web", None, (mac,), senders))


def wish(*plugs: Plug, legs: tuple[Leg, ...] = ()) -> tuple[Ruleset, Ruleset]:
    return guard.ruleset("lab", "hv1", plugs, ()), forward.ruleset("lab", "hv1", legs, ())


def listing(place: str) -> str:
    return "\n".join(line for line in nft(place, "-s", "list", "ruleset").splitlines() if "chain state_" not in line)


ONE, TWO = wish(plug(1)), wish(plug(1), plug(2, "10.9.0.0/16", "fd00:9::/64"))


def test_the_second_time_nothing_is_sent(place: str, opened: Callable[[], Tables]) -> None:
    tables = opened()
    assert tables.put(*ONE)
    assert not tables.put(*ONE)
    assert tables.sent == 1
    assert not select.select([tables], [], [], 0)[0], "our own transactions are not told to us"


def test_by_every_path_the_same(place: str, opened: Callable[[], Tables]) -> None:
    """Made at once, by one more port and by one less."""
    tables = opened()
    found = []
    for wanted in (ONE, TWO, ONE):
        tables.put(*wanted)
        found.append(listing(place))
    nft(place, "flush", "ruleset")
    opened().put(*TWO)
    assert found[0] == found[2]
    assert sorted(listing(place).split()) == sorted(found[1].split())


def test_a_table_with_other_rules_is_replaced_beside_one_with_other_elements(
    place: str, opened: Callable[[], Tables]
) -> None:
    tables = opened()
    tables.put(*ONE)
    leg = Leg("brv-home", Gateway(IPv4Interface("192.168.122.1/24"), "nat", "office"), "up-office")
    tables.put(*wish(plug(1), plug(2), legs=(leg,)))
    assert "masquerade" in nft(place, "list", "ruleset")
    assert not tables.put(*wish(plug(1), plug(2), legs=(leg,)))
    tables.put(*ONE)
    assert "masquerade" not in nft(place, "list", "ruleset")


def test_who_comes_later_adopts(place: str, opened: Callable[[], Tables]) -> None:
    opened().put(*TWO)
    later = opened()
    assert not later.put(*TWO)
    assert later.put(*ONE)
    assert not opened().put(*ONE)


def test_who_comes_later_does_not_believe_what_others_have_touched(place: str, opened: Callable[[], Tables]) -> None:
    opened().put(*ONE)
    before = listing(place)
    nft(place, "flush", "chain", "bridge", "sdn", "port")
    assert opened().put(*ONE)
    assert listing(place) == before


@pytest.mark.parametrize(
    "command",
    [
        ("flush", "chain", "bridge", "sdn", "port"),
        ("flush", "set", "bridge", "sdn", "own_ipv4"),
        ("insert", "rule", "bridge", "sdn", "prerouting", "accept"),
        ("add", "element", "bridge", "sdn", "anything", "{ 7 }"),
        ("delete", "table", "ip", "sdn"),
        ("flush", "ruleset"),
    ],
    ids=lambda command: "-".join(command[:4]),
)
def test_what_others_change_is_told_and_put_right(
    place: str, opened: Callable[[], Tables], command: tuple[str, ...]
) -> None:
    tables = opened()
    tables.put(*ONE)
    before = listing(place)
    nft(place, *command)
    assert select.select([tables], [], [], 5)[0]
    tables.hear()
    assert tables.version == 1
    assert tables.put(*ONE)
    assert listing(place) == before
    assert not tables.put(*ONE)


def test_other_tables_are_nobodys_business(place: str, opened: Callable[[], Tables]) -> None:
    tables = opened()
    tables.put(*ONE)
    nft(place, "add", "table", "inet", "theirs")
    nft(place, "add", "chain", "inet", "theirs", "x")
    tables.hear()
    assert tables.version == 0
    assert not tables.put(*ONE)
    assert tables.put(*TWO)
    assert not tables.put(*TWO)
    assert "table inet theirs" in nft(place, "list", "tables")


def test_a_table_that_is_not_ours_is_left_alone(place: str, opened: Callable[[], Tables]) -> None:
    nft(place, "add", "table", "ip", "sdn")
    with pytest.raises(ConflictError, match="table `ip sdn` that is not ours"):
        opened().put(*ONE)
    assert nft(place, "list", "tables").split() == ["table", "ip", "sdn"]


def test_another_labs_is_not_ours_either(place: str, opened: Callable[[], Tables]) -> None:
    opened().put(*(replace(each, mark="sdn:other:hv1") for each in ONE))
    with pytest.raises(ConflictError):
        opened().put(*ONE)


def test_what_is_refused_changes_nothing(place: str, opened: Callable[[], Tables]) -> None:
    tables = opened()
    tables.put(*ONE)
    before = listing(place)
    bad = Set("anything", "type mark", frozenset({"no number"}))
    sets = tuple(bad if each.name == bad.name else each for each in ONE[0].sets)
    with pytest.raises(RefusedError, match="nftables: "):
        tables.put(replace(ONE[0], sets=sets), ONE[1])
    assert listing(place) == before
    tables.put(*ONE)
    assert listing(place) == before


def test_libnftables_asks_for_no_ether_type_of_its_own(place: str, tmp_path: Path) -> None:
    """A frame with a tag has another: a rule that allows would miss it, and so would one that drops."""
    file = tmp_path / "guard.nft"
    file.write_text(ONE[0].replacement())
    asks = [
        chain
        for chain, code in re.findall(r"^bridge sdn (\w+) *\n((?:  .*\n)+)", _bytecode(place, file), re.MULTILINE)
        if "@ link header + 12" in code
    ]
    assert asks.count("tagged_once") == 1
    assert asks.count("prerouting") == guard.RULES[: guard.RULES.index("chain untagged")].count("ether type")
    assert set(asks) == {"prerouting", "untagged", "tagged_once"}, "those that ask themselves"


def _bytecode(place: str, file: Path) -> str:
    return nft(place, "--check", "--debug=netlink", "--file", str(file))


def test_a_thousand_ports(place: str, opened: Callable[[], Tables]) -> None:
    tables = opened()
    plugs = [plug(number) for number in range(1, 1001)]
    tables.put(*wish(*plugs))
    assert not tables.put(*wish(*plugs))
    tables.put(*wish(*plugs[:-1]))
    assert '"p-1000"' not in nft(place, "list", "map", "bridge", "sdn", "port")
    assert tables.sent == 2
