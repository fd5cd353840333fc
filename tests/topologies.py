"""Random topology files, and what the intent alone says about reachability: the yardstick of pipeline and packets."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

from sdn.model import Model, Port
from sdn.topology import parse

CHASSIS = ("hv1", "hv2", "hv3")
NETWORKS = ("red", "green", "blue", "grey")
NODES = tuple(f"n{number}" for number in range(1, 9))
PHYSNET = "office"


@st.composite
def files(draw: st.DrawFn, *, families: tuple[str, ...] = ("4", "6", "46"), nodes_at_least: int = 0) -> dict[str, Any]:
    """A valid topology file as data: up to 3 chassis, 4 networks of every kind, 8 nodes with access and trunk ports."""
    chassis = draw(st.lists(st.sampled_from(CHASSIS), min_size=1, max_size=3, unique=True).map(sorted))
    networks = {
        name: draw(_network(number, families))
        for number, name in enumerate(draw(st.lists(st.sampled_from(NETWORKS), min_size=1, unique=True)), start=1)
    }
    nodes = {
        name: {"chassis": draw(st.sampled_from(chassis)), "ports": draw(_ports(list(networks)))}
        for name in draw(st.lists(st.sampled_from(NODES), min_size=nodes_at_least, unique=True))
    }
    return {"name": "random", "chassis": {name: {} for name in chassis}, "networks": networks, "nodes": nodes}


@st.composite
def _network(draw: st.DrawFn, number: int, families: tuple[str, ...]) -> dict[str, Any]:
    kind = draw(st.sampled_from(["vxlan", "nvgre", "geneve", "vlan"]))
    segment: dict[str, Any] = {kind: (5000 if kind == "nvgre" else 100) + number}
    if kind == "vlan":
        segment["physnet"] = PHYSNET
    family = draw(st.sampled_from(families))
    subnets = {"4": f"10.{number}.0.0/24", "6": f"fd00:{number}::/64"}
    network: dict[str, Any] = {"segment": segment, "subnets": [subnets[version] for version in family], "mtu": 1400}
    if draw(st.integers(0, 4)) == 0:
        network["unknown_unicast"] = draw(st.sampled_from(["drop", "flood"]))
    return network


@st.composite
def _ports(draw: st.DrawFn, networks: list[str]) -> list[dict[str, Any]]:
    """One or two interfaces, an access port or a trunk each, no network twice on a trunk."""
    ports: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 2))):
        chosen = draw(st.lists(st.sampled_from(networks), min_size=1, max_size=3, unique=True))
        guard = {} if draw(st.integers(0, 5)) else {"spoof_guard": False}
        if len(chosen) == 1:
            ports.append({"network": chosen[0], **guard})
        else:
            trunk: dict[Any, str] = {20 + tag: name for tag, name in enumerate(chosen[1:])}
            native = {"native": chosen[0]} if draw(st.booleans()) else {10: chosen[0]}
            ports.append({"trunk": {**native, **trunk}, **guard})
    return ports


def model_of(file: dict[str, Any], previous: Model | None = None) -> Model:
    return parse(yaml.safe_dump(file, sort_keys=False), "random.yaml", previous)


def models() -> st.SearchStrategy[Model]:
    return files().map(model_of)


def intended(a: Port, b: Port) -> bool:
    """Whether packets of `a` are meant to reach `b`: the same network, and it is not the same interface's port."""
    return a.network == b.network and a.name != b.name


def families(a: Port, b: Port) -> set[int]:
    """IP versions that both ports speak."""
    return {ip.version for ip in a.ips} & {ip.version for ip in b.ips}
