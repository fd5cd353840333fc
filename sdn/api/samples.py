"""What the switches of a lab have counted: read when somebody looks, and not more often than that.

Enters: a Live. Leaves: samples of all chassis: of ports and outlets, or of tables and drops. Never: one chassis that
hangs and holds up the others; a second reading for the second who looks at the same time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from datapath.errors import SdnError
from datapath.openflow.codec import FlowStats
from datapath.spec import TUNNEL_OFPORT
from sdn.api.latest import Latest
from sdn.api.live import Live
from sdn.lab import condition
from sdn.lab.counters import Device, devices
from sdn.links import of_uplink
from sdn.model import Chassis, Model, Port
from sdn.model.facts import Facts, PortFacts
from sdn.model.moves import located
from sdn.southbound import counters
from sdn.southbound.counters import Counters, TableCounters

PATIENCE: Final = 2.0
"""Seconds that a chassis may take to answer."""

T = TypeVar("T")


class Outlet(NamedTuple):
    """What leads out of a chassis: a tunnel port or an uplink. `name` is the kind of tunnel or the physical network.

    An uplink is a link (`sdn.links`) and called so. A tunnel port is the end of many: Open vSwitch has one for each
    kind. The kernel's bridges have one for each `network`, and of GRE one for each `peer`, a chassis.
    """

    chassis: str
    kind: str
    name: str
    network: str = ""
    peer: str = ""

    @property
    def label(self) -> str:
        """`hv1--office`, `hv1:vxlan`, `hv3:nvgre:db:hv1`."""
        if self.kind == "uplink":
            return of_uplink(self.chassis, self.name)
        return ":".join(filter(None, (self.chassis, self.name, self.network, self.peer)))


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of all chassis: of ports by `node:interface`, as their nodes see it; of outlets, as their chassis does.

    `missing` has the chassis that did not say, and why. `time` is in seconds since the epoch.
    """

    time: float
    ports: Mapping[str, Counters]
    outlets: Mapping[Outlet, Device]
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Losses:
    """By chassis: what the tables counted, and the flows that drop."""

    tables: Mapping[str, Mapping[int, TableCounters]]
    drops: Mapping[str, list[FlowStats]]


