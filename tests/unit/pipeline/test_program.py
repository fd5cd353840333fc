"""Incremental compilation equals the full one, whatever the model was before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datapath.openflow.flow import Flow
from datapath.spec import Machine
from sdn.model import Guest, Model
from sdn.model.facts import Facts, GuestFacts, HostFacts, PortFacts
from sdn.pipeline import flows
from sdn.pipeline.program import FlowChange, Program
from tests.topologies import NODES, files, model_of


def full(model: Model, facts: Facts) -> dict[str, dict[Any, Any]]:
    return {
        name: {flow.key: flow for flow in flows(model, name, facts)}
        for name, chassis in model.chassis.items()
        if chassis.datapath != "external"
    }


def after(before: dict[Any, Any], change: FlowChange) -> dict[Any, Any]:
    """What a switch has once it was sent a change; checks that the change says nothing superfluous."""
    result = dict(before)
    for flow in change.add:
        assert flow.key not in result
        result[flow.key] = flow
    for flow in change.change:
        assert result[flow.key] != flow
        result[flow.key] = flow
    for flow in change.remove:
        del result[flow.key]
    return result


@settings(deadline=None, max_examples=60)
@given(st.lists(files(), min_size=2, max_size=5))
def test_incremental_equals_full(states: list[dict[str, Any]]) -> None:
    model = model_of(states[0])
    program = Program(model, Facts())
    switches = {name: program.flows(name) for name in model.chassis}
    assert switches == full(model, Facts())
    keys = {key for held in switches.values() for key in held}
    assert all(program.flow(name, key) == held.get(key) for name, held in switches.items() for key in keys)
    for state in states[1:]:
        model = model_of(state, previous=model)
        changes = program.update(model, Facts())
        switches = {name: after(switches.get(name, {}), changes.get(name, NOTHING)) for name in model.chassis}
        assert switches == full(model, Facts())
        assert {name: program.flows(name) for name in model.chassis} == switches
        keys |= {key for held in switches.values() for key in held}
        assert all(program.flow(name, key) == held.get(key) for name, held in switches.items() for key in keys)
        assert program.update(model, Facts()) == {}, "the same model again is no change"


NOTHING = FlowChange((), (), ())


@settings(deadline=None, max_examples=40)
@given(files(), st.data())
def test_an_odd_ofport_is_used_instead(file: dict[str, Any], data: st.DataObject) -> None:
    model = model_of(file)
    if not model.ports:
        return
    port = data.draw(st.sampled_from(list(model.ports.values())))
    together = [p.name for p in model.ports.values() if (p.node, p.interface) == (port.node, port.interface)]
    facts = Facts(ports={name: PortFacts(True, 40000) for name in together})
    program = Program(model, Facts())
    program.update(model, facts)
    assert {name: program.flows(name) for name in model.chassis} == full(model, facts)


@settings(deadline=None, max_examples=40)
@given(files())
def test_no_two_flows_share_a_key(file: dict[str, Any]) -> None:
    model = model_of(file)
    for name in model.chassis:
        compiled = list(flows(model, name))
        assert len({flow.key for flow in compiled}) == len(compiled)


@settings(deadline=None, max_examples=40)
@given(st.lists(files(), min_size=2, max_size=3), st.data())
def test_a_switch_that_cannot_rewrite_nd_is_not_asked_to(states: list[dict[str, Any]], data: st.DataObject) -> None:
    """What kind of datapath a chassis has is told later than its model, and may change."""
    model = model_of(states[0])
    program = Program(model, Facts())
    switches = full(model, Facts())
    for state in states[1:]:
        model = model_of(state, previous=model)
        kinds = {name: data.draw(st.sampled_from(["system", "netdev", ""])) for name in model.chassis}
        facts = Facts(hosts={name: HostFacts(datapath_type=kind) for name, kind in kinds.items()})
        changes = program.update(model, facts)
        switches = {name: after(switches.get(name, {}), changes.get(name, NOTHING)) for name in full(model, facts)}
        assert switches == full(model, facts)
        of_kernel = [f for name, kind in kinds.items() if kind == "system" for f in switches.get(name, {}).values()]
        assert not any(getattr(a, "field", "").startswith("nd_") for f in of_kernel for a in f.actions)


def with_guests(model: Model, names: set[str]) -> Model:
    """Some nodes are machines."""
    guests = {n: Guest(n, Machine(128 << 20), (), model.nodes[n].source) for n in model.nodes if n in names}
    return replace(model, guests=guests)


@settings(deadline=None, max_examples=60)
@given(st.lists(files(), min_size=2, max_size=4), st.data())
def test_guests_move_while_everything_else_changes(states: list[dict[str, Any]], data: st.DataObject) -> None:
    """Where a guest runs is a fact that lags behind the model, or has just caught up with it."""
    names = data.draw(st.sets(st.sampled_from(NODES)))
    model = with_guests(model_of(states[0]), names)
    program = Program(model, Facts())
    switches = full(model, Facts())
    for state in states[1:]:
        model = with_guests(model_of(state, previous=model), names)
        places = st.sampled_from(["", *model.chassis, "gone"])
        facts = Facts(
            guests={
                name: GuestFacts(at=data.draw(places), goes=data.draw(places), leaves=data.draw(places))
                for name in names
            }
        )
        changes = program.update(model, facts)
        switches = {name: after(switches.get(name, {}), changes.get(name, NOTHING)) for name in model.chassis}
        assert switches == full(model, facts)


def test_a_guest_is_awaited_before_it_is_redirected() -> None:
    """Its flows are where it arrives, and every frame for it still goes to where it is."""
    file = {
        "name": "moves",
        "chassis": {"hv1": {}, "hv2": {}, "hv3": {}},
        "networks": {"red": {"segment": {"vxlan": 100}, "subnet": "10.0.0.0/24"}},
        "nodes": {"g": {"chassis": "hv2", "network": "red"}, "a": {"chassis": "hv3", "network": "red"}},
    }
    model = with_guests(model_of(file), {"g"})
    port, asker = model.ports["g:eth0"], model.ports["a:eth0"]
    before = Facts(guests={"g": GuestFacts("moving", at="hv1")}, ports={"g:eth0": PortFacts(True, 99)})
    after_it = Facts(guests={"g": GuestFacts("moving", at="hv2", leaves="hv1")})
    assert towards(model, before, "hv3", port.mac) == {int(model.chassis["hv1"].vtep.ip)}
    assert towards(model, before, "hv2", port.mac) == {int(model.chassis["hv1"].vtep.ip)}
    assert towards(model, after_it, "hv3", port.mac) == {int(model.chassis["hv2"].vtep.ip)}
    assert towards(model, after_it, "hv1", port.mac) == set(), (
        "it has left the network, with the last of its ports there"
    )
    waiting = [flow for flow in flows(model, "hv2", before) if has(flow, "in_port", port.ofport)]
    assert waiting, "what it will send is known there already"
    assert towards(model, before, "hv2", asker.mac) == {int(model.chassis["hv3"].vtep.ip)}


def has(flow: Flow, field: str, value: int) -> bool:
    return any(part.field == field and part.value == value for part in flow.match)


def towards(model: Model, facts: Facts, chassis: str, mac: int) -> set[int]:
    """The vteps that a chassis' table sends frames for a MAC to."""
    of_mac = [f for f in flows(model, chassis, facts) if has(f, "eth_dst", mac)]
    return {action.value for flow in of_mac for action in flow.actions if getattr(action, "field", "") == "tun_dst"}
