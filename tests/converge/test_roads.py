"""A thousand changes by REST, by the command line and by whole files: the lab ends as if its last file had been applied
to nothing.

Each road reads what the others have done and goes on from there; what is expected in the end is kept beside them, as a
file's entries, and never read from the lab.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from datapath.openflow.flow import Flow
from datapath.openflow.text import Names, format_flow
from sdn.cli.main import main
from sdn.client import Client
from sdn.names import names
from sdn.pipeline.fields import Cookie, Kind
from tests.converge.truth import differences
from tests.lab.conftest import Labs
from tests.lab.labs import Lab

pytestmark = pytest.mark.lab

CHANGES, LOOKED_AT = 1_000, 250
SEED = 20261121
START = """
chassis: {hv1: {}, hv2: {}, hv3: {}}
networks:
  net1: {segment: {vxlan: 101}, subnets: [10.1.0.0/24, "fd01::/64"]}
  net2: {segment: {geneve: 102}, subnets: [10.2.0.0/24]}
  net3: {segment: {vlan: 103, physnet: office}, subnets: [10.3.0.0/24]}
nodes:
  a: {chassis: hv1, ports: [{network: net1}]}
  b: {chassis: hv2, ports: [{network: net1}]}
"""
NODES = [f"n{number}" for number in range(1, 25)]
CHASSIS = ("hv1", "hv2", "hv3")
SEGMENTS: tuple[Callable[[int], dict[str, Any]], ...] = (
    lambda number: {"vxlan": number},
    lambda number: {"geneve": number},
    lambda number: {"vlan": number, "physnet": "office"},
)

Change = tuple[str, str, dict[str, Any] | None]
"""Section, name, and the new entry; None where it goes."""


class Wanted:
    """The entries that the lab shall have, and the next change to them, by chance."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.entries: dict[str, Any] = yaml.safe_load(START)

    def change(self) -> Change:
        made = self.chance.choice([self._node] * 6 + [self._network, self._test])()
        section, name, entry = made
        found = self.entries.setdefault(section, {})
        if entry is None:
            del found[name]
        else:
            found[name] = deepcopy(entry)
        return made

    def _node(self) -> Change:
        name = self.chance.choice(NODES)
        if name in self.entries["nodes"] and self.chance.random() < 0.3:
            return "nodes", name, None
        networks = self.chance.sample(sorted(self.entries["networks"]), self.chance.randint(1, 3))
        ports = [self._port(name, index, network) for index, network in enumerate(networks)]
        return "nodes", name, {"chassis": self.chance.choice(CHASSIS), "ports": ports}

    def _port(self, node: str, index: int, network: str) -> dict[str, Any]:
        """Addresses are given: which are free does not depend on the road then."""
        host = 10 + 10 * NODES.index(node) + index
        found: dict[str, Any] = {"name": f"eth{index}", "network": network, "ip": [f"10.{network[3:]}.0.{host}"]}
        if network == "net1":
            found["ip"].append(f"fd01::{host:x}")
        if self.chance.random() < 0.3:
            found["spoof_guard"] = False
        if self.chance.random() < 0.3:
            found["allowed_addresses"] = [{"ip": f"10.{network[3:]}.0.{host + 1}"}]
        return found

    def _network(self) -> Change:
        """One that nobody uses comes or goes, or the MTU of one changes."""
        used = {port["network"] for node in self.entries["nodes"].values() for port in node["ports"]}
        name = self.chance.choice(("net4", "net5", "net6"))
        if name not in self.entries["networks"]:
            number = 100 + int(name[3:])
            segment = self.chance.choice(SEGMENTS)(number)
            return "networks", name, {"segment": segment, "subnets": [f"10.{name[3:]}.0.0/24"]}
        if name not in used:
            return "networks", name, None
        return "networks", name, {**self.entries["networks"][name], "mtu": self.chance.randint(1300, 1400)}

    def _test(self) -> Change:
        if "pair" in self.entries.get("tests", {}):
            return "tests", "pair", None
        return "tests", "pair", {"from": ["a"], "to": ["b"], "ping": "ok"}


class Roads:
    """The three ways to change the lab."""

    def __init__(self, lab: Lab, client: Client, home: Path) -> None:
        self.lab, self.client, self.home = lab, client, home

    def rest(self, change: Change) -> None:
        section, name, entry = change
        if entry is None:
            self.client.delete(section, name)
        else:
            self.client.replace(section, name, entry)

    def command(self, change: Change) -> None:
        section, name, entry = change
        there = any(each.name == name for each in self.client.list(section))
        if entry is None:
            words = ["delete", section, name]
        elif there:
            words = ["set", section, name, json.dumps(entry)]
        else:
            words = ["create", section, name, json.dumps(entry)]
        assert main([*words, "--lab", self.lab.name]) == 0, words

    def file(self, change: Change) -> None:
        """What runs, written out, edited, and applied."""
        file = self.home / "edited.yaml"
        assert main(["export", "topology", "--file", str(file), "--lab", self.lab.name]) == 0
        found = yaml.safe_load(file.read_text())
        section, name, entry = change
        if entry is None:
            del found[section][name]
        else:
            found.setdefault(section, {})[name] = entry
        file.write_text(yaml.safe_dump(found, sort_keys=False))
        assert main(["apply", str(file)]) == 0


def test_all_roads_lead_to_the_same(lab: Labs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running = lab(START)
    wanted = Wanted(random.Random(SEED))
    with Client.of(running.name) as client:
        roads = Roads(running, client, tmp_path)
        for number, road in zip(range(1, CHANGES + 1), _in_turn(roads, wanted.chance), strict=False):
            road(wanted.change())
            if number % LOOKED_AT == 0:
                client.replace("nodes", "a", wanted.entries["nodes"]["a"], wait="whole")
                assert differences(running) == [], number
        revisions = running.model.revision
    capsys.readouterr()
    assert revisions > CHANGES * 0.9, "few changes by chance change nothing"
    seen = _flows(running)
    running.down()
    running.up(yaml.safe_dump(wanted.entries, sort_keys=False))
    after = _flows(running)
    assert {chassis: (after[chassis] - seen[chassis], seen[chassis] - after[chassis]) for chassis in CHASSIS} == {
        chassis: (set(), set()) for chassis in CHASSIS
    }


def _in_turn(roads: Roads, chance: random.Random) -> Iterator[Callable[[Change], None]]:
    """By chance; a file in ten, since `sdn apply` waits until all is built."""
    while True:
        yield chance.choice([roads.rest] * 5 + [roads.command] * 4 + [roads.file])


def _flows(lab: Lab) -> dict[str, set[tuple[str, str]]]:
    """Of every switch but for what it learned, with names instead of numbers, and the object of each; where that is
    written may differ."""
    model, found = lab.model, {}
    for chassis in CHASSIS:
        known = names(model, chassis)
        ours = [stats.flow for stats in lab.flows(chassis) if _is_programmed(stats.flow)]
        found[chassis] = {(_words(flow, known), str(known.cookie(flow.cookie)).partition(" (")[0]) for flow in ours}
    return found


def _is_programmed(flow: Flow) -> bool:
    cookie = Cookie.unpack(flow.cookie)
    return cookie is not None and cookie.kind is not Kind.LEARNED


def _words(flow: Flow, known: Names) -> str:
    return format_flow(flow, known).partition("  # ")[0]
