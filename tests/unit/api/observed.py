"""A lab as the API sees it, without one: a model, facts, and what switches would say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from datapath.errors import TransientError
from datapath.openflow.codec import FlowStats
from sdn.api.latest import Latest
from sdn.api.live import Live
from sdn.api.samples import Losses, Outlet, Samples, Traffic
from sdn.lab.counters import Device
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.model.facts import Drift, Facts, FlowFacts, GuestFacts, HostFacts, PortFacts
from sdn.model.history import Revision
from sdn.pipeline import flows
from sdn.southbound.counters import Counters, TableCounters
from sdn.topology import parse

TOPOLOGY = """
name: watched
chassis: {hv1: {physnets: [office]}, hv2: {}}
physnets: {office: {}}
networks:
  web: {segment: {vxlan: 7}, subnets: [10.9.0.0/24, "fd09::/64"]}
  lan: {segment: {vlan: 12, physnet: office}, subnet: 10.8.0.0/24, mtu: 1450}
nodes:
  a: {network: web, chassis: hv1}
  b: {network: web, chassis: hv2}
guests:
  vm: {chassis: hv1, memory: 128M, nics: [{trunk: {native: web, 20: lan}}]}
"""


def model(revision: int = 3) -> Model:
    return parse(TOPOLOGY, "watched.yaml").with_revision(revision)


def facts(of: Model, revision: int | None = None, **more: Any) -> Facts:
    """All is well, at the model's revision or an older one."""
    at = of.revision if revision is None else revision
    return Facts(
        flows={name: FlowFacts(True, at, 40) for name in of.chassis},
        hosts={name: HostFacts(at, "netdev") for name in of.chassis},
        ports={port.name: PortFacts(True, port.ofport) for port in of.ports.values()},
        guests={"vm": GuestFacts("running", at="hv1", restarts=2)},
        drifts=more.get(
            "drifts", {"controller-1": Drift("hv1", "flow x", "removed", 10.0, 10.5, repairs=1, took=(0.5,))}
        ),
    )


def counters(first: int) -> Counters:
    """All different."""
    return Counters(*range(first, first + 8))


def traffic(of: Model, time: float = 100.0, step: int = 0, missing: Mapping[str, str] | None = None) -> Traffic:
    names = dict.fromkeys(f"{port.node}:{port.interface}" for port in of.ports.values())
    outlets = {
        Outlet("hv1", "tunnel", "vxlan"): Device(True, counters(1000 + step)),
        Outlet("hv2", "tunnel", "vxlan"): Device(False, counters(2000)),
        Outlet("hv1", "uplink", "office"): Device(True, counters(3000)),
    }
    return Traffic(time, {name: counters(100 * n + step) for n, name in enumerate(names)}, outlets, missing or {})


def losses(of: Model) -> Losses:
    drops = [each for each in flows(of, "hv1") if not each.actions and each.goto is None]
    counted = [FlowStats(flow, 5, 300, 1.0) for flow in drops]
    return Losses({"hv1": {0: TableCounters(9, 70, 68), 8: TableCounters(20, 68, 68)}}, {"hv1": counted})


class Store:
    def __init__(self) -> None:
        self.known: dict[int, Revision] = {}

    def revisions(self) -> Mapping[int, Revision]:
        return self.known


class Watched:
    """What `Live` is to metrics, counters and health."""

    def __init__(self, of: Model, seen: Facts) -> None:
        self.model, self.facts = of, seen
        self.lab, self.revision = of.lab, of.revision
        self.run = RunDir(of.lab)
        self.store = Store()

    @asynccontextmanager
    async def switch(self, chassis: str) -> AsyncIterator[None]:
        raise TransientError(f"{chassis}: nobody listens")
        yield


def live(of: Model | None = None) -> Live:
    of = of or model()
    return cast(Live, Watched(of, facts(of)))


def samples(of: Live) -> Samples:
    """Those of switches that answer."""
    found = Samples(of)

    async def told_traffic() -> Traffic:
        return traffic(of.model)

    async def told_losses() -> Losses:
        return losses(of.model)

    found.traffic = Latest(told_traffic)  # type: ignore[misc]
    found.losses = Latest(told_losses)  # type: ignore[misc]
    return found
