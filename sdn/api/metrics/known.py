"""What the store says now: chassis, sessions, flows, ports, guests, drift. PURE.

Enters: a Model, Facts. Leaves: families of gauges, and of what the agent counts. Never: a question to a switch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, get_args

from datapath.spec import GuestPhase
from sdn.api.metrics.render import Family, Row
from sdn.lab import condition
from sdn.model import Model, Port
from sdn.model.facts import Facts, FlowFacts, GuestFacts, HostFacts, PortFacts

_KINDS: Final = ("chassis", "physnets", "networks", "nodes", "guests", "ports", "tests")
_PHASES: Final = get_args(GuestPhase)
PORT: Final = ("port", "node", "network", "chassis")


def families(model: Model, facts: Facts) -> Iterator[Family]:
    yield Family("sdn_revision", "gauge", "Newest revision of the intent.", rows=[((), model.revision)])
    confirmed = condition.confirmed_revision(model, facts)
    yield Family(
        "sdn_confirmed_revision", "gauge", "Newest revision that every chassis has confirmed.", rows=[((), confirmed)]
    )
    objects = [((kind,), len(getattr(model, kind))) for kind in _KINDS]
    yield Family("sdn_objects", "gauge", "Objects of the model, by kind.", ("kind",), objects)
    yield from _of_chassis(model, facts)
    yield from _of_ports(model, facts)
    if model.guests:
        yield from _of_guests(model, facts)
    unrepaired = sum(not drift.repaired for drift in facts.drifts.values())
    yield Family(
        "sdn_drifts_unrepaired", "gauge", "Drift, of that remembered, not yet put right.", rows=[((), unrepaired)]
    )


def _of_chassis(model: Model, facts: Facts) -> Iterator[Family]:
    ours = condition.managed(model)
    switches = [name for name in ours if model.chassis[name].has_tables]
    flows = {name: facts.flows.get(name, FlowFacts()) for name in switches}
    hosts = {name: facts.hosts.get(name, HostFacts()) for name in ours}
    yield _chassis(
        "sdn_chassis_up",
        "Whether the chassis is built without errors and its switch is connected.",
        ((name, _is_up(flows.get(name), host)) for name, host in hosts.items()),
    )
    yield _chassis(
        "sdn_sessions",
        "OpenFlow sessions between the controller and the chassis' switch.",
        ((name, int(seen.connected)) for name, seen in flows.items()),
    )
    yield _chassis("sdn_flows", "Flows that the controller has put there.", ((n, s.count) for n, s in flows.items()))
    yield _chassis(
        "sdn_flow_errors",
        "Whether the switch has refused flows.",
        ((name, int(bool(seen.error))) for name, seen in flows.items()),
    )
    yield _chassis(
        "sdn_host_errors", "Errors that the agent tells of.", ((name, len(seen.errors)) for name, seen in hosts.items())
    )
    revisions = [((name, "flows"), seen.revision) for name, seen in flows.items()]
    revisions += [((name, "host"), seen.revision) for name, seen in hosts.items()]
    text = "Newest revision confirmed: its flows by a barrier, its devices by the agent."
    yield Family("sdn_chassis_revision", "gauge", text, ("chassis", "by"), revisions)


def _chassis(name: str, text: str, rows: Iterable[tuple[str, int]]) -> Family:
    return Family(name, "gauge", text, ("chassis",), [((chassis,), number) for chassis, number in rows])


def _is_up(flows: FlowFacts | None, host: HostFacts) -> int:
    programmed = flows is None or (flows.connected and not flows.error)
    return int(programmed and host.revision > 0 and not host.errors)


def _of_ports(model: Model, facts: Facts) -> Iterator[Family]:
    ups = {name: int(facts.ports.get(name, PortFacts()).up) for name in model.ports}
    count = Counter(ups.values())
    states: list[Row] = [(("up",), count[1]), (("down",), count[0])]
    yield Family("sdn_ports", "gauge", "Ports, by whether their node is attached.", ("state",), states)
    rows = [(port_labels(port), ups[port.name]) for port in model.ports.values()]
    yield Family("sdn_port_up", "gauge", "Whether the port's node is attached, with its flows there.", PORT, rows)


def port_labels(port: Port) -> tuple[str, ...]:
    return port.name, port.node, port.network, port.chassis


def _of_guests(model: Model, facts: Facts) -> Iterator[Family]:
    seen = {name: facts.guests.get(name, GuestFacts()) for name in model.guests}
    phases = Counter(dict.fromkeys(_PHASES, 0))
    phases.update(each.phase for each in seen.values())
    rows: list[Row] = [((phase,), count) for phase, count in phases.items()]
    yield Family("sdn_guests", "gauge", "Guests, by phase.", ("phase",), rows)
    yield _guest("sdn_guest_up", "gauge", "Whether the guest runs.", ((n, int(bool(s.pid))) for n, s in seen.items()))
    yield _guest(
        "sdn_guest_agent_up",
        "gauge",
        "Whether the guest agent in it answers.",
        ((name, int(each.answers)) for name, each in seen.items()),
    )
    yield _guest(
        "sdn_guest_errors",
        "gauge",
        "Whether the guest is not as it should be.",
        ((name, int(bool(each.error))) for name, each in seen.items()),
    )
    yield _guest(
        "sdn_guest_restarts_total",
        "counter",
        "Times that the guest was started again after it had died.",
        ((name, each.restarts) for name, each in seen.items()),
    )


def _guest(name: str, kind: str, text: str, rows: Iterable[tuple[str, int]]) -> Family:
    found = [((guest,), number) for guest, number in rows]
    return Family(name, "counter" if kind == "counter" else "gauge", text, ("guest",), found)
