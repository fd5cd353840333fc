"""Random topology files, and what the intent alone says about reachability: the yardstick of pipeline and packets."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from sdn.model import Model, Port
from sdn.topology import parse

CHASSIS = ("hv1", "hv2", "hv3")
NETWORKS = ("red", "green", "blue", "grey")
NODES = tuple(f"n{number}" for number in range(1, 9))
PHYSNET = "office"
KINDS = ("vxlan", "nvgre", "geneve", "vlan", "local")
WITHOUT_GRE = tuple(kind for kind in KINDS if kind != "nvgre")
"""For Linux chassis: few kernels without modules have gretap. tests/machine has one that does."""


def walk(steps: int) -> settings:
    """For a lab that goes from topology to topology: the same ones each time, none of them twice."""
    return settings(
        deadline=None,
        max_examples=steps,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def files(
    draw: st.DrawFn,
    *,
    families: tuple[str, ...] = ("4", "6", "46"),
    nodes_at_least: int = 0,
    kinds: tuple[str, ...] = KINDS,
    linux: bool = False,
    machine: bool = False,
    guests: bool = False,
) -> dict[str, Any]:
    """A valid topology file as data: up to 3 chassis, 4 networks of every kind, 8 nodes with access and trunk ports.

    `linux`: some chassis are Linux ones, with gateways, addresses of their own and macvlan. `machine`: the physical
    network has an interface of the machine. `guests`: some of the nodes are QEMU machines.
    """
    names = draw(st.lists(st.sampled_from(CHASSIS), min_size=1, max_size=3, unique=True).map(sorted))
    switches = {name: draw(st.sampled_from(["ovs", "linux"])) if linux else "ovs" for name in names}
    chassis = {name: _chassis(names.index(name), switch) for name, switch in switches.items()}
    homes: dict[str, str] = {}
    """Of local networks."""
    networks = {
        name: draw(_network((number, name), kinds, families, switches, homes))
        for number, name in enumerate(draw(st.lists(st.sampled_from(NETWORKS), min_size=1, unique=True)), start=1)
    }
    on = {name: draw(_there(name, switch, networks, homes)) for name, switch in switches.items()}
    nodes: dict[str, dict[str, Any]] = {}
    machines: dict[str, dict[str, Any]] = {}
    for name in draw(st.lists(st.sampled_from(NODES), min_size=nodes_at_least, unique=True)):
        where = draw(st.sampled_from(names))
        if on[where]:
            ports = draw(_ports(on[where]))
            if guests and draw(st.booleans()) and not any(_is_device(port) for port in ports):
                machines[name] = {"chassis": where, "nics": draw(_nics(ports)), **draw(_hardware(name))}
            else:
                nodes[name] = {"chassis": where, "ports": ports}
    physnet = {"interface": "eth7", "addresses": "move"} if machine else {}
    if any("addresses" in each for each in chassis.values()):
        physnet["gateway"] = "198.51.100.1"
    physnets = {"physnets": {PHYSNET: physnet}} if physnet else {}
    found = {"name": "random", "chassis": chassis, **physnets, "networks": networks, "nodes": nodes}
    return {**found, "guests": machines} if machines else found


def _chassis(number: int, switch: str) -> dict[str, Any]:
    if switch == "ovs":
        return {}
    return {"datapath": switch, "physnets": [PHYSNET], "addresses": {PHYSNET: f"198.51.100.{10 + number}/24"}}


@st.composite
def _network(
    draw: st.DrawFn,
    which: tuple[int, str],
    kinds: tuple[str, ...],
    families: tuple[str, ...],
    switches: dict[str, str],
    homes: dict[str, str],
) -> dict[str, Any]:
    (number, name), kind = which, draw(st.sampled_from(kinds))
    segment: Any = {kind: (5000 if kind == "nvgre" else 100) + number}
    if kind == "vlan":
        segment["physnet"] = PHYSNET
    family = draw(st.sampled_from(families))
    subnets = {"4": f"10.{number}.0.0/24", "6": f"fd00:{number}::/64"}
    more: dict[str, Any] = {}
    if kind == "local":
        segment = kind
        homes[name] = draw(st.sampled_from(sorted(switches)))
        if switches[homes[name]] == "linux":
            forward = draw(st.sampled_from([None, "isolated", {"nat": PHYSNET}, {"routed": PHYSNET}]))
            family, more = ("4", {"forward": forward}) if forward else (family, {})
    if draw(st.integers(0, 4)) == 0:
        more["unknown_unicast"] = draw(st.sampled_from(["drop", "flood"]))
    return {"segment": segment, "subnets": [subnets[version] for version in family], "mtu": 1400, **more}


@st.composite
def _there(
    draw: st.DrawFn, chassis: str, switch: str, networks: dict[str, Any], homes: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """Networks that nodes of a chassis may have, and what their ports there have to say."""
    found: dict[str, dict[str, Any]] = {}
    for name, network in networks.items():
        macvlan = switch == "linux" and "vlan" in network["segment"] and draw(st.integers(0, 3)) == 0
        if homes.get(name, chassis) == chassis and not (switch == "linux" and "geneve" in network["segment"]):
            word, mode = draw(st.sampled_from(["macvlan", "macvtap"])), draw(st.sampled_from(["bridge", "private"]))
            found[name] = {word: mode, "spoof_guard": False} if macvlan else {}
    return found


@st.composite
def _ports(draw: st.DrawFn, networks: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One or two interfaces, an access port or a trunk each, no network twice on a trunk, none with macvlan."""
    ports: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 2))):
        chosen = draw(st.lists(st.sampled_from(list(networks)), min_size=1, max_size=3, unique=True))
        guard = {} if draw(st.integers(0, 5)) else {"spoof_guard": False}
        if len(chosen) == 1 or any(networks[name] for name in chosen):
            ports.append({"network": chosen[0], **guard, **networks[chosen[0]]})
        else:
            trunk: dict[Any, str] = {20 + tag: name for tag, name in enumerate(chosen[1:])}
            native = {"native": chosen[0]} if draw(st.booleans()) else {10: chosen[0]}
            ports.append({"trunk": {**native, **trunk}, **guard})
    return ports


