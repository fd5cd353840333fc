"""The switch of a Linux chassis by itself: what it programs, what it notices, what it leaves as it is.

What it does with frames is test_linux.py's. These tests hold in both forms of the kernel's bridges; some are run again
by test_kernel_linux_switch.py, where there is VLAN filtering.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

import sdn.topology
from datapath.agent import Agent
from datapath.linux.bridging import AWARE_BRIDGE
from datapath.spec import HostSpec, device_name, namespace
from sdn.compile import host_specs
from sdn.model import Model
from tests.lab.test_agent import Lab as Machine
from tests.lab.test_agent import lab as machine  # noqa: F401  a fixture
from tests.lab.test_agent import until
from tests.machine.pace import PATIENCE

pytestmark = pytest.mark.lab

TWO = """
name: NAME
chassis:
  hv[1-2]: {datapath: linux}
networks:
  web: {segment: {vxlan: 100}, subnets: [10.0.0.0/24, "fd00::/64"]}
  db: {segment: {vxlan: 200}, subnets: [10.0.1.0/24, "fd00:1::/64"], mtu: 1450}
nodes:
  web[1-2]: {network: web}
  web3: {network: web, chassis: hv1}
  fw: {chassis: hv1, trunk: {native: web, 20: db}}
  db2: {chassis: hv2, network: db}
"""
OFFICE = """
name: NAME
chassis:
  hv1: {datapath: linux}
physnets: {office: {}}
networks:
  desk: {segment: {vlan: 120, physnet: office}, subnets: [10.0.0.0/24]}
nodes:
  desk[1-2]: {network: desk}
"""

NEW_NETWORK = "  other: {segment: {vxlan: 300}, subnet: 10.9.0.0/24}\nnodes:"
NEW_NODES = """
  late: {chassis: hv2, network: web}
  new: {chassis: hv1, network: other}
  new2: {chassis: hv2, network: other}
"""
MANY = """
name: NAME
chassis:
  hv[1-2]: {datapath: linux}
networks:
  web: {segment: {vxlan: 100}, subnet: 10.0.0.0/22}
nodes:
  n[1-200]: {network: web, chassis: hv1}
  m1: {network: web, chassis: hv2}
"""


def model(machine: Machine, topology: str = TWO) -> Model:  # noqa: F811
    return sdn.topology.parse(topology.replace("NAME", machine.name), "lab.yaml")


def specs(machine: Machine, topology: str = TWO) -> dict[str, HostSpec]:  # noqa: F811
    """Everything ready: a Linux chassis has no flows to wait for."""
    made = model(machine, topology)
    return host_specs(made, set(made.ports))


async def up(machine: Machine, wanted: Mapping[str, HostSpec]) -> Agent:  # noqa: F811
    agent = machine.agent()
    await agent.apply(wanted)
    for state in machine.chassis_states().values():
        assert state.errors == (), state
    return agent


def shown(machine: Machine, chassis: str, *command: str) -> list[dict[str, Any]]:  # noqa: F811
    done = machine.inside(chassis, *command)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def entries(machine: Machine, chassis: str) -> dict[str, set[tuple[str, str]]]:  # noqa: F811
    """Of each device: MACs that do not age, with the vtep for those of the tunnel itself."""
    found: dict[str, set[tuple[str, str]]] = {}
    for entry in shown(machine, chassis, "bridge", "-json", "fdb"):
        if entry.get("state") == "static" or "dst" in entry:
            found.setdefault(entry["ifname"], set()).add((entry["mac"], entry.get("dst", "")))
    return found


def neighbours(machine: Machine, chassis: str) -> dict[str, str]:  # noqa: F811
    """Of the networks: who is answered for."""
    found = {}
    for version in ("-4", "-6"):
        for each in shown(machine, chassis, "ip", version, "-json", "neighbour", "show", "nud", "permanent"):
            if each["dev"] != "underlay0":
                found[each["dst"]] = each["lladdr"]
    return found


def everything(machine: Machine, chassis: str) -> object:  # noqa: F811
    """Devices, ports with their flags and VLANs, entries and neighbours; no counters, timers and what is learned."""
    links = {
        name: (each["ifindex"], each.get("master"), each["mtu"], each["address"], "UP" in each["flags"])  # type: ignore[operator]
        for name, each in machine.links(chassis).items()
    }
    ports = {
        each["ifname"]: {key: each[key] for key in ("learning", "flood", "isolated", "neigh_suppress")}
        for each in shown(machine, chassis, "bridge", "-json", "-details", "link")
        if "flood" in each
    }
    vlans = {each["ifname"]: each["vlans"] for each in shown(machine, chassis, "bridge", "-json", "vlan")}
    return links, ports, vlans, entries(machine, chassis), neighbours(machine, chassis)


# ── what is programmed ──


async def test_every_address_is_where_it_is(machine: Machine) -> None:  # noqa: F811
    """RFC 7348's forwarding tables: MACs at ports, MACs behind vteps, and a copy of the rest to each vtep."""
    made = model(machine)
    await up(machine, specs(machine))
    found = entries(machine, "hv1")
    web2, db2 = made.ports["web2:eth0"], made.ports["db2:eth0"]
    vtep = str(made.chassis["hv2"].vtep.ip)
    everyone = ("00:00:00:00:00:00", vtep)
    assert found["vx-web"] == {everyone, (str(web2.mac), vtep), (str(web2.mac), "")}
    assert found["vx-db"] == {everyone, (str(db2.mac), vtep), (str(db2.mac), "")}
    for node in ("web1", "web3", "fw"):
        (mac,) = {str(port.mac) for port in made.ports.values() if port.node == node}
        assert (mac, "") in found[device_name("p", node, "eth0")]


