"""A running lab as the tests see it: change it, probe it, listen on its wires, ask its switches.

Enters: a topology as a path, text or data. Leaves: a `Lab`. Never: a lab of another name is touched.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

import sdn.lab
from datapath import probe
from datapath.linux.namespaces import names
from datapath.openflow.codec import FlowStats
from datapath.ovs.control import call
from datapath.probe import Expect, Kind, Outcome
from datapath.spec import INTEGRATION_BRIDGE, UNDERLAY_DEVICE, namespace
from sdn.compile import physnet_bridge
from sdn.lab import Result
from sdn.lab.pairs import Check, Verdict, checks, mesh, verdicts
from sdn.lab.rundir import RunDir
from sdn.model import Model, Port, Source, Test
from sdn.model.facts import Facts
from sdn.topology import parse
from tests.lab import capture
from tests.lab.capture import Capture
from tests.lab.openflow_client import OpenFlow
from tests.machine.pace import PATIENCE

if TYPE_CHECKING:
    from scapy.packet import Packet

T = TypeVar("T")
Topology = Path | str | dict[str, Any]
"""A file, or what would be in one."""

ROOT = Path(__file__).parent.parent.parent
TOPOLOGIES = ROOT / "topologies"
OPENFLOW_14 = 5
UP_SECONDS = 30 * PATIENCE
"""Longest that a command of a test may take."""
_NAME = re.compile(r"^name:.*$", re.MULTILINE)
_count = itertools.count(1)


def unique_name() -> str:
    """A lab name that no other test has, also not in another run of the tests beside this one."""
    return f"t{os.getpid()}_{next(_count)}"


def written(topology: Topology) -> tuple[str, str]:
    """The topology's text, and what it calls its file."""
    if isinstance(topology, Path):
        return topology.read_text(), str(topology)
    if isinstance(topology, str):
        return topology, "lab.yaml"
    return yaml.safe_dump(topology, sort_keys=False), "lab.yaml"


def named(text: str, lab: str) -> str:
    """The text with the lab's own name in it, on the line where the name was, so that other lines keep their number."""
    line = f"name: {lab}"
    return _NAME.sub(line, text, count=1) if _NAME.search(text) else f"{text.rstrip()}\n{line}\n"


