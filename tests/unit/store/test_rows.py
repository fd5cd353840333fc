from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from datapath.plan import diff
from sdn.model import Model, Source
from sdn.model.facts import FlowFacts, HostFacts, PortFacts
from sdn.store.objects import Ref
from sdn.store.operations import operations
from sdn.store.rows import (
    LAB,
    flow_facts,
    flow_facts_row,
    from_rows,
    host_facts,
    host_facts_row,
    in_file_order,
    port_facts,
    port_facts_row,
    rows_that_differ,
    to_rows,
)
from sdn.store.update import Changed, Update, changed_between
from tests.topologies import files, model_of
from tests.unit.store.models import big, models


@given(models())
def test_a_model_survives_the_rows(model: Model) -> None:
    assert from_rows(to_rows(model)) == model


@given(models())
def test_the_order_of_the_rows_does_not_matter(model: Model) -> None:
    rows = to_rows(model)
    backwards = from_rows(dict(reversed(rows.items())))
    assert list(backwards.ports) == list(from_rows(rows).ports)


def test_ranges_are_ordered_by_number_and_objects_by_line() -> None:
    model = big(ports=12)
    assert list(from_rows(to_rows(model)).nodes) == [f"web{n}" for n in range(1, 13)]
    early = replace(model.nodes["web11"], source=Source("lab.yaml", 1))
    assert next(iter(in_file_order(model.nodes | {"web11": early}))) == "web11"


def test_rows_that_differ_are_all_that_a_diff_needs() -> None:
    old, new = big(ports=12), big(ports=13)
    moved = replace(new.nodes["web3"], chassis="hv2")
    new = replace(new, nodes={name: node for name, node in new.nodes.items() if name != "web5"} | {"web3": moved})
    some = diff(*rows_that_differ(new, old))
    assert {step.key for step in some} >= {("Node", "web13"), ("Port", "web13"), ("Node", "web3"), ("Node", "web5")}
    assert sorted(some, key=str) == sorted(diff(to_rows(new), to_rows(old)), key=str)
    assert rows_that_differ(old, old) == ({LAB: to_rows(old)[LAB]}, {LAB: to_rows(old)[LAB]})


def test_rows_without_a_lab_are_no_model() -> None:
    with pytest.raises(KeyError):
        from_rows({})


def test_facts_survive_the_rows() -> None:
    flows = FlowFacts(True, 7, 1234, "gone", "a note", silent=True)
    hosts = HostFacts(7, "netdev", ("one", "two"), ("three",))
    assert flow_facts(flow_facts_row(flows)) == flows
    assert host_facts(host_facts_row(hosts)) == hosts
    for facts in (PortFacts(), PortFacts(True, 70)):
        assert port_facts(port_facts_row(facts)) == facts


def test_operations_of_a_first_write_count_the_revision_and_refer_by_name() -> None:
    rows = to_rows(big(ports=1, chassis=1))
    first, *inserts, last = operations(diff(rows, {}), {}, 0)
    assert (first["op"], first["rows"]) == ("wait", [])
    assert (last["op"], last["row"]) == ("update", {"revision": 1})
    named = {insert["uuid-name"]: insert for insert in inserts}
    (port,) = [insert for insert in inserts if insert["table"] == "Port"]
    assert named[port["row"]["node"][1]]["table"] == "Node"
    assert port["row"]["addresses"] == ["map", [[0, "10.0.0.1/8"]]]
    assert port["row"]["tag"] == ["set", []]


def test_an_update_has_only_the_columns_that_differ() -> None:
    from uuid import UUID

    model = big(ports=1, chassis=2)
    moved = replace(model, nodes={"web1": replace(model.nodes["web1"], chassis="hv1")})
    uuids = {key: UUID(int=n) for n, key in enumerate(to_rows(model))}
    guard, update, _ = operations(diff(to_rows(moved), to_rows(model)), uuids, 4)
    assert guard["rows"] == [{"revision": 4}]
    assert update["row"] == {"chassis": ["uuid", str(uuids["Chassis", "hv1"])]}
    assert to_rows(model)["Node", "web1"]["chassis"] == Ref("Chassis", "hv2")
    assert LAB in uuids


def test_what_moved_in_the_file_only_has_not_changed() -> None:
    model, facts = big(ports=3), FlowFacts()
    state = Update(model, _facts(facts), None)
    moved = replace(model, ports={name: replace(port, source=Source("x", 9)) for name, port in model.ports.items()})
    assert not changed_between(moved, state.facts, model, state.facts)
    smaller = replace(model, ports={"web1": model.ports["web1"]})
    changed = changed_between(smaller, _facts(FlowFacts(revision=2)), model, state.facts)
    assert changed == Changed(ports=frozenset({"web2", "web3"}), flow_facts=frozenset({"hv1"}))
    assert changed.intent
    assert not Changed(flow_facts=frozenset({"hv1"})).intent


def test_updates_add_up() -> None:
    model, facts = big(ports=3), _facts(FlowFacts())
    one = Update(model, facts, Changed(ports=frozenset({"a"})))
    two = Update(model.with_revision(2), facts, Changed(ports=frozenset({"b"}), lab=True))
    assert two.after(one) == Update(two.model, facts, Changed(lab=True, ports=frozenset({"a", "b"})))
    assert two.after(replace(one, changed=None)).changed is None


def _facts(flows: FlowFacts):
    from sdn.model.facts import Facts

    return Facts({"hv1": flows})


@settings(deadline=None)  # the first file imports the parser
@given(files(linux=True, machine=True, guests=True))
def test_what_a_file_means_survives_the_rows(file: dict[str, Any]) -> None:
    model = model_of(file)
    assert from_rows(to_rows(model)) == model