def _is_device(port: dict[str, Any]) -> bool:
    return "macvlan" in port or "macvtap" in port


@st.composite
def _nics(draw: st.DrawFn, ports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**port, "dhcp": True} if "network" in port and draw(st.booleans()) else port for port in ports]


_HARDWARE: dict[str, list[Any]] = {
    "memory": ["112M", "2G", 1 << 28],
    "cpus": [1, 4],
    "kernel": [{"image": "/etc/hostname"}, {"image": "/etc/hostname", "initrd": "/etc/hosts", "append": "quiet ro"}],
    "devices": [[]],
    "power": ["on", "off", "paused"],
    "restart": ["never", "on-failure", "always"],
    "driver": ["qemu", "libvirt"],
}
_OF_AN_IMAGE: dict[str, list[Any]] = {
    "image": ["/etc/hostname"],
    "disk": ["10G"],
    "cloud": [{}, {"user": "me", "ssh_keys": ["ssh-rsa AAAA me", "ssh-ed25519 BBBB"]}, {"user_data": "/etc/hosts"}],
}


@st.composite
def _hardware(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Files that every machine has stand for images and kernels: the topology only looks whether they are there."""
    choices = {**_HARDWARE, **(_OF_AN_IMAGE if draw(st.booleans()) else {}), "volumes": [f"{name}-data"]}
    keys = draw(st.sets(st.sampled_from(sorted(choices))))
    if keys & _OF_AN_IMAGE.keys():
        keys.add("image")
    found = {key: draw(st.sampled_from(choices[key])) for key in sorted(keys)}
    if found.get("driver") != "libvirt" and draw(st.booleans()):
        found["migration"] = draw(st.sampled_from(["auto", "pre-copy", "stop-and-copy", "post-copy"]))
    return found


def model_of(file: dict[str, Any], previous: Model | None = None) -> Model:
    return parse(yaml.safe_dump(file, sort_keys=False), "random.yaml", previous)


def models() -> st.SearchStrategy[Model]:
    return files().map(model_of)


def intended(a: Port, b: Port) -> bool:
    """Whether packets of `a` are meant to reach `b`: the same network, and it is not the same interface's port.

    On one uplink only macvlan ports in mode bridge hear each other.
    """
    apart = a.macvlan and b.macvlan and a.chassis == b.chassis and {a.macvlan.mode, b.macvlan.mode} != {"bridge"}
    return a.network == b.network and a.name != b.name and not apart


def families(a: Port, b: Port) -> set[int]:
    """IP versions that both ports speak."""
    return {ip.version for ip in a.ips} & {ip.version for ip in b.ips}
