"""From the file's tests to probes: which addresses of which nodes are asked what.

Enters: model and tests. Leaves: Checks, each the probe of one address pair; and the results of a test by pair of nodes.
Two nodes are tried over every network that they share, in every address family; where they share none, from the
source's first address of each family to every address of the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datapath.addr import IPAddress
from datapath.probe import Expect, Outcome, Probe
from datapath.spec import MacvlanMode, namespace
from sdn.lab.rundir import RunDir
from sdn.model import Forward, Model, Port, Test


@dataclass(frozen=True, slots=True)
class Check:
    """One address pair of a test; `test` is its name."""

    test: str
    source: Port
    target: Port
    probe: Probe


@dataclass(frozen=True)
class Verdict:
    """What came of a test. A pair of nodes passes when every address pair of it does.

    `apart` are pairs that have no address family in common: nothing can reach, which a test that denies wants.
    """

    test: Test
    results: tuple[tuple[Check, Outcome], ...]
    apart: tuple[tuple[str, str], ...] = ()

    @cached_property
    def pairs(self) -> dict[tuple[str, str], bool]:
        found: dict[tuple[str, str], bool] = dict.fromkeys(self.apart, True)
        for check, outcome in self.results:
            key = check.source.node, check.target.node
            found[key] = found.get(key, True) and outcome.passed
        return found

    @property
    def passed(self) -> bool:
        """A test without a single pair has shown nothing."""
        return bool(self.pairs) and all(outcome.passed for _, outcome in self.results)

    @property
    def seconds(self) -> float:
        """From its first probe to its last outcome; tests run side by side."""
        outcomes = [outcome for _, outcome in self.results]
        return max((o.ended for o in outcomes), default=0.0) - min((o.began for o in outcomes), default=0.0)

    @property
    def failures(self) -> list[tuple[Check, Outcome]]:
        return [(check, outcome) for check, outcome in self.results if not outcome.passed]


class Addresses:
    """The ports of every node, and where its probes are sent and answered: in its namespace, or by a guest's agent."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.ports: dict[str, list[Port]] = {name: [] for name in model.nodes}
        for port in model.ports.values():
            self.ports[port.node].append(port)

    def namespace(self, node: str) -> str | None:
        """None for a guest, and for a node on a chassis that is not ours."""
        ours = self.model.chassis[self.model.nodes[node].chassis].ours
        return namespace(self.model.lab, node) if ours and node not in self.model.guests else None

    def guest(self, node: str) -> Path | None:
        """The socket of the agent in a guest; None for a node that is none."""
        if node not in self.model.guests:
            return None
        from datapath.guest.qemu.command import AGENT

        return RunDir(self.model.lab).guest(node) / AGENT

    def between(self, source: str, target: str) -> Iterator[tuple[Port, IPAddress, Port, IPAddress]]:
        """Every address pair that one node can be asked for from the other."""
        ends = [(s, t) for s in self.ports[source] for t in self.ports[target] if s.network == t.network]
        for here, there in ends or self._strangers(source, target):
            for local in here.ips:
                for remote in there.ips:
                    if local.version == remote.version:
                        yield here, local, there, remote

    def _strangers(self, source: str, target: str) -> Iterator[tuple[Port, Port]]:
        for there in self.ports[target]:
            seen: set[int] = set()
            for here in self.ports[source]:
                versions = {address.version for address in here.ips} & {address.version for address in there.ips}
                if versions - seen:
                    seen |= versions
                    yield here, there

    def versions(self, node: str) -> set[int]:
        return {ip.version for port in self.ports[node] for ip in port.ips}

    def share_a_network(self, source: str, target: str) -> bool:
        return bool({p.network for p in self.ports[source]} & {p.network for p in self.ports[target]})

    def kept_apart(self, source: str, target: str) -> set[MacvlanMode]:
        """Modes of macvlan by which two nodes do not hear each other on the uplink that they share; empty where they
        may meet anywhere."""
        ends = [(s, t) for s in self.ports[source] for t in self.ports[target] if s.network == t.network]
        modes = [_apart_on_uplink(here, there) for here, there in ends]
        return set[MacvlanMode]().union(*modes) if all(modes) else set()

    def may_be_routed(self, source: str, target: str) -> bool:
        """Whether they are in different networks, and one of a gateway's: it leads out of both kinds, into routed."""
        modes = ({forward.mode for forward in self._forwards(node)} for node in (source, target))
        out, into = next(modes) & {"nat", "routed"}, next(modes) & {"routed"}
        return bool(out or into) and not self.share_a_network(source, target)

    def _forwards(self, node: str) -> Iterator[Forward]:
        forwards = (self.model.networks[port.network].forward for port in self.ports[node])
        return (forward for forward in forwards if forward)


