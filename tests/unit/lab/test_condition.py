"""What of a lab is confirmed, and what keeps it from being whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdn.lab.condition import chassis_troubles, confirmed, confirmed_revision, managed
from sdn.model import Model
from sdn.model.facts import NO_ANSWER, Facts, FlowFacts, HostFacts, PortFacts
from tests.unit.store.models import big

MODEL = big(ports=2, chassis=2).with_revision(5)
WHOLE = Facts(
    {name: FlowFacts(True, 5, 10) for name in MODEL.chassis},
    {name: HostFacts(5, "netdev") for name in MODEL.chassis},
    {name: PortFacts(True, port.ofport) for name, port in MODEL.ports.items()},
)


def with_hv1(flows: FlowFacts | None = None, host: HostFacts | None = None) -> Facts:
    return replace(
        WHOLE,
        flows=WHOLE.flows | ({"hv1": flows} if flows else {}),
        hosts=WHOLE.hosts | ({"hv1": host} if host else {}),
    )


def with_datapath(kind: str) -> Model:
    return replace(MODEL, chassis=MODEL.chassis | {"hv1": replace(MODEL.chassis["hv1"], datapath=kind)})


def test_a_whole_lab() -> None:
    assert confirmed_revision(MODEL, WHOLE) == 5
    assert all(confirmed(MODEL, WHOLE, name) for name in managed(MODEL))
    assert chassis_troubles(MODEL, WHOLE) == []


@pytest.mark.parametrize(
    ("facts", "newest", "trouble"),
    [
        (with_hv1(FlowFacts(False, 5)), 0, "the switch is not connected to the controller"),
        (with_hv1(FlowFacts(False, 5, error=NO_ANSWER, silent=True)), 0, "the switch does not answer"),
        (with_hv1(FlowFacts(True, 3)), 3, "flows of revision 5 are not confirmed (it has 3)"),
        (with_hv1(host=HostFacts(4)), 4, "revision 5 is not built yet (it has 4)"),
        (with_hv1(FlowFacts(True, 5, 9, "a flow is missing")), 5, "a flow is missing"),
    ],
)
def test_a_chassis_that_is_not_there_yet(facts: Facts, newest: int, trouble: str) -> None:
    assert confirmed_revision(MODEL, facts) == newest
    assert confirmed(MODEL, facts, "hv1") is (newest == 5)
    assert confirmed(MODEL, facts, "hv2")
    assert chassis_troubles(MODEL, facts) == [f"hv1: {trouble}"]


def test_a_chassis_that_has_said_why_it_cannot_is_waited_for_no_longer() -> None:
    facts = with_hv1(FlowFacts(False), HostFacts(5, errors=("no room",)))
    assert confirmed_revision(MODEL, facts) == 5
    assert chassis_troubles(MODEL, facts)[0] == "hv1: no room"


def test_nobody_waits_for_the_flows_of_a_switch_without_tables() -> None:
    facts = replace(with_hv1(), flows={"hv2": FlowFacts(True, 5)})
    assert confirmed_revision(with_datapath("linux"), facts) == 5
    assert confirmed_revision(with_datapath("external"), replace(facts, hosts={"hv2": HostFacts(5)})) == 5
    assert confirmed_revision(MODEL, facts) == 0


def test_a_lab_without_chassis_of_ours_is_as_it_shall_be() -> None:
    assert confirmed_revision(replace(MODEL, chassis={}, nodes={}, ports={}), Facts()) == 5


def test_ports_that_are_not_up_or_have_no_number() -> None:
    facts = replace(WHOLE, ports={"web1": PortFacts(True)})
    assert chassis_troubles(MODEL, facts) == ["hv1: web2 is not up", "hv2: web1 has no port on the switch"]
