"""Whether a lab is as it shall be, and what keeps it from that. PURE.

Enters: a Model, Facts. Leaves: revisions that are confirmed, troubles in words. Never: a look at the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sdn.model import Model, Port
from sdn.model.facts import Facts, FlowFacts, GuestFacts, HostFacts, PortFacts


def managed(model: Model) -> list[str]:
    """Chassis that are ours to build and program."""
    return [chassis.name for chassis in model.chassis.values() if chassis.ours]


def confirmed(model: Model, facts: Facts, chassis: str) -> bool:
    """Whether the chassis is as it should be, or has said why it cannot be."""
    return _newest_of(model, facts, chassis) >= model.revision


def confirmed_revision(model: Model, facts: Facts) -> int:
    """The newest revision that every chassis has confirmed."""
    return min((_newest_of(model, facts, name) for name in managed(model)), default=model.revision)


def _newest_of(model: Model, facts: Facts, chassis: str) -> int:
    """0 where nothing is confirmed, for nobody can ask the switch."""
    flows, host = facts.flows.get(chassis, FlowFacts()), facts.hosts.get(chassis, HostFacts())
    if host.errors or not model.chassis[chassis].has_tables:
        return host.revision
    return min(host.revision, flows.revision) if flows.connected else 0


def chassis_troubles(model: Model, facts: Facts) -> list[str]:
    """Per chassis, what keeps it from having confirmed the model's revision."""
    ports: dict[str, list[Port]] = {}
    for port in model.ports.values():
        ports.setdefault(port.chassis, []).append(port)
    resting = [name for name in model.guests if went_off(model, facts, name)]
    found = []
    for name in managed(model):
        flows, host = facts.flows.get(name, FlowFacts()), facts.hosts.get(name, HostFacts())
        programmed = model.chassis[name].has_tables
        found += [f"{name}: {error}" for error in (*host.errors, *([flows.error] if flows.error else ()))]
        if programmed and flows.silent:
            continue  # that is its error
        if programmed and not flows.connected:
            found.append(f"{name}: the switch is not connected to the controller")
        elif programmed and flows.revision < model.revision:
            found.append(f"{name}: flows of revision {model.revision} are not confirmed (it has {flows.revision})")
        elif host.revision < model.revision:
            found.append(f"{name}: revision {model.revision} is not built yet (it has {host.revision})")
        else:
            found += _troubles_of_guests(model, resting, name)
            found += _troubles_of_ports(model, facts, ports.get(name, ()), resting)
    return found


def _troubles_of_guests(model: Model, resting: Iterable[str], chassis: str) -> Iterator[str]:
    """A guest that has switched itself off is told once, and not by each of its ports."""
    for name in resting:
        if model.nodes[name].chassis == chassis:
            yield f"{chassis}: guest {name} has switched itself off, and shall be {model.guests[name].machine.power}"


def _troubles_of_ports(model: Model, facts: Facts, ports: Iterable[Port], resting: Iterable[str]) -> Iterator[str]:
    for port in ports:
        if port.node in resting or (port.node in model.guests and model.guests[port.node].machine.power == "off"):
            continue
        seen = facts.ports.get(port.name, PortFacts())
        numbered = seen.ofport or not model.chassis[port.chassis].has_tables
        if not (seen.up and numbered):
            yield f"{port.chassis}: {port.name} " + ("has no port on the switch" if seen.up else "is not up")


def went_off(model: Model, facts: Facts, guest: str) -> bool:
    """Whether it shall be on and has switched itself off, and is not started again."""
    seen = facts.guests.get(guest, GuestFacts())
    return model.guests[guest].machine.power != "off" and seen.phase == "off" and bool(seen.note)