class Samples:
    """Of one lab."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.traffic: Final = Latest(self._traffic)
        self.losses: Final = Latest(self._losses)

    async def _traffic(self) -> Traffic:
        live = self._live
        now, model = time.time(), located(live.model, live.facts)
        places = Places(model, live.facts)
        names = condition.managed(model)
        told = await _each((self._chassis(places, model.chassis[name]) for name in names), names)
        ports: dict[str, Counters] = {}
        outlets: dict[Outlet, Device] = {}
        for of_ports, of_outlets in told.found.values():
            ports |= of_ports
            outlets |= of_outlets
        return Traffic(now, ports, outlets, told.missing)

    async def _chassis(self, places: Places, chassis: Chassis) -> _Told:
        beside = await self._beside_switch(places, chassis)
        if not chassis.has_tables:
            found = await asyncio.to_thread(devices, self._live.lab, chassis.name)
            ports, outlets = _of_kernel(places, chassis, found)
        else:
            async with self._live.switch(chassis.name) as switch:
                counted, carriers = await asyncio.gather(counters.ports(switch), counters.links(switch))
            ports, outlets = _of_switch(places, chassis, counted, carriers)
        return ports | beside, outlets

    async def _beside_switch(self, places: Places, chassis: Chassis) -> dict[str, Counters]:
        """Interfaces that are devices on an uplink: a node has them itself, a guest's are the chassis'."""
        found: dict[str, Counters] = {}
        for port in places.beside.get(chassis.name, ()):
            name = chassis.name if port.node in places.model.guests else port.node
            there = await asyncio.to_thread(devices, self._live.lab, name)
            if (device := there.get(interface(port))) is not None:
                found[interface(port)] = device.counters
        return found

    async def _losses(self) -> Losses:
        model = self._live.model
        names = [name for name in condition.managed(model) if model.chassis[name].has_tables]
        told = await _each((self._of_tables(model.chassis[name]) for name in names), names)
        return Losses(
            {name: tables for name, (tables, _) in told.found.items()},
            {name: drops for name, (_, drops) in told.found.items()},
        )

    async def _of_tables(self, chassis: Chassis) -> tuple[dict[int, TableCounters], list[FlowStats]]:
        async with self._live.switch(chassis.name) as switch:
            tables, drops = await asyncio.gather(counters.tables(switch), counters.drops(switch, chassis.id))
        return tables, drops


# ── all chassis at once ──


@dataclass(frozen=True, slots=True)
class _Answers(Generic[T]):
    found: dict[str, T]
    missing: dict[str, str]


async def _each(asked: Iterable[Awaitable[T]], names: Iterable[str]) -> _Answers[T]:
    answers = await asyncio.gather(*(_patiently(each) for each in asked))
    found: dict[str, T] = {}
    missing: dict[str, str] = {}
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, str):
            missing[name] = answer
        else:
            (found[name],) = answer
    return _Answers(found, missing)


async def _patiently(asked: Awaitable[T]) -> tuple[T] | str:
    """In a tuple, or why not."""
    try:
        async with asyncio.timeout(PATIENCE):
            return (await asked,)
    except TimeoutError:
        return f"no answer within {PATIENCE:g} s"
    except SdnError as error:
        return str(error)


# ── whose the counters are ──


def interface(port: Port) -> str:
    """Ports of a trunk have one interface, and what is counted is counted there."""
    return f"{port.node}:{port.interface}"


class Places:
    """Where ports are, of a Model at one time."""

    def __init__(self, model: Model, facts: Facts) -> None:
        self.model = model
        self.numbers: dict[str, dict[int, str]] = {name: {} for name in model.chassis}
        """By chassis and OpenFlow port number."""
        self.names: dict[str, set[str]] = {name: set() for name in model.chassis}
        self.beside: dict[str, list[Port]] = {}
        for port in model.ports.values():
            if port.macvlan is not None:
                self.beside.setdefault(port.chassis, []).append(port)
                continue
            number = facts.ports.get(port.name, PortFacts()).ofport or port.ofport
            self.numbers[port.chassis][number] = interface(port)
            self.names[port.chassis].add(interface(port))
        self.vteps = {str(chassis.vtep.ip): chassis.name for chassis in model.chassis.values()}


_Told = tuple[dict[str, Counters], dict[Outlet, Device]]


def _of_switch(
    places: Places, chassis: Chassis, counted: Mapping[int, Counters], carriers: Mapping[int, bool]
) -> _Told:
    physnets = places.model.physnets
    numbers = {number: Outlet(chassis.name, "tunnel", kind) for kind, number in TUNNEL_OFPORT.items()}
    numbers |= {physnets[name].ofport: Outlet(chassis.name, "uplink", name) for name in chassis.physnets}
    outlets = {
        outlet: Device(carriers.get(number, False), counted[number])
        for number, outlet in numbers.items()
        if number in counted
    }
    known = places.numbers[chassis.name]
    return {known[number]: each.turned() for number, each in counted.items() if number in known}, outlets


def _of_kernel(places: Places, chassis: Chassis, found: Mapping[str, Device]) -> _Told:
    ports = {name: found[name].counters.turned() for name in places.names[chassis.name] & found.keys()}
    outlets: dict[Outlet, Device] = {}
    for name, device in found.items():
        of, *about = name.split(":")
        if of == chassis.name and (outlet := _outlet(places, chassis, about)) is not None:
            outlets[outlet] = device
    return ports, outlets


def _outlet(places: Places, chassis: Chassis, about: list[str]) -> Outlet | None:
    match about:
        case [physnet] if physnet in chassis.physnets:
            return Outlet(chassis.name, "uplink", physnet)
        case [kind, network, *vtep] if kind in TUNNEL_OFPORT:
            peer = places.vteps.get(vtep[0], vtep[0]) if vtep else ""
            return Outlet(chassis.name, "tunnel", kind, network, peer)
    return None