@dataclass
class Lab:
    """A lab that is up. `model` and `facts` are read from its store whenever they are asked for."""

    name: str
    text: str = ""
    """The topology that was applied last."""
    results: list[Result] = field(default_factory=list)

    # ── what it is ──

    @property
    def run(self) -> RunDir:
        return RunDir(self.name)

    @property
    def model(self) -> Model:
        model, _ = sdn.lab.snapshot(self.name)
        assert model is not None
        return model

    @property
    def facts(self) -> Facts:
        return sdn.lab.snapshot(self.name)[1]

    def namespace(self, name: str = "") -> str:
        """Of a node or a chassis; without a name the lab's own, with the underlay's and the physnets' bridges."""
        return namespace(self.name, name)

    def port(self, name: str) -> Port:
        """By its name, or the only port of a node."""
        ports = self.model.ports
        if name in ports:
            return ports[name]
        (found,) = [port for port in ports.values() if port.node == name]
        return found

    # ── what is done to it ──

    def parse(self, topology: Topology, previous: Model | None = None) -> Model:
        """The model of a topology under this lab's name; with the running lab's numbers if `previous` is its model."""
        text, file = written(topology)
        return parse(named(text, self.name), file, previous)

    def up(self, topology: Topology) -> Result:
        """Bring it up, or to this topology if it is up already."""
        with sdn.lab.connected(self.name) as store:
            model = self.parse(topology, store.model() if store else None)
            result = sdn.lab.up(model, timeout=UP_SECONDS, store=store)
        self.text = named(written(topology)[0], self.name)
        self.results.append(result)
        return result

    def apply(self, topology: Topology) -> Result:
        """Change the running lab to this topology."""
        result = sdn.lab.apply(self.parse(topology, self.model), timeout=UP_SECONDS)
        self.text = named(written(topology)[0], self.name)
        self.results.append(result)
        return result

    def down(self) -> bool:
        return sdn.lab.down(self.name)

    # ── packets by the nodes' own kernels ──

    def probe(
        self,
        sources: str | Sequence[str],
        targets: str | Sequence[str],
        kind: Kind = "ping",
        port: int = 0,
        expect: Expect = "ok",
        within: float = 5.0 * PATIENCE,
    ) -> list[Outcome]:
        """Every source node to every target node, over all address pairs that they have in common."""
        return probe.run([check.probe for check in self._checks(sources, targets, kind, port, expect, within)])

    def ping(self, source: str, target: str, expect: Expect = "ok") -> None:
        """Raises AssertionError where `expect` does not come true for every address pair."""
        outcomes = self.probe(source, target, expect=expect)
        assert outcomes, f"{source} and {target} have no addresses in common"
        assert failures(outcomes) == []

    def test(self) -> list[Verdict]:
        """The tests of the topology file, as `sdn test` runs them."""
        model = self.model
        asked = checks(model, model.tests.values())
        return verdicts(model.tests, asked, probe.run([check.probe for check in asked]))

    def mesh(self) -> list[str]:
        """Every node to every other; what is not as the networks say: empty where all is well."""
        return failures(probe.run([check.probe for check in mesh(self.model)]))

    def _checks(self, sources: str | Sequence[str], targets: str | Sequence[str], *how: Any) -> list[Check]:
        source = (sources,) if isinstance(sources, str) else tuple(sources)
        target = (targets,) if isinstance(targets, str) else tuple(targets)
        return checks(self.model, [Test("test", source, target, *how, Source("test", 1))])

    # ── frames of our own ──

    def send(self, node: str, *frames: Packet | bytes, device: str = "eth0") -> None:
        """From a node's interface, past its kernel's IP."""
        capture.send(self.namespace(node), device, frames)

    @contextmanager
    def capture(self, name: str, device: str = "") -> Iterator[Capture]:
        """On a node's eth0, a chassis' `underlay0`, or with "" on a device of the lab's own namespace."""
        default = UNDERLAY_DEVICE if name in self.model.chassis else "eth0"
        with self.listen(name, device or default) as listening:
            yield listening

    @contextmanager
    def capture_all(self, *where: str) -> Iterator[list[Capture]]:
        """Several at once, in the order given."""
        chassis = self.model.chassis
        opened = [Capture(self.namespace(name), UNDERLAY_DEVICE if name in chassis else "eth0") for name in where]
        with self._kept(opened):
            yield opened

    @contextmanager
    def listen(self, name: str, device: str) -> Iterator[Capture]:
        opened = Capture(self.namespace(name), device)
        with self._kept([opened]):
            yield opened

    @contextmanager
    def _kept(self, opened: list[Capture]) -> Iterator[None]:
        """What was captured when a test failed goes to the run directory, and from there to the artifacts."""
        try:
            yield
        except BaseException:
            for listening in opened:
                listening.matching(bool)
                listening.write(self.run.path / "captures" / f"{listening.where.replace(':', '.')}.pcap")
            raise
        finally:
            for listening in opened:
                listening.close()

    def in_namespace(self, name: str, function: Callable[[], T]) -> T:
        """What `function` returns in the namespace of a node or chassis ("": the lab's)."""
        return capture.in_namespace(self.namespace(name), function)

    def execute(self, name: str, *command: str) -> str:
        """Standard output of a command in the namespace of a node or chassis ("": the lab's), or in a guest."""
        if name in self.model.guests:
            return self._in_guest(name, command)
        return run("ip", "netns", "exec", self.namespace(name), *command)

    def _in_guest(self, name: str, command: Sequence[str]) -> str:
        from datapath.guest.qga import Agent

        done = asyncio.run(Agent(self.run.path / "guests" / name / "agent.sock").run(command))
        out = done.out.decode(errors="replace")
        if done.code:
            error = subprocess.CalledProcessError(done.code, list(command), out, done.err.decode(errors="replace"))
            error.add_note(f"{out}{error.stderr}")
            raise error
        return out

    # ── the switches ──

    def chassis_dir(self, chassis: str) -> Path:
        return self.run.chassis(chassis)

    def appctl(self, chassis: str, *command: str) -> str:
        (answer,) = call(self.chassis_dir(chassis) / "ovs-vswitchd.ctl", [command])
        return answer

    def settle(self) -> None:
        """Returns when the datapath caches of all chassis follow their tables."""
        for chassis in self.model.chassis.values():
            if chassis.has_tables:
                self.appctl(chassis.name, "revalidator/wait")

    def ofctl(self, chassis: str, command: str, *arguments: str) -> str:
        bridge = self.chassis_dir(chassis) / f"{INTEGRATION_BRIDGE}.mgmt"
        return run("ovs-ofctl", "-O", "OpenFlow14", command, f"unix:{bridge}", *arguments)

    def vsctl(self, chassis: str, *arguments: str) -> str:
        return run("ovs-vsctl", f"--db=unix:{self.chassis_dir(chassis)}/db.sock", *arguments)

    def flows(self, chassis: str) -> list[FlowStats]:
        """What the switch has, with counters; learned flows too."""
        switch = OpenFlow(self.chassis_dir(chassis) / f"{INTEGRATION_BRIDGE}.mgmt", OPENFLOW_14)
        try:
            return switch.dump()
        finally:
            switch.close()

    def log(self, process: str) -> str:
        """Of `supervisor`, `controller`, `agent` or `store`."""
        return (self.run.logs / f"{process}.log").read_text()

    # ── machines that are not ours ──

    def physnet_bridge(self, physnet: str) -> str:
        """The Linux bridge in the lab's own namespace that stands for a physical network."""
        return physnet_bridge(physnet)

    def leftovers(self) -> list[str]:
        """What of the lab is still on this machine: namespaces, files, processes."""
        spaces = [name for name in names(namespace(self.name)) if _belongs(name, self.name)]
        files = [str(self.run.path)] if self.run.path.exists() else []
        return [*spaces, *files, *processes_of(self.run.path)]


def _belongs(name: str, lab: str) -> bool:
    return name == namespace(lab) or name.startswith(namespace(lab, "") + "-")


def processes_of(directory: Path) -> list[str]:
    """`pid command` of the processes that name the run directory on their command line or write into it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid() and _uses(entry, f"{directory}/"):
            found.append(f"{entry.name} {_command(entry)}")
    return found


def _uses(process: Path, prefix: str) -> bool:
    try:
        command = _command(process)
        if not command or prefix in command:
            return bool(command)  # one without memory is ending: its files go next
        return os.readlink(process / "fd" / "2").startswith(prefix)
    except OSError:
        return False  # it has just ended


def _command(process: Path) -> str:
    return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def failures(outcomes: Iterable[Outcome]) -> list[str]:
    """In words, those that did not come out as expected."""
    return [
        f"{o.probe.kind} {o.probe.namespace} {o.probe.source} → {o.probe.target}: {o.detail or 'answered'}, "
        f"expected {o.probe.expect}"
        for o in outcomes
        if not o.passed
    ]


def run(*command: str | Path) -> str:
    """Standard output of a command; raises CalledProcessError, whose note is what it said on standard error."""
    try:
        done = subprocess.run(
            [str(part) for part in command], check=True, capture_output=True, text=True, timeout=UP_SECONDS
        )
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise
    return done.stdout