async def test_who_is_asked_for_is_known(machine: Machine) -> None:  # noqa: F811
    """All addresses of the networks here, on both sides, with the link-local ones of those that speak IPv6."""
    made = model(machine)
    await up(machine, specs(machine))
    expected = {str(ip): str(port.mac) for port in made.ports.values() for ip in (*port.ips, port.link_local)}
    assert neighbours(machine, "hv1") == expected


async def test_nothing_is_learned_and_nothing_unknown_floods(machine: Machine) -> None:  # noqa: F811
    await up(machine, specs(machine))
    for each in shown(machine, "hv1", "bridge", "-json", "-details", "link"):
        if each["ifname"] != AWARE_BRIDGE and "flood" in each:
            tunnel = each["ifname"].startswith("vx-")
            assert (each["learning"], each["flood"], each["neigh_suppress"]) == (False, False, tunnel), each["ifname"]


async def test_an_uplink_learns_so_much_and_no_more(machine: Machine) -> None:  # noqa: F811
    await up(machine, specs(machine, OFFICE))
    links = shown(machine, "hv1", "bridge", "-json", "-details", "link")
    learning = {each["ifname"] for each in links if each.get("learning")}
    assert learning <= {device_name("up-", "office"), f"{device_name('up-', 'office')}.120"}
    assert learning
    notes = machine.chassis_states()["hv1"].notes
    shows = machine.inside("hv1", "ip", "-details", "link", "show", "type", "bridge").stdout
    assert "fdb_max_learned 4096" in shows or any("have no limit" in note for note in notes) or kernel_has_limit()


def kernel_has_limit() -> bool:
    """iproute2 may be older than the kernel, and not show it."""
    import platform

    major, minor = (int(part) for part in platform.release().split(".")[:2])
    return (major, minor) >= (6, 7)


# ── twice, and by another agent ──


async def test_again_and_by_another_agent_nothing_is_sent(machine: Machine) -> None:  # noqa: F811
    agent = await up(machine, specs(machine))
    work, before = agent.work, everything(machine, "hv1")
    await agent.apply(specs(machine))
    assert agent.work == work
    machine.close()
    adopting = await up(machine, specs(machine))
    assert adopting.work == (0, 0)
    assert everything(machine, "hv1") == before


async def test_what_a_dead_agent_left_of_another_wish_goes(machine: Machine) -> None:  # noqa: F811
    await up(machine, specs(machine))
    machine.close()
    smaller = TWO.replace("  fw: {chassis: hv1, trunk: {native: web, 20: db}}\n", "")
    await up(machine, specs(machine, smaller))
    names = set(machine.links("hv1"))
    assert "vx-db" not in names
    assert not [each for each in machine.links("hv1").values() if ":fw:" in str(each.get("ifalias"))]
    fresh = everything(machine, "hv2")
    await machine.agents[-1].apply(specs(machine))
    await machine.agents[-1].apply(specs(machine, smaller))
    assert everything(machine, "hv2") == fresh


