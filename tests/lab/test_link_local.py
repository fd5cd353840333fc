"""Link-local addresses of nodes: put back on every kind of device and after every way of losing them, and left as their
users have set them."""

from __future__ import annotations

import json

import pytest

from tests.lab.conftest import Labs
from tests.lab.drifts import after, times
from tests.lab.labs import Lab, run
from tests.lab.processes import eventually, kill, pid_of, stopped

pytestmark = pytest.mark.lab

TOPOLOGY = """
chassis: {hv1: {}, hv2: {datapath: linux}}
networks:
  web: {segment: {vxlan: 7}, subnets: [10.9.0.0/24, "fd09::/64"], mtu: 1400}
  db: {segment: {vxlan: 8}, subnets: [10.8.0.0/24], mtu: 1400}
nodes:
  a: {network: web, chassis: hv1}
  b: {network: web, chassis: hv2}
  c: {network: db, chassis: hv2}
  fw: {chassis: hv1, trunk: {native: web, 20: db}}
"""


@pytest.fixture(scope="module")
def running(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGY)


def link_locals(lab: Lab, node: str, device: str = "eth0") -> list[str]:
    shown = run("ip", "-n", lab.namespace(node), "-j", "-6", "address", "show", "dev", device, "scope", "link")
    return [address["local"] for each in json.loads(shown) for address in each.get("addr_info", ()) if address]


def lose(lab: Lab, node: str, device: str = "eth0", *scope: str) -> None:
    run("ip", "-n", lab.namespace(node), "-6", "address", "flush", "dev", device, *scope)


def sysctl(lab: Lab, node: str, setting: str, value: int) -> None:
    run("ip", "netns", "exec", lab.namespace(node), "sysctl", "-qw", f"net.ipv6.conf.eth0.{setting}={value}")


def own(lab: Lab, node: str) -> list[str]:
    return [str(lab.port(f"{node}:eth0").link_local)]


@pytest.mark.parametrize(("node", "device"), [("a", "eth0"), ("b", "eth0"), ("fw", "eth0"), ("fw", "eth0.20")])
def test_it_is_told_and_put_back(running: Lab, node: str, device: str) -> None:
    (drift,) = after(running, lambda: lose(running, node, device, "scope", "link"))
    address = own(running, node)[0]
    assert (drift.how, drift.what) == ("removed", f"address {address}/64 of {node}:{device}")
    eventually(lambda: link_locals(running, node, device) == [address])
    routes = run("ip", "-n", running.namespace(node), "-6", "route", "show", "dev", device, "fe80::/64")
    assert routes.startswith("fe80::/64 proto kernel metric 256")


def test_with_all_other_addresses_it_is_one_drift(running: Lab) -> None:
    (drift,) = after(running, lambda: run("ip", "-n", running.namespace("a"), "address", "flush", "dev", "eth0"))
    assert all(each in drift.what for each in ("address 10.9.0.", "address fd09::", "address fe80::"))
    eventually(lambda: link_locals(running, "a") == own(running, "a"))


def test_one_that_was_lost_while_nobody_listened_is_put_back(running: Lab) -> None:
    with stopped(pid_of(running, "supervisor")):
        kill(pid_of(running, "agent"))
        lose(running, "a", "eth0", "scope", "link")
        assert link_locals(running, "a") == []
    running.up(TOPOLOGY)
    eventually(lambda: link_locals(running, "a") == own(running, "a"))


def test_a_link_that_was_down_has_it_of_the_kernel(running: Lab) -> None:
    """What the kernel does by itself is nobody's doing."""
    namespace = running.namespace("a")
    found = after(running, lambda: run("ip", "-n", namespace, "link", "set", "eth0", "down"))
    assert [each.what for each in found] == ["interface a:eth0: down instead of up"]
    eventually(lambda: link_locals(running, "a") == own(running, "a"))


@pytest.mark.parametrize("mode", [1, 3], ids=["none", "random"])
def test_where_its_user_wants_none_of_the_mac_there_is_none(running: Lab, mode: int) -> None:
    sysctl(running, "b", "addr_gen_mode", mode)
    try:
        lose(running, "b", "eth0", "scope", "link")
        before = times(running)
        after(running, lambda: run("ip", "-n", running.namespace("b"), "link", "set", "eth0", "mtu", "1300"))
        running.up(TOPOLOGY)
        assert own(running, "b")[0] not in link_locals(running, "b")
        assert times(running) == before + 1, "of the MTU"
    finally:
        sysctl(running, "b", "addr_gen_mode", 0)
    eventually(lambda: link_locals(running, "b") != [])


def test_where_ipv6_is_disabled_there_is_none(running: Lab) -> None:
    before = times(running)
    sysctl(running, "c", "disable_ipv6", 1)
    try:
        after(running, lambda: run("ip", "-n", running.namespace("c"), "link", "set", "eth0", "mtu", "1300"))
        running.up(TOPOLOGY)
        assert link_locals(running, "c") == []
        assert (times(running), running.facts.hosts["hv2"].errors) == (before + 1, ()), "of the MTU"
    finally:
        sysctl(running, "c", "disable_ipv6", 0)
    eventually(lambda: link_locals(running, "c") == own(running, "c"))


def test_one_more_of_a_user_stays(running: Lab) -> None:
    theirs = ("fe80::77/64", "dev", "eth0", "nodad")
    run("ip", "-n", running.namespace("a"), "address", "add", *theirs)
    (drift,) = after(
        running,
        lambda: run("ip", "-n", running.namespace("a"), "address", "del", f"{own(running, 'a')[0]}/64", "dev", "eth0"),
    )
    assert drift.what == f"address {own(running, 'a')[0]}/64 of a:eth0"
    eventually(lambda: sorted(link_locals(running, "a")) == sorted(["fe80::77", *own(running, "a")]))
    before = times(running)
    run("ip", "-n", running.namespace("a"), "address", "del", "fe80::77/64", "dev", "eth0")
    running.up(TOPOLOGY)
    assert (link_locals(running, "a"), times(running)) == (own(running, "a"), before)
