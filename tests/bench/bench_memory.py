"""What the lab's own processes take up with 1,000 ports on 20 chassis."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from sdn.lab import status
from tests.bench.labs import thousand_ports
from tests.bench.registry import Measured, at_most, bench

_ROW = re.compile(r"^(Rss|Pss): +([0-9]+) kB$", re.MULTILINE)
WANTED = ("controller", "agent")


class Memory(NamedTuple):
    """In MB. `pss` shares out the pages that several processes have in common: they are forks of one."""

    rss: float
    pss: float


@bench("memory of controller + agent, 1,000 ports on 20 chassis", unit="MB RSS", target=at_most(150))
def controller_and_agent() -> Measured:
    with thousand_ports() as lab:
        found = {process.name: _memory(process.pid) for process in status(lab.name).processes}
    each = "; ".join(f"{name} {memory.rss:.0f} RSS, {memory.pss:.0f} PSS" for name, memory in found.items())
    pss = sum(found[name].pss for name in WANTED)
    return Measured(sum(found[name].rss for name in WANTED), note=f"sum of PSS {pss:.0f} MB; {each}")


def _memory(pid: int) -> Memory:
    figures = dict(_ROW.findall(Path(f"/proc/{pid}/smaps_rollup").read_text()))
    return Memory(int(figures["Rss"]) * 1024 / 1e6, int(figures["Pss"]) * 1024 / 1e6)