async def test_what_comes_and_goes_leaves_the_others_alone(machine: Machine) -> None:  # noqa: F811
    """Back where it was, no device of another network or node is another one, and its entries were never away."""
    agent = await up(machine, specs(machine))
    before = everything(machine, "hv1")
    more = TWO.replace("nodes:", NEW_NETWORK) + NEW_NODES
    await agent.apply(specs(machine, more))
    assert machine.inside("web1", "ping", "-c1", "-W1", address(machine, "web2")).returncode == 0
    assert "vx-other" in machine.links("hv1")
    await agent.apply(specs(machine))
    assert everything(machine, "hv1") == before


def address(machine: Machine, node: str) -> str:  # noqa: F811
    (found,) = [str(port.ips[0]) for port in model(machine).ports.values() if port.node == node]
    return found


async def test_a_chassis_changes_its_kind(machine: Machine) -> None:  # noqa: F811
    """Its namespace is made anew, so that nothing of the other kind is left."""
    agent = await up(machine, specs(machine))
    ovs = TWO.replace("{datapath: linux}", "{}")
    await agent.apply(specs(machine, ovs))
    ours = {name for name, each in machine.links("hv1").items() if each.get("ifalias")}
    assert ours - {"br-underlay"} == {"lo", "underlay0"} | {
        device_name("p", node, "eth0") for node in ("web1", "web3", "fw")
    }
    await agent.apply(specs(machine))
    assert machine.inside("web1", "ping", "-c1", "-W1", address(machine, "web2")).returncode == 0


@pytest.mark.parametrize("restarted", [False, True], ids=["same agent", "new agent"])
async def test_a_trunk_becomes_an_access_port(machine: Machine, restarted: bool) -> None:  # noqa: F811
    """No program is left that would take its tagged frames, and no device of theirs."""
    agent = await up(machine, specs(machine))
    port = device_name("p", "fw", "eth0")
    if restarted:
        machine.close()
        agent = machine.agent()
    await agent.apply(specs(machine, TWO.replace("trunk: {native: web, 20: db}", "network: web")))
    assert not [name for name in machine.links("hv1") if name.startswith(("tag-", "v")) and not name.startswith("vx-")]
    assert "bpf" not in machine.inside("hv1", "tc", "filter", "show", "dev", port, "ingress").stdout
    assert machine.inside("fw", "ping", "-c1", "-W1", address(machine, "web2")).returncode == 0
    work = agent.work
    await agent.apply(specs(machine, TWO.replace("trunk: {native: web, 20: db}", "network: web")))
    assert agent.work == work


# ── what is changed behind our back ──

