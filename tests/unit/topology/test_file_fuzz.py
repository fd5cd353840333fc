"""The fuzzer for topology files: whatever is in one, the answer is a Model or a FileError with places in the file."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from datapath.errors import FileError
from sdn.model import Model
from sdn.topology import parse

EXAMPLES = sorted((Path(__file__).parents[3] / "topologies").glob("*.yaml"))
TEXTS = [path.read_text() for path in EXAMPLES if path.stem not in ("scale100", "fleet")]

HOSTILE = [
    "[1-9]", "[9-1]", "[1-99999999999]", "[0-0]", "*", "&a", "*a", "<<: *a", "{}", "[]", "{", "}", "[", "]", ":", "- ",
    "\t", "\x00", "\u2028", "\ufeff", "é", "\U0001f600", "'", '"', "|", ">", "#", "%", "!!binary", "!!set", "? ", "~",
    "null", "true", "-1", "0", "1e400", ".inf", ".nan", "0x10", "99999999999999999999999999", "10.0.0.0/0", "::/0",
    "255.255.255.255", "::ffff:1.2.3.4", "fe80::1%eth0", "02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "4294967295",
    "\n", "\n  ", "name", "chassis", "network", "trunk", "native", "subnet", "mtu: ", "ip: ", "mac: ", "ports: ",
    "physnet", "vlan: ", "flat: ", "place: pack", "underlay: ", "groups: [a]", "٣", "²",
    "segment: local", "forward: isolated", "forward: {nat: office}", "macvlan: bridge", "datapath: linux",
    "power: off", "memory: 1G", "memory: 0", "cpus: ", "image: /", "kernel: {image: /dev/null}", "nics: ", "dhcp: true",
    "volumes: [a, a]", "devices: '00:00.0'", "cloud: {}", "ssh_keys: /", "anti_affinity: a",
]  # fmt: skip
"""Pieces that have meant something to some parser."""


LINE_BREAKS = ("\n", "\r", "\x85", "\u2028", "\u2029")


def expect_answer(text: str) -> Model | FileError:
    """A model, or what is wrong in the file, by places that are in it."""
    try:
        return parse(text, "fuzz.yaml")
    except FileError as error:
        return checked(error, sum(map(text.count, LINE_BREAKS)) + 2)


def checked(error: FileError, lines: int) -> FileError:
    assert error.problems
    assert all(1 <= problem.line <= lines and problem.column >= 1 for problem in error.problems)
    assert all(problem.message and problem.message.isprintable() for problem in error.problems)
    return error


@settings(max_examples=300, deadline=None)
@given(st.text())
@example("name: !!timestamp x")
@example("? {a: b}\n: c")
@example("name: 2001-99-99\nchassis: {h: {}}")
@example("&a name: *a")
@example("<<: 3")
@example("<<: [1, {name: x}]")
@example("chassis: [[[]]]")
@example("name: x\nchassis: {h: }\nnodes: {'²': {}}")
def test_any_text(text: str) -> None:
    expect_answer(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(HOSTILE), max_size=30).map("".join))
def test_any_soup_of_syntax(text: str) -> None:
    expect_answer(text)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 2, 5, 20])))
        piece = draw(st.sampled_from(HOSTILE) | st.text(max_size=5) | st.just(text[end : end + 30]))
        text = text[:start] + piece + text[end:]
    return text


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_mutations_of_the_examples(text: str) -> None:
    expect_answer(text)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(HOSTILE) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(HOSTILE), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "name", "chassis", "underlay", "physnets", "networks", "routers", "security_groups", "nodes", "guests", "tests",
    "segment", "vxlan", "nvgre", "vlan", "flat", "physnet", "subnet", "subnets", "mtu", "network", "trunk", "ports",
    "ip", "mac", "allowed_addresses", "from", "to", "ping", "tcp", "within", "native", "20", "100-102", "web",
    "web[1-3]", "hv1", "datapath", "addresses", "interface", "gateway", "forward", "nat", "macvlan", "spoof_guard",
    "nics", "dhcp", "memory", "cpus", "image", "kernel", "initrd", "volumes", "cloud", "user_data", "devices", "power",
    "anti_affinity",
]  # fmt: skip
shaped = st.recursive(plain, lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=6), max_leaves=40)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS[:10]), shaped))
@example({"nodes": {"n": {"trunk": {"allowed_addresses": {}}}}})
@example({"nodes": {"n": {"ports": [{"trunk": {"ports": {}}}]}}, "guests": {"kernel": {"cloud": {}, "nics": [{}]}}})
def test_any_values_under_known_keys(data: dict[str, object]) -> None:
    """JSON is YAML, apart from its infinities."""
    import json

    expect_answer(json.dumps(data, ensure_ascii=False))
