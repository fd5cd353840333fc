"""What somebody changed behind our back is found by notification, told, and put right without anybody's wish; `sdn up`
finds nothing to do then. A store that cannot be started is tried again until it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

import sdn.lab
from datapath.openflow.text import format_flow
from sdn.model.facts import Drift
from sdn.pipeline.fields import COOKIE_MARK
from tests.lab.conftest import Labs
from tests.lab.drifts import after, drifts, times
from tests.lab.labs import Lab, run
from tests.lab.pinger import pinging
from tests.lab.processes import daemon, eventually, kill, pid_of, whole

pytestmark = pytest.mark.lab

TOPOLOGY = """
chassis: {hv1: {}, hv2: {}, hv3: {datapath: linux}}
networks: {web: {segment: {vxlan: 7}, subnets: [10.9.0.0/24, "fd09::/64"]}}
nodes:
  a: {network: web, chassis: hv1}
  b: {network: web, chassis: hv2}
  c: {network: web, chassis: hv3}
"""


class Damage(NamedTuple):
    """What is done, and what is told of it: chassis, how, and what its description begins with."""

    do: Callable[[Lab], object]
    told: tuple[str, str, str]


def ip(node: str, *arguments: str) -> Callable[[Lab], object]:
    return lambda lab: run("ip", "-n", lab.namespace(node), *arguments)


def vsctl(*arguments: str) -> Callable[[Lab], object]:
    return lambda lab: lab.vsctl("hv1", *arguments)


DAMAGES = {
    "flows": Damage(lambda lab: lab.ofctl("hv1", "del-flows"), ("hv1", "removed", "6")),  # sixty-odd flows, such as
    "flow": Damage(
        lambda lab: lab.ofctl("hv1", "del-flows", "table=28,priority=0", "--strict"),
        ("hv1", "removed", "flow reply 0 any of chassis hv1 (lab.yaml:2:"),
    ),
    "actions": Damage(
        lambda lab: lab.ofctl("hv1", "mod-flows", "table=28,actions=drop"), ("hv1", "changed", "flows reply 50 ")
    ),
    "tunnel port": Damage(vsctl("del-port", "br-int", "vxlan"), ("hv1", "removed", "port vxlan of br-int")),
    "tunnel": Damage(
        vsctl("set", "interface", "vxlan", "options:key=5"),
        ("hv1", "changed", "port vxlan of br-int: options:key 5 instead of flow"),
    ),
    "bridge": Damage(vsctl("del-br", "br-int"), ("hv1", "removed", "bridge br-int")),
    "addresses": Damage(ip("b", "address", "flush", "dev", "eth0"), ("hv2", "removed", "address 10.9.0.")),
    "link-local address": Damage(
        ip("b", "-6", "address", "flush", "dev", "eth0", "scope", "link"), ("hv2", "removed", "address fe80::")
    ),
    "link": Damage(ip("b", "link", "set", "eth0", "down"), ("hv2", "changed", "interface b:eth0: down instead of up")),
    "mtu": Damage(
        ip("b", "link", "set", "eth0", "mtu", "1300"), ("hv2", "changed", "interface b:eth0: mtu 1300 instead of 14")
    ),
    "interface": Damage(ip("b", "link", "delete", "eth0"), ("hv2", "removed", "interface b:eth0")),
    "namespace": Damage(
        lambda lab: run("ip", "netns", "delete", lab.namespace("b")), ("hv2", "removed", "namespace of node b")
    ),
    "chassis": Damage(
        lambda lab: run("ip", "netns", "delete", lab.namespace("hv1")), ("hv1", "removed", "namespace of chassis hv1")
    ),
    "vtep": Damage(ip("hv1", "address", "flush", "dev", "br-underlay"), ("hv1", "removed", "address 172.31.0.")),
    "underlay": Damage(
        ip("hv1", "link", "set", "underlay0", "down"),
        ("hv1", "changed", "wire hv1:underlay: down instead of up"),
    ),
    "wires": Damage(ip("", "link", "delete", "underlay"), ("", "removed", "bridge underlay of the lab")),
    "route": Damage(ip("b", "route", "del", "10.9.0.0/24"), ("hv2", "removed", "route 10.9.0.0/24 dev eth0 of b:eth0")),
    "routes": Damage(
        ip("b", "route", "flush", "table", "main"), ("hv2", "removed", "route 10.9.0.0/24 dev eth0 of b:eth0")
    ),
    "routes of IPv6": Damage(
        ip("b", "-6", "route", "flush", "table", "main"),
        ("hv2", "removed", "route fd09::/64 dev eth0 of b:eth0 and route fe80::/64 dev eth0 of b:eth0"),
    ),
    "lo": Damage(ip("b", "link", "set", "lo", "down"), ("hv2", "changed", "interface b:lo: down instead of up")),
    "addresses of lo": Damage(
        ip("b", "address", "flush", "dev", "lo"), ("hv2", "removed", "address 127.0.0.1/8 of b:lo")
    ),
    "vtep's route": Damage(
        ip("hv1", "route", "flush", "table", "main"),
        ("hv1", "removed", "route 172.31.0.0/24 dev br-underlay of vtep of hv1"),
    ),
    "Linux address": Damage(ip("c", "address", "flush", "dev", "eth0"), ("hv3", "removed", "address 10.9.0.")),
    "Linux link-local address": Damage(
        ip("c", "-6", "address", "flush", "dev", "eth0", "scope", "link"), ("hv3", "removed", "address fe80::")
    ),
    "Linux bridge": Damage(ip("hv3", "link", "delete", "brv-web"), ("hv3", "removed", "")),
    "Linux tunnel": Damage(ip("hv3", "link", "delete", "vx-web"), ("hv3", "removed", "")),
    "Linux port": Damage(
        ip("hv3", "link", "set", "vx-web", "nomaster"),
        ("hv3", "changed", "vxlan:web on hv3: bridge none instead of br"),
    ),
    "Linux vtep": Damage(
        ip("hv3", "address", "flush", "dev", "underlay0"), ("hv3", "removed", "underlay address 172.31.0.")
    ),
    "Linux vtep's route": Damage(
        ip("hv3", "route", "flush", "table", "main"),
        ("hv3", "removed", "underlay route 172.31.0.0/24 dev underlay0 on hv3"),
    ),
    "Linux route": Damage(
        ip("c", "route", "flush", "table", "main"), ("hv3", "removed", "route 10.9.0.0/24 dev eth0 of c:eth0")
    ),
    "Linux firewall": Damage(
        lambda lab: lab.execute("hv3", "nft", "flush", "ruleset"),
        ("hv3", "changed", "firewall of hv3: tables none instead of 2"),
    ),
}


@pytest.fixture(scope="module")
def repaired(shared_lab: Labs) -> Lab:
    """A lab that is whole before and after each damage."""
    return shared_lab(TOPOLOGY)


@pytest.mark.parametrize("what", DAMAGES)
def test_it_is_found_told_and_put_right(what: str, repaired: Lab) -> None:
    damage = DAMAGES[what]
    chassis, how, words = damage.told

    def is_told(found: list[Drift]) -> bool:
        return any((each.chassis, each.how) == (chassis, how) and each.what.startswith(words) for each in found)

    found = after(repaired, lambda: damage.do(repaired), is_told)
    assert all(each.error == "" and each.found <= each.repaired for each in found)
    assert all(" instead of " in each.what for each in found if each.how == "changed" and "flows" not in each.what)
    for each in found:
        print(f"{each.chassis or 'lab'}: {each.what} {each.how}: {(each.repaired - each.found) * 1000:.0f} ms")
    repaired.settle()
    assert repaired.mesh() == []
    told = times(repaired)
    assert not repaired.up(TOPOLOGY).changed, "the file is the same"
    assert sdn.lab.status(repaired.name).troubles == ()
    assert times(repaired) == told, "there was nothing left to put right"


def test_flows_of_others_stay_and_are_not_told(repaired: Lab) -> None:
    before = times(repaired)
    theirs = "table=0,priority=7,cookie=0x77,dl_dst=02:00:00:00:00:09"
    repaired.ofctl("hv1", "add-flow", f"{theirs},actions=drop")
    repaired.ofctl("hv1", "mod-flows", "cookie=0x77/-1,actions=normal")
    assert 0x77 in {stats.flow.cookie for stats in repaired.flows("hv1")}
    after(repaired, lambda: DAMAGES["flow"].do(repaired))
    assert 0x77 in {stats.flow.cookie for stats in repaired.flows("hv1")}
    repaired.ofctl("hv1", "del-flows", "cookie=0x77/-1")
    after(repaired, lambda: DAMAGES["flow"].do(repaired))
    assert times(repaired) == before + 2


def test_a_flow_of_another_in_the_place_of_ours_is_told_until_it_is_gone(repaired: Lab) -> None:
    ours = next(stats.flow for stats in repaired.flows("hv1") if stats.flow.table == 28 and stats.flow.match)
    theirs = format_flow(ours._replace(cookie=0x77, actions=(), goto=None))
    before = times(repaired)
    repaired.ofctl("hv1", "add-flow", theirs)
    eventually(lambda: times(repaired) > before)
    drift = drifts(repaired)[-1]
    assert (drift.how, drift.repaired) == ("changed", 0)
    assert "is not ours and stays" in drift.error
    assert "is not ours and stays" in repaired.facts.flows["hv1"].error
    repaired.ofctl("hv1", "del-flows", "cookie=0x77/-1")
    eventually(lambda: bool(drifts(repaired)[-1].repaired))
    assert ours in {stats.flow for stats in repaired.flows("hv1")}
    assert repaired.facts.flows["hv1"].error == ""


def test_a_flow_that_claims_to_be_ours_goes(repaired: Lab) -> None:
    cookie = f"{COOKIE_MARK << 48 | 1 << 40 | 16:#x}"
    flow = f"table=40,priority=999,cookie={cookie},tcp,actions=drop"
    (drift,) = after(repaired, lambda: repaired.ofctl("hv1", "add-flow", flow))
    assert (drift.how, drift.what[:22]) == ("added", "flow forward 999 tcp o")


def test_a_route_that_came_in_the_place_of_a_connected_one_stays_behind_ours(repaired: Lab) -> None:
    theirs = "10.9.0.0/24 via 10.9.0.99 dev eth0"
    found = after(repaired, lambda: ip("b", "route", "replace", *theirs.split())(repaired))
    assert [each.what for each in found] == ["route 10.9.0.0/24 dev eth0 of b:eth0"]
    ours, *others = ip("b", "route", "show", "10.9.0.0/24")(repaired).splitlines()  # type: ignore[attr-defined]
    assert ours.startswith("10.9.0.0/24 dev eth0 proto kernel scope link src 10.9.0.")
    assert [other.strip() for other in others] == [theirs]
    assert repaired.mesh() == []
    ip("b", "route", "del", *theirs.split())(repaired)
    repaired.settle()
    assert not repaired.up(TOPOLOGY).changed


def test_a_switch_that_came_back_without_its_flows(repaired: Lab) -> None:
    (drift,) = after(repaired, lambda: kill(daemon(repaired, "hv1", "ovs-vswitchd")))
    assert (drift.how, drift.what[:1]) == ("lost", "6")
    assert repaired.mesh() == []


def test_a_controller_that_came_back_has_missed_nothing(repaired: Lab) -> None:
    before = times(repaired), len(drifts(repaired))
    kill(pid_of(repaired, "controller"), pid_of(repaired, "agent"))
    repaired.up(TOPOLOGY)
    assert times(repaired) == before[0]
    after(repaired, lambda: DAMAGES["flow"].do(repaired))
    after(repaired, lambda: DAMAGES["addresses"].do(repaired))
    assert len(drifts(repaired)) == before[1] + 2, "their keys are new ones"


MANY = """
chassis: {hv1: {}, hv2: {}}
networks: {web: {segment: {vxlan: 7}, subnets: [10.9.0.0/16]}}
nodes: {"a[1-60]": {network: web, place: spread}}
"""


def test_all_flows_are_deleted_while_traffic_runs(lab: Labs) -> None:
    """Again and again, by somebody with a script: that is one drift, and traffic goes on."""
    running = lab(MANY)
    before = {stats.flow for stats in running.flows("hv1")}
    with pinging(running, ("a1", "a2")) as (pinger,):
        for _ in range(5):
            (drift,) = after(running, lambda: running.ofctl("hv1", "del-flows"))
            assert drift.what.startswith(f"{len(before)} flows, such as ")
            print(f"{len(before)} flows: {(drift.repaired - drift.found) * 1000:.0f} ms")
        pings = pinger.stop()
    assert {stats.flow for stats in running.flows("hv1")} == before
    assert pings.gap < 0.5, pings


def test_a_store_that_cannot_be_started_is_tried_again(lab: Labs) -> None:
    """Its file is in the way of nobody but itself: a full disk, a repair."""
    running = lab(TOPOLOGY)
    file, away = running.run.path / "store.db", running.run.path / "store.db.away"
    file.rename(away)
    file.mkdir()
    kill(pid_of(running, "store"))
    eventually(lambda: "store cannot be started" in running.log("supervisor"))
    file.rmdir()
    away.rename(file)
    eventually(lambda: whole(running), within=15)


# Again and again


@pytest.mark.parametrize("what", DAMAGES)
def test_again_the_moment_it_is_put_right(what: str, repaired: Lab) -> None:
    """Three times in a row each is put right; nothing is left of the last one, whatever was remembered as right."""
    damage = DAMAGES[what]
    for _ in range(3):
        after(repaired, lambda: damage.do(repaired))
    repaired.settle()
    assert repaired.mesh() == []
    assert not repaired.up(TOPOLOGY).changed
    assert repaired.mesh() == []
