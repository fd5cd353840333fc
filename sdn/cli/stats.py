"""`guest stats`: what guests use.

Enters: names of guests that run. Leaves: memory as their balloon drivers tell it, processor time as the kernel counts
it for QEMU's threads, traffic as the taps have seen it. Never: the others not shown because one does not answer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from datapath.errors import SdnError
from datapath.guest.qemu.command import MONITOR
from datapath.linux import namespaces
from datapath.spec import device_name, namespace
from sdn.cli import output, target
from sdn.cli.output import SOFT, STRONG, Cell
from sdn.lab.rundir import RunDir
from sdn.model import Model
from sdn.model.facts import Facts, GuestFacts

_NOTHING: Final = Cell("-", SOFT)
_VCPU: Final = "CPU "
"""Beginning of the name of QEMU's threads that are processors: `CPU 0/KVM`."""


class Counters(NamedTuple):
    """Of an interface, as its guest sees it."""

    received_bytes: int
    received_packets: int
    sent_bytes: int
    sent_packets: int


@dataclass(frozen=True, slots=True)
class Figures:
    """`memory` is in bytes, by the balloon's names, and empty where its driver does not answer: `unknown` is why. Times
    are seconds of a core: of the guest's processors, and of all of QEMU."""

    guest: str
    memory: dict[str, int] = field(default_factory=dict)
    unknown: str = ""
    vcpu_seconds: float = 0.0
    seconds: float = 0.0
    interfaces: dict[str, Counters] = field(default_factory=dict)


def show(wanted: str | None, names: Sequence[str], *, as_json: bool) -> None:
    """Those that are named, or all that run."""
    model, facts = target.running(wanted)
    for name in names:
        target.guest(model, name)
    running = [name for name in names or model.guests if facts.guests.get(name, GuestFacts()).pid]
    with ThreadPoolExecutor(max(len(running), 1)) as pool:
        found = list(pool.map(lambda name: _look(model, facts, name), running))
    if as_json:
        output.as_json([{**asdict(each), "interfaces": _counters_json(each)} for each in found])
        return
    if found:
        _show(found)
    for name in dict.fromkeys(names) if names else ():
        if name not in running:
            output.say(output.paint(f"{name} is {facts.guests.get(name, GuestFacts()).phase}", SOFT))
    if not names and not found:
        output.say("no guest runs")


def _show(found: Sequence[Figures]) -> None:
    numbers = ("memory", "used", "free", "caches", "vcpu time", "qemu time")
    output.table(("guest", *numbers), [_row(each) for each in found], numbers)
    output.say()
    counts = ("received", "packets in", "sent", "packets out")
    rows = [_interface_row(each, name, counters) for each in found for name, counters in each.interfaces.items()]
    output.table(("guest", "interface", *counts), rows, counts)
    for each in found:
        if each.unknown:
            output.say(output.paint(f"{each.guest}: its memory is not known: {each.unknown}", SOFT))


def _row(each: Figures) -> output.Row:
    memory = each.memory
    used = memory["total"] - memory["available"] if {"total", "available"} <= memory.keys() else None
    sizes = (memory.get("actual"), used, memory.get("free"), memory.get("disk-caches"))
    shown = (_NOTHING if size is None else output.size(size) for size in sizes)
    return Cell(each.guest, STRONG), *shown, f"{each.vcpu_seconds:.1f} s", f"{each.seconds:.1f} s"


def _interface_row(each: Figures, name: str, counters: Counters) -> output.Row:
    received, packets_in, sent, packets_out = counters
    sizes = output.size(received), f"{packets_in:,}", output.size(sent), f"{packets_out:,}"
    return Cell(each.guest, STRONG), name, *sizes


def _counters_json(each: Figures) -> dict[str, dict[str, int]]:
    return {name: counters._asdict() for name, counters in each.interfaces.items()}


# ── where the figures are ─────────────────────────────────────────────────────────────────────────────────────────────


def _look(model: Model, facts: Facts, name: str) -> Figures:
    from datapath.guest.qemu import monitor

    memory: dict[str, int] = {}
    unknown = ""
    try:
        memory = monitor.balloon_statistics(RunDir(model.lab).guest(name) / MONITOR)
    except SdnError as error:
        unknown = error.message
    vcpus, whole = processor_time(Path(f"/proc/{facts.guests[name].pid}"))
    return Figures(name, memory, unknown, vcpus, whole, _interfaces(model, name, facts.guests[name].at))


def processor_time(process: Path) -> tuple[float, float]:
    """Seconds of a core, in user and kernel mode: of the threads that are processors, of all. 0 where it has ended."""
    vcpus = whole = 0.0
    try:
        for thread in (process / "task").iterdir():
            name, seconds = _stat((thread / "stat").read_text())
            whole += seconds
            vcpus += seconds if name.startswith(_VCPU) else 0.0
    except (FileNotFoundError, ProcessLookupError):
        return vcpus, whole
    return vcpus, whole


def _stat(line: str) -> tuple[str, float]:
    """Name and seconds (proc_pid_stat(5): comm, utime, stime). A name may hold any character."""
    before, _, after = line.rpartition(")")
    user, system = after.split()[11:13]
    return before.partition("(")[2], (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _interfaces(model: Model, name: str, chassis: str) -> dict[str, Counters]:
    """In a worker thread. What the tap has received its guest has sent."""
    if not chassis:
        return {}
    with (namespaces.DIRECTORY / namespace(model.lab, chassis)).open("rb") as file, namespaces.inside(file.fileno()):
        found = parse_devices(Path("/proc/thread-self/net/dev").read_text())
    interfaces = [ports[0].interface for ports in model.interfaces_of.get(name, ())]
    devices = {interface: device_name("p", name, interface) for interface in interfaces}
    return {interface: found[device] for interface, device in devices.items() if device in found}


def parse_devices(text: str) -> dict[str, Counters]:
    """/proc/net/dev, by device and from the other end (proc_pid_net(5): received bytes and packets are the first two
    numbers, sent ones the ninth and tenth)."""
    found = {}
    for line in text.splitlines()[2:]:
        device, _, rest = line.partition(":")
        numbers = [int(word) for word in rest.split()]
        found[device.strip()] = Counters(numbers[8], numbers[9], numbers[0], numbers[1])
    return found
