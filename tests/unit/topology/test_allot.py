"""Numbers are the same for the same file, distinct, and stay when the file grows."""

from __future__ import annotations

import random
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdn.model import Model
from sdn.topology import parse
from sdn.topology.allot import ExhaustedError, Slots, allot, host_slots, placed

names = st.lists(st.text("abc123", min_size=1, max_size=4), unique=True, max_size=30)


@given(names, names, st.integers(0, 40))
def test_additions_renumber_nothing(old: list[str], new: list[str], spare: int) -> None:
    slots = Slots("space", 100, 100 + len(set(old + new)) + spare)
    before = allot(slots, old)
    both = list(dict.fromkeys(old + new))
    random.Random(0).shuffle(both)
    after = allot(slots, both, previous=before)
    assert {name: after[name] for name in old} == before
    assert len(set(after.values())) == len(both)
    assert list(after) == both


@given(names)
def test_the_same_names_get_the_same_numbers(written: list[str]) -> None:
    slots = Slots("space", 16, 1 << 31)
    backwards = allot(slots, list(reversed(written)))
    assert allot(slots, written) == backwards, "in a large space the order of the file does not matter"
    assert allot(slots, written, previous=backwards) == backwards


def test_preferences() -> None:
    slots = Slots("space", 1, 4)
    found = allot(slots, ["a", "b", "c"], fixed={"c": 2}, previous={"a": 2, "b": 4, "c": 1}, reserved=[3])
    assert found == {"a": 1, "b": 4, "c": 2}
    with pytest.raises(ExhaustedError):
        allot(slots, ["a", "b", "c", "d"], reserved=[3])


def test_numbers_do_not_depend_on_the_process() -> None:
    assert Slots("node", 16, 0x7FFFFFFF).preferred("web1") == 147968604


def test_host_slots() -> None:
    def hosts(text: str) -> tuple[str, str]:
        subnet = ip_network(text)
        slots = host_slots("x", subnet)
        base = int(subnet.network_address)
        return str(subnet[slots.first - base]), str(subnet[slots.last - base])

    assert hosts("10.0.0.0/24") == ("10.0.0.2", "10.0.0.254")
    assert hosts("10.0.0.0/30") == ("10.0.0.2", "10.0.0.2")
    assert hosts("10.0.0.0/31") == ("10.0.0.1", "10.0.0.1")
    assert hosts("fd00::/126") == ("fd00::2", "fd00::3")
    assert hosts("fd00::5/128") == ("fd00::5", "fd00::5")


def test_placed() -> None:
    assert [placed(f"web{i}", 3) for i in range(1, 6)] == [0, 1, 2, 0, 1]
    assert placed("r2-uplink", 3) == 1
    assert all(0 <= placed(name, 7) < 7 for name in ("gateway", "fw", "a-b"))


def text_of(chassis: list[str], networks: list[str], nodes: dict[str, str]) -> str:
    lines = ["name: lab", "chassis:", *(f"  {name}: {{}}" for name in chassis), "networks:"]
    for name in networks:
        number = 5000 + int(name[1:])
        lines.append(f"  {name}: {{segment: {{nvgre: {number}}}, subnets: [10.0.0.0/26, 'fd00::/64']}}")
    lines += ["nodes:", *(f"  {name}: {{network: {network}}}" for name, network in nodes.items())]
    return "\n".join(lines)


@st.composite
def two_files(draw: st.DrawFn) -> tuple[str, str]:
    """A file, and one with more in it, in any order."""
    chassis = draw(st.lists(st.integers(1, 30), min_size=1, max_size=8, unique=True))
    networks = draw(st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True))
    nodes = draw(st.dictionaries(st.integers(1, 99), st.sampled_from(networks), max_size=30))
    less_chassis = draw(st.integers(1, len(chassis)))
    kept = {f"a{n}": f"n{network}" for n, network in nodes.items() if network == networks[0] or draw(st.booleans())}
    everything = {f"a{n}": f"n{network}" for n, network in nodes.items()}
    few = text_of([f"h{n}" for n in chassis[:less_chassis]], sorted({*kept.values(), f"n{networks[0]}"}), kept)
    shuffled = draw(st.permutations(list(everything)))
    more_chassis = draw(st.permutations([f"h{n}" for n in chassis]))
    many = text_of(more_chassis, [f"n{n}" for n in networks], {name: everything[name] for name in shuffled})
    return few, many


def numbers(model: Model) -> dict[str, object]:
    found: dict[str, object] = {f"chassis {c.name}": (c.id, c.vtep, c.mac) for c in model.chassis.values()}
    found |= {f"network {n.name}": n.id for n in model.networks.values()}
    found |= {f"node {n.name}": (n.id, n.chassis) for n in model.nodes.values()}
    found |= {f"port {p.name}": (p.id, p.ofport, p.mac, p.addresses) for p in model.ports.values()}
    return found


@settings(max_examples=60, deadline=None)
@given(two_files())
def test_a_longer_file_changes_nothing_of_a_running_lab(files: tuple[str, str]) -> None:
    few, many = files
    before = parse(few, "few")
    after = parse(many, "many", before)
    kept = numbers(after)
    assert {key: kept[key] for key in numbers(before)} == numbers(before)
    assert parse(many, "many", after) == after
    assert parse(few, "few", after) == before


@settings(max_examples=60, deadline=None)
@given(two_files())
def test_a_longer_file_alone_changes_no_number_of_a_large_space(files: tuple[str, str]) -> None:
    """Without a running lab too: two hashes of 31 or 48 bits do not meet."""
    few, many = (parse(text, "file") for text in files)
    for kind in ("chassis", "networks", "nodes", "ports"):
        before, after = getattr(few, kind), getattr(many, kind)
        assert {name: after[name].id for name in before} == {name: thing.id for name, thing in before.items()}
    assert {name: many.ports[name].mac for name in few.ports} == {name: port.mac for name, port in few.ports.items()}


@settings(max_examples=30, deadline=None)
@given(two_files())
def test_everything_is_distinct(files: tuple[str, str]) -> None:
    model = parse(files[1], "many")
    ports = list(model.ports.values())
    assert len({port.id for port in ports}) == len(ports)
    assert len({(port.chassis, port.ofport) for port in ports}) == len(ports)
    assert len({*(port.mac for port in ports), *(c.mac for c in model.chassis.values())}) == len(ports) + len(
        model.chassis
    )
    assert len({(port.network, ip) for port in ports for ip in port.ips}) == 2 * len(ports)
    assert len({c.vtep for c in model.chassis.values()}) == len(model.chassis)
