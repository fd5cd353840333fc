"""What the benchmarks of labs share: a topology under a name of its own, brought up and down as a user does.

Enters: a topology file, or a size. Leaves: a running lab that is gone when the `with` is over. Never: a lab of another.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datapath.spec import namespace
from sdn.model import Model, Port
from sdn.topology import parse

ROOT = Path(__file__).parent.parent.parent
PORTS, CHASSIS = 1_000, 20


def program() -> list[str]:
    """`sdn` as it is installed beside this interpreter, or as a module where the clone is not installed."""
    script = Path(sys.executable).with_name("sdn")
    return [str(script)] if script.exists() else [sys.executable, "-m", "sdn.cli.main"]


def timed(*arguments: str) -> float:
    """Seconds that the whole command takes. Raises CalledProcessError, whose note is what it said."""
    started = time.perf_counter()
    try:
        subprocess.run([*program(), *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        error.add_note(error.stdout + error.stderr)
        raise
    return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Lab:
    """A topology file whose lab may run."""

    file: Path
    name: str

    def model(self) -> Model:
        return parse(self.file.read_text(), str(self.file))

    def up(self) -> float:
        return timed("up", str(self.file))

    def apply(self) -> float:
        return timed("apply", str(self.file))

    def down(self) -> float:
        return timed("down", self.name)


@contextmanager
def lab(topology: str) -> Iterator[Lab]:
    """The topology under a name that no other lab has; taken down at the end in any case."""
    name = f"bench{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="sdn-bench-") as directory:
        file = Path(directory) / "topology.yaml"
        file.write_text(f"name: {name}\n{topology}")
        try:
            yield Lab(file, name)
        finally:
            timed("down", str(file))  # by file: it may be down already


def example(name: str) -> str:
    """An example topology without its name."""
    lines = (ROOT / "topologies" / name).read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("name:"))


def thousand(extra: int = 0) -> str:
    """1,000 nodes, one line each, on 20 chassis in one VXLAN network; and `extra` more."""
    head = (
        f"chassis: {{'hv[1-{CHASSIS}]': {{}}}}\nnetworks:\n  lan: {{segment: {{vxlan: 3000}}, subnet: 10.3.0.0/16}}\n"
    )
    return head + "nodes:\n" + "".join(f"  n{number}: {{network: lan}}\n" for number in range(1, PORTS + extra + 1))


@contextmanager
def thousand_ports() -> Iterator[Lab]:
    """The lab of `thousand`, up."""
    with lab(thousand()) as running:
        running.up()
        yield running


def every_pair(model: Model) -> list[tuple[Port, Port]]:
    """All ordered pairs of ports."""
    return list(itertools.permutations(model.ports.values(), 2))


def home(model: Model, port: Port) -> str:
    return namespace(model.lab, port.node)


def listed(values: Mapping[str, list[float]]) -> str:
    return "; ".join(f"{what} {', '.join(f'{value:.2f}' for value in each)} s" for what, each in values.items())