def _apart_on_uplink(here: Port, there: Port) -> set[MacvlanMode]:
    """Only two in mode bridge are joined where they are. What vepa sends comes back if the switch beyond does that."""
    if here.macvlan is None or there.macvlan is None or here.chassis != there.chassis:
        return set()
    return {here.macvlan.mode, there.macvlan.mode} - {"bridge"}


def checks(model: Model, tests: Iterable[Test]) -> list[Check]:
    """Every address pair of every test. A node is not asked whether it reaches itself, and external ones do not ask."""
    addresses = Addresses(model)
    found: list[Check] = []
    for test in tests:
        for source in test.sources:
            for target in test.targets:
                if source != target:
                    found += _checks(addresses, test, source, target)
    return found


def _checks(addresses: Addresses, test: Test, source: str, target: str) -> Iterator[Check]:
    own, asker = addresses.namespace(source), addresses.guest(source)
    if own is None and asker is None:
        return
    where, answerer = addresses.namespace(target), addresses.guest(target)
    how = test.probe, test.port, test.expect, test.within
    for here, local, there, remote in addresses.between(source, target):
        yield Check(test.name, here, there, Probe(own or "", local, where, remote, *how, asker, answerer))


def verdicts(
    tests: Mapping[str, Test], asked: Iterable[Check], outcomes: Iterable[Outcome], model: Model | None = None
) -> list[Verdict]:
    """Results by test, in the order of `tests`; pairs that could not be asked are found in `model`."""
    addresses = Addresses(model) if model and any(test.expect == "fail" for test in tests.values()) else None
    by_test: dict[str, list[tuple[Check, Outcome]]] = {name: [] for name in tests}
    for check, outcome in zip(asked, outcomes, strict=True):
        by_test[check.test].append((check, outcome))
    apart = {name: tuple(_apart(addresses, test)) if addresses else () for name, test in tests.items()}
    return [Verdict(tests[name], tuple(results), apart[name]) for name, results in by_test.items()]


def _apart(addresses: Addresses, test: Test) -> Iterator[tuple[str, str]]:
    """Pairs of a test that denies whose nodes speak no common version of IP."""
    for source in test.sources if test.expect == "fail" else ():
        for target in test.targets:
            if source != target and not addresses.versions(source) & addresses.versions(target):
                yield source, target


def mesh(model: Model, within: float = 2.0) -> list[Check]:
    """Every node to every other, expected to answer exactly where they share a network.

    Where a gateway or the switch beyond an uplink may lead from one to the other, the model alone does not say whether
    it does: not asked.
    """
    addresses = Addresses(model)
    source = next(iter(model.nodes.values())).source if model.nodes else None
    found: list[Check] = []
    for a in model.nodes:
        for b in model.nodes:
            apart = addresses.kept_apart(a, b)
            if a != b and source and not addresses.may_be_routed(a, b) and "vepa" not in apart:
                expect: Expect = "ok" if addresses.share_a_network(a, b) and not apart else "fail"
                found += _checks(addresses, Test("matrix", (a,), (b,), "ping", 0, expect, within, source), a, b)
    return found