DAMAGE = {
    "entries of a bridge are flushed": "bridge fdb flush dev PORT master static",
    "a tunnel's entries are gone": "bridge fdb del 00:00:00:00:00:00 dev vx-web dst VTEP",
    "a neighbour is gone": "ip neighbour del ADDRESS dev HOME",
    "a port is taken out": "ip link set PORT nomaster",
    "a port is set down": "ip link set PORT down",
    "a port floods": "bridge link set dev PORT flood on learning on",
    "a tunnel does not suppress": "bridge link set dev vx-web neigh_suppress off",
    "a tunnel is deleted": "ip link delete vx-web",
    "the bridge is deleted": "ip link delete BRIDGE",
    "the bridge is set down": "ip link set BRIDGE down",
    "the vtep's address is gone": "ip address flush dev underlay0",
    "the MTU of the bridge": "ip link set BRIDGE mtu 1000",
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_put_right_without_being_asked(machine: Machine, damage: str) -> None:  # noqa: F811
    """The kernel tells of it, and what traffic needs is there again."""
    await expect_repaired(machine, DAMAGE[damage])


async def expect_repaired(machine: Machine, command: str) -> None:  # noqa: F811
    agent = await up(machine, specs(machine))
    before = everything(machine, "hv1")
    port = device_name("p", "web1", "eth0")
    bridge = str(machine.links("hv1")[port]["master"])
    (home,) = {
        each["dev"]
        for each in shown(machine, "hv1", "ip", "-json", "neighbour", "show", "nud", "permanent")
        if each["dst"] == address(machine, "web1")
    }
    vid = home.rpartition(".")[2]
    places = {"PORT": port, "BRIDGE": bridge, "HOME": home, "VTEP": str(model(machine).chassis["hv2"].vtep.ip)}
    places |= {"VID": vid, "ADDRESS": address(machine, "web2")}
    for name, value in places.items():
        command = command.replace(name, value)
    done = machine.inside("hv1", *command.split())
    if command.startswith("bridge fdb flush") and done.returncode:  # an older iproute2
        mac = model(machine).ports["web1:eth0"].mac
        vlan = ["vlan", vid] if bridge == AWARE_BRIDGE else []
        done = machine.inside("hv1", "bridge", "fdb", "del", str(mac), "dev", port, "master", *vlan)
    assert done.returncode == 0, done.stderr
    await until(lambda: pings(machine), 5 * PATIENCE)
    await until(lambda: alike(machine, before), 5 * PATIENCE)
    assert machine.chassis_states()["hv1"].errors == ()
    await agent.apply(specs(machine))
    work = agent.work
    await agent.apply(specs(machine))
    assert agent.work == work


def pings(machine: Machine) -> bool:  # noqa: F811
    machine.inside("web1", "ip", "neighbour", "flush", "all")
    return machine.inside("web1", "ping", "-c1", "-W1", address(machine, "web2")).returncode == 0


def alike(machine: Machine, before: object) -> bool:  # noqa: F811
    """But for the indexes of devices that were made anew, and what ports had MACs of their own."""
    return _but_for_indexes(everything(machine, "hv1")) == _but_for_indexes(before)


def _but_for_indexes(state: Any) -> object:
    links, *rest = state
    return {name: (each[1], each[2], each[4]) for name, each in links.items()}, *rest


async def test_a_foreign_device_is_left_alone(machine: Machine) -> None:  # noqa: F811
    """One where ours would be is an error; the rest goes on, and when it is gone ours is made."""
    agent = machine.agent()
    await agent.apply(specs(machine, TWO.replace("  fw: {chassis: hv1, trunk: {native: web, 20: db}}\n", "")))
    assert machine.inside("hv1", "ip", "link", "add", "vx-db", "type", "bridge").returncode == 0
    await agent.apply(specs(machine))
    assert any("vx-db" in e or "vxlan:db" in e for e in machine.chassis_states()["hv1"].errors)
    assert machine.links("hv1")["vx-db"]["linkinfo"]["info_kind"] == "bridge"  # type: ignore[index]
    assert machine.inside("fw", "ping", "-c1", "-W1", address(machine, "web2")).returncode == 0
    assert machine.inside("hv1", "ip", "link", "delete", "vx-db").returncode == 0
    await agent.apply(specs(machine))
    assert machine.chassis_states()["hv1"].errors == ()


async def test_what_a_foreign_tunnel_and_port_have_is_left_alone(machine: Machine) -> None:  # noqa: F811
    """They are of kinds that ours could be: entries stay, and no bridge of ours takes them."""
    agent = machine.agent()
    port = device_name("p", "fw", "eth0")
    await agent.apply(specs(machine, TWO.replace("  fw: {chassis: hv1, trunk: {native: web, 20: db}}\n", "")))
    for command in (
        "ip link add vx-db type vxlan id 999 dstport 4790",
        "ip link set vx-db alias mine up",
        "bridge fdb append 00:00:00:00:00:00 dev vx-db dst 192.0.2.9",
        f"ip link add {port} type veth peer name theirs",
        f"ip link set {port} alias mine up",
    ):
        assert machine.inside("hv1", *command.split()).returncode == 0, command
    before = {name: machine.links("hv1")[name] for name in ("vx-db", port)}
    await agent.apply(specs(machine))
    assert {name: machine.links("hv1")[name] for name in before} == before
    assert entries(machine, "hv1")["vx-db"] == {("00:00:00:00:00:00", "192.0.2.9")}
    assert machine.chassis_states()["hv1"].errors


# ── times ──


async def test_how_long_many_nodes_take(machine: Machine) -> None:  # noqa: F811
    wanted = specs(machine, MANY)
    times = [time.monotonic()]
    agent = await up(machine, wanted)
    times.append(time.monotonic())
    await agent.apply(wanted)
    times.append(time.monotonic())
    machine.close()
    adopting = machine.agent()
    await adopting.apply(wanted)
    times.append(time.monotonic())
    start, made, again, adopted = times
    print(f"200 nodes: made {made - start:.3f} s, again {again - made:.4f} s, adopted {adopted - again:.3f} s")
    assert adopting.work == (0, 0)
    assert namespace(machine.name, "n200") in machine.namespaces()
    assert made - start < 20 * PATIENCE
