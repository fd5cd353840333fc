"""The flows of every chassis as the model changes: only units that a change touches are compiled again. PURE.

Enters: the first Model, then Model + what changed. Leaves: per chassis the flows to add, change and remove.
A property test holds it equal to `sdn.pipeline.flows`, which is the specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from datapath.openflow.flow import Flow, FlowKey
from sdn.model import Chassis, Model, Port
from sdn.model.facts import Facts
from sdn.model.moves import located
from sdn.pipeline import (
    awaited_port_unit,
    chassis_unit,
    local_port_unit,
    network_unit,
    odd_ofports,
    remote_port_unit,
    without_nd,
)
from sdn.pipeline.fields import Kind
from sdn.pipeline.view import Places, View

Unit = tuple[Kind, str]
"""What flows are about: the kind of object and its name."""


@dataclass(frozen=True, slots=True)
class FlowChange:
    """What one switch has to do; `change` holds flows whose key stays."""

    add: tuple[Flow, ...]
    change: tuple[Flow, ...]
    remove: tuple[Flow, ...]

    def __len__(self) -> int:
        return len(self.add) + len(self.change) + len(self.remove)


def compare(desired: Mapping[FlowKey, Flow], before: Mapping[FlowKey, Flow]) -> FlowChange:
    """The flows that differ, by key."""
    return FlowChange(
        add=tuple(flow for key, flow in desired.items() if key not in before),
        change=tuple(flow for key, flow in desired.items() if key in before and before[key] != flow),
        remove=tuple(flow for key, flow in before.items() if key not in desired),
    )


def _by_key(units: Iterable[tuple[Flow, ...]]) -> dict[FlowKey, Flow]:
    return {flow.key: flow for unit in units for flow in unit}


class Program:
    """Desired flows by chassis and unit. External chassis (not ours to program) have none."""

    def __init__(self, model: Model, facts: Facts) -> None:
        self.model = model = located(model, facts)
        self._places = Places(model.ports.values())
        self._ofports = odd_ofports(model, facts)
        self.without_nd = without_nd(facts)
        self._remote: dict[str, dict[bool, tuple[Flow, ...]]] = {}
        self._units: dict[str, dict[Unit, tuple[Flow, ...]]] = {
            chassis.name: self._compile(chassis.name, self._units_of(chassis.name)) for chassis in _programmed(model)
        }
        self._by_key: dict[str, dict[FlowKey, Flow]] = {}
        """The same by key, of chassis that somebody has asked about: a flow that is heard of costs one look-up."""

    def flows(self, chassis: str) -> dict[FlowKey, Flow]:
        """Everything that the switch of `chassis` has to hold; empty for a chassis that is not in the model."""
        return _by_key(self._units.get(chassis, {}).values())

    def flow(self, chassis: str, key: FlowKey) -> Flow | None:
        """One of these."""
        if chassis not in self._by_key:
            self._by_key[chassis] = self.flows(chassis)
        return self._by_key[chassis].get(key)

    def flow_count(self, chassis: str) -> int:
        return sum(map(len, self._units.get(chassis, {}).values()))

    def update(self, model: Model, facts: Facts) -> dict[str, FlowChange]:
        """Take over a new model; returns what changes, by chassis, leaving out those where nothing does."""
        touched = self._take_over(model, facts)
        changes = {name: self._recompile(name, units) for name, units in touched.items() if name in self._units}
        for name in set(self._units) - {chassis.name for chassis in _programmed(model)}:
            del self._units[name]
            self._by_key.pop(name, None)
        return {name: change for name, change in changes.items() if len(change)}

    def _recompile(self, chassis: str, units: set[Unit]) -> FlowChange:
        held = self._units[chassis]
        before = _by_key(held.get(unit, ()) for unit in units)
        compiled = self._compile(chassis, units)
        for unit in units:
            if flows := compiled.get(unit):
                held[unit] = flows
            else:
                held.pop(unit, None)
        change = compare(_by_key(compiled.values()), before)
        if (known := self._by_key.get(chassis)) is not None:
            for flow in change.remove:
                known.pop(flow.key, None)
            known.update({flow.key: flow for flow in (*change.add, *change.change)})
        return change

    # Which units does a change touch?

    def _take_over(self, model: Model, facts: Facts) -> dict[str, set[Unit]]:
        model = located(model, facts)
        old, self.model = self.model, model
        old_ofports, self._ofports = self._ofports, odd_ofports(model, facts)
        old_without_nd, self.without_nd = self.without_nd, without_nd(facts)
        if old.chassis != model.chassis or old.physnets != model.physnets:
            return self._start_over()
        touched: dict[str, set[Unit]] = {chassis.name: set() for chassis in _programmed(model)}
        changed = [
            (old.ports.get(name), model.ports.get(name))
            for name in _differing(old.ports, model.ports) | _differing(old_ofports, self._ofports)
        ]
        before = self._move_ports(changed)
        for network in _differing(old.networks, model.networks):
            self._touch_whole_network(touched, network)
        for network, chassis in before.items():
            self._touch_replication(touched, network, chassis)
        for pair in changed:
            for port in filter(None, pair):
                self._touch_port(touched, port)
        for name in touched.keys() & (old_without_nd ^ self.without_nd):
            touched[name] |= self._everything_of(name)
        return touched

    def _start_over(self) -> dict[str, set[Unit]]:
        """A chassis came, went or moved: vteps stand in every table, so that every unit is compiled again."""
        self._places = Places(self.model.ports.values())
        self._remote.clear()
        for chassis in _programmed(self.model):
            self._units.setdefault(chassis.name, {})
        return {chassis.name: self._everything_of(chassis.name) for chassis in _programmed(self.model)}

    def _everything_of(self, chassis: str) -> set[Unit]:
        """What it has and what it shall have."""
        return set(self._units[chassis]) | set(self._units_of(chassis))

    def _move_ports(self, changed: list[tuple[Port | None, Port | None]]) -> dict[str, set[str]]:
        """Bring the places up to date; returns the chassis that had each network concerned before."""
        networks = {port.network for pair in changed for port in pair if port}
        before = {network: set(self._places.chassis_of(network)) for network in networks}
        for gone, _ in changed:
            if gone:
                self._places.remove(gone)
                self._remote.pop(gone.name, None)
        for _, come in changed:
            if come:
                self._places.add(come)
        return before

    def _touch_whole_network(self, touched: dict[str, set[Unit]], network: str) -> None:
        for port in self._places.ports_of(network):
            self._remote.pop(port.name, None)
        units = {(Kind.NETWORK, network), *((Kind.PORT, port.name) for port in self._places.ports_of(network))}
        for chassis in touched:
            touched[chassis] |= units

    def _touch_replication(self, touched: dict[str, set[Unit]], network: str, before: set[str]) -> None:
        """A chassis that gains or loses a network gets or drops all of it; the others replicate to it or no longer."""
        after = set(self._places.chassis_of(network))
        for chassis in (before ^ after) & touched.keys():
            touched[chassis] |= {(Kind.PORT, port.name) for port in self._places.ports_of(network)}
            touched[chassis] |= {
                unit for unit in self._units[chassis] if unit[0] is Kind.PORT and self._gone_from(unit, network)
            }
            touched[chassis].add((Kind.NETWORK, network))
        if before != after:
            for chassis in (before & after) & touched.keys():
                touched[chassis].add((Kind.NETWORK, network))

    def _gone_from(self, unit: Unit, network: str) -> bool:
        port = self.model.ports.get(unit[1])
        return port is None or port.network == network

    def _touch_port(self, touched: dict[str, set[Unit]], port: Port) -> None:
        for chassis in touched:
            touched[chassis].add((Kind.PORT, port.name))
        everywhere = any(allowed.mac is not None for allowed in port.allowed)
        for chassis in touched if everywhere else {port.chassis} & touched.keys():
            touched[chassis].add((Kind.NETWORK, port.network))

    # Compiling

    def _units_of(self, chassis: str) -> Iterator[Unit]:
        yield Kind.CHASSIS, chassis
        for network in self._places.present(chassis):
            yield Kind.NETWORK, network
            yield from ((Kind.PORT, port.name) for port in self._places.ports_of(network))

    def _compile(self, chassis: str, units: Iterable[Unit]) -> dict[Unit, tuple[Flow, ...]]:
        rewrites_nd = chassis not in self.without_nd
        view = View(self.model.chassis[chassis], self.model, self._places, self._ofports, rewrites_nd)
        compiled = {unit: self._flows_about(view, *unit) for unit in units}
        return {unit: flows for unit, flows in compiled.items() if flows}

    def _flows_about(self, view: View, kind: Kind, name: str) -> tuple[Flow, ...]:
        if kind is Kind.CHASSIS:
            return chassis_unit(view)
        if kind is Kind.NETWORK:
            here = view.chassis.name in self._places.chassis_of(name)
            return network_unit(view, self.model.networks[name]) if here else ()
        port = self.model.ports.get(name)
        if port is None or view.chassis.name not in self._places.chassis_of(port.network):
            return ()
        if view.is_local(port):
            return local_port_unit(view, port, self.model.networks[port.network])
        if view.awaits(port):
            return awaited_port_unit(view, port, self.model.networks[port.network])
        return self._remote_unit(port, view.rewrites_nd)

    def _remote_unit(self, port: Port, rewrites_nd: bool) -> tuple[Flow, ...]:
        """Made once for all the chassis that are not the port's and alike in this."""
        made = self._remote.setdefault(port.name, {})
        unit = made.get(rewrites_nd)
        if unit is None:
            network, chassis = self.model.networks[port.network], self.model.chassis[port.chassis]
            unit = made[rewrites_nd] = remote_port_unit(port, network, chassis, rewrites_nd)
        return unit


def _programmed(model: Model) -> Iterator[Chassis]:
    return (chassis for chassis in model.chassis.values() if chassis.has_tables)


def _differing(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    """Names whose value is not the same; identity first, so that unchanged entries cost next to nothing."""
    if old is new:
        return set()
    return {name for name, value in new.items() if old.get(name) is not value and old.get(name) != value} | (
        old.keys() - new.keys()
    )
