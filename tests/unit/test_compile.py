"""Specs made again and again equal those made at once, and are the same objects where nothing has changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sdn.compile import Specs, host_specs
from sdn.model import Model
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
