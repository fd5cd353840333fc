"""Specs made again and again equal those made at once, and are the same objects where nothing has changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datapath.linux.legs import legs_of, networks_of
from datapath.spec import Machine
from sdn.compile import Specs, host_specs
from sdn.model import Guest, Model
from sdn.model.facts import Facts, GuestFacts, PortFacts
from sdn.model.moves import located
from tests.topologies import files, model_of


@settings(deadline=None, max_examples=60)
@given(st.lists(files(), min_size=2, max_size=5), st.data())
def test_specs_as_the_model_changes_equal_those_made_at_once(states: list[dict[str, Any]], data: st.DataObject) -> None:
    specs, model = Specs(), None
    for state in states:
        model = model_of(state, previous=model)
        ready = data.draw(st.sets(st.sampled_from(sorted(model.ports)))) if model.ports else set()
        found = specs.update(model, ready)
        assert found == host_specs(model, ready)
        again = specs.update(moved_in_its_file(model), ready)
        assert all(again[name] is spec for name, spec in found.items()), "nothing but places in the file differs"


def moved_in_its_file(model: Model) -> Model:
    ports = {
        name: replace(port, source=replace(port.source, line=port.source.line + 1))
        for name, port in model.ports.items()
    }
    return replace(model, ports=ports)


@settings(deadline=None, max_examples=40)
@given(files(), st.data())
def test_a_port_that_becomes_ready_changes_its_own_node_only(file: dict[str, Any], data: st.DataObject) -> None:
    model = model_of(file)
    if not model.ports:
        return
    port = model.ports[data.draw(st.sampled_from(sorted(model.ports)))]
    specs = Specs()
    before = specs.update(model, model.ports.keys() - {port.name})
    after = specs.update(model, model.ports.keys())
    nodes = {node.name: node for spec in before.values() for node in spec.nodes}
    others = [node for spec in after.values() for node in spec.nodes if node.name != port.node]
    assert all(node is nodes[node.name] for node in others)
    assert all(spec is before[name] for name, spec in after.items() if name != port.chassis)


def test_a_trunk_has_the_mtu_of_its_native_network_else_the_largest_of_its_tagged_ones() -> None:
    networks = {"red": {"segment": {"vxlan": 1}, "mtu": 1400}, "blue": {"segment": {"vxlan": 2}, "mtu": 1300}}
    trunks = {"a": {"native": "red", 20: "blue"}, "b": {10: "red", 20: "blue"}}
    nodes = {name: {"trunk": trunk} for name, trunk in trunks.items()}
    model = model_of({"name": "random", "chassis": {"hv1": {}}, "networks": networks, "nodes": nodes})
    found = {node.name: node.interfaces[0] for node in host_specs(model, ())["hv1"].nodes}
    assert {name: interface.mtu for name, interface in found.items()} == {"a": 1400, "b": 1400}
    assert {vlan.tag: vlan.mtu for vlan in found["b"].vlans} == {10: 1400, 20: 1300}


def moving(at: str, leaves: str = "", goes: str = "") -> tuple[Model, Facts]:
    """A guest that shall be on hv2, as its chassis and a Linux one see it."""
    file = {
        "name": "random",
        "chassis": {"hv1": {}, "hv2": {"datapath": "linux"}, "hv3": {"datapath": "linux"}},
        "networks": {"red": {"segment": {"vxlan": 100}, "subnet": "10.0.0.0/24"}},
        "nodes": {"g": {"chassis": "hv2", "network": "red"}, "a": {"chassis": "hv3", "network": "red"}},
    }
    model = model_of(file)
    model = replace(model, guests={"g": Guest("g", Machine(128 << 20), (), model.nodes["g"].source)})
    facts = Facts({}, {}, {"g:eth0": PortFacts(True, 99)}, {"g": GuestFacts("moving", at, goes, leaves)})
    return located(model, facts), facts


def test_a_guest_that_moves_is_on_both_chassis_and_the_same_on_each_before_and_after_the_switch() -> None:
    """What the hosts have does not change at the moment when its frames are redirected, but for where they go."""
    before, after = (host_specs(moving(*facts)[0], {"g:eth0"}, {"g:eth0"}) for facts in (("hv1",), ("hv2", "hv1")))
    for specs in (before, after):
        (leaving,), (coming,) = specs["hv1"].guests, specs["hv2"].guests
        assert (leaving.moves_to, leaving.comes_from, coming.moves_to, coming.comes_from) == ("hv2", "", "", "hv1")
        assert (leaving.uuid, leaving.machine) == (coming.uuid, coming.machine)
        assert "g" not in {node.name for spec in specs.values() for node in spec.nodes}
    assert [specs["hv1"].guests[0].interfaces[0].idle for specs in (before, after)] == [False, True]
    assert [specs["hv2"].guests[0].interfaces[0].idle for specs in (before, after)] == [True, False]
    assert before["hv1"].guests[0].interfaces[0].ofport == 99, "its bridge port keeps its number"
    assert after["hv1"].guests[0].interfaces[0].ofport == 0, "whichever it has"
    assert before["hv2"].guests[0].interfaces[0].attachments, "it is guarded where it arrives"
    assert "red" in {network.network for network in before["hv2"].networks}


def test_frames_for_a_guest_follow_it() -> None:
    vteps = {}
    for when, facts in {"before": ("hv1",), "after": ("hv2", "hv1"), "at rest": ("hv2",)}.items():
        model, _ = moving(*facts)
        mac = model.ports["g:eth0"].mac
        (red,) = host_specs(model, ())["hv3"].networks
        vteps[when] = [peer.vtep for peer in red.peers if peer.mac == mac]
        assert red.vteps == tuple(peer.vtep for peer in red.peers)
    chassis = moving("hv1")[0].chassis
    assert vteps == {
        "before": [chassis["hv1"].vtep.ip],
        "after": [chassis["hv2"].vtep.ip],
        "at rest": [chassis["hv2"].vtep.ip],
    }


def test_an_idle_interface_is_in_its_bridge_but_nothing_is_sent_to_it() -> None:
    spec = host_specs(moving("hv1")[0], (), ())["hv2"]
    legs = [leg for leg in legs_of(spec, networks_of(spec)) if leg.node == "g"]
    assert [(leg.macs, leg.local) for leg in legs] == [((), ())]


def test_a_move_that_has_begun_keeps_both_its_ends_whatever_is_wished() -> None:
    """It shall be on hv2 now, and is on its way from hv1 to hv3; then it has just come there."""
    for facts in (("hv1", "", "hv3"), ("hv3", "hv1")):
        specs = host_specs(moving(*facts)[0], {"g:eth0"}, {"g:eth0"})
        assert {name for name, spec in specs.items() if spec.guests} == {"hv1", "hv3"}
        assert specs["hv1"].guests[0].moves_to == "hv3"
        assert specs["hv3"].guests[0].comes_from == "hv1"
