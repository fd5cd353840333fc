"""What applying a model would do, said before it is done: steps on every chassis, whom they disturb, flows. PURE.

Enters: the desired Model and the one in the running lab, if any; what was found on interfaces of the machine. Leaves: a
Plan. Never: a look at the machine; what somebody changed behind our back is found and repaired by agent and controller,
not planned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Final, NamedTuple

from datapath.guest_steps import guest_changes
from datapath.plan import Verb, diff
from datapath.spec import Guest, HostSpec, Machine
from datapath.steps import HostStep, steps
from sdn.compile import host_specs
from sdn.model import Model, Network
from sdn.model.facts import Facts
from sdn.pipeline.program import Program

NOTHING: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One thing that will be done. `disturbs` is empty where nothing is interrupted."""

    where: str
    verb: Verb
    what: str
    why: str
    disturbs: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`flows` holds by chassis how many flows are added, changed and removed; chassis without any are left out."""

    steps: tuple[PlanStep, ...]
    flows: dict[str, tuple[int, int, int]]

    def __bool__(self) -> bool:
        return bool(self.steps or self.flows)


def plan(model: Model, previous: Model | None, machine: Mapping[str, str] = NOTHING) -> Plan:
    """What leads from `previous` (None: from nothing) to `model`.

    `machine` says by physical network what its having an interface of the machine does there.
    """
    before = previous or Model(model.lab, model.underlay)
    found = (*_machine_steps(model, before, machine), *_network_steps(model, before), *_host_steps(model, before))
    return Plan(found, _flow_counts(model, before))


def _machine_steps(model: Model, before: Model, machine: Mapping[str, str]) -> Iterator[PlanStep]:
    """Interfaces of the machine that come, and those that go back."""
    wanted = {physnet.interface: physnet for physnet in model.physnets.values() if physnet.interface}
    had = {physnet.interface: physnet for physnet in before.physnets.values() if physnet.interface}
    for interface in dict.fromkeys((*had, *wanted)):
        new, old = wanted.get(interface), had.get(interface)
        if new is None and old is not None:
            why = f"leaves physnet {old.name}; the machine's addresses are put back"
            yield PlanStep("machine", "remove", f"interface {interface}", why, "its traffic pauses")
        elif new is not None and (old is None or old.name != new.name):
            why = machine.get(new.name, f"joins physnet {new.name}").removeprefix(f"interface {interface} ")
            disturbs = "its traffic pauses" if new.moves_addresses and "move" in why else ""
            yield PlanStep("machine", "change" if old else "add", f"interface {interface}", why, disturbs)


def _network_steps(model: Model, before: Model) -> Iterator[PlanStep]:
    """Networks are not objects of a host: they are flows. Named here so that the plan speaks the file's language."""
    for step in diff(model.networks, before.networks):
        if step.verb == "change" and step.desired and step.observed:
            told = _differences(step.desired, step.observed)
            if told:  # else only its line in the file
                disturbs = "its traffic pauses" if step.desired.segment != step.observed.segment else ""
                yield PlanStep("lab", "change", f"network {step.key}", told, disturbs)
        elif step.desired:
            forward = f"; {step.desired.forward}" if step.desired.forward else ""
            yield PlanStep("lab", "add", f"network {step.key}", f"new in the file{forward}", "")
        else:
            yield PlanStep("lab", "remove", f"network {step.key}", "no longer in the file", "its traffic ends")


def _differences(new: Network, old: Network) -> str:
    fields = ("segment", "subnets", "mtu", "unknown_unicast", "forward")
    both = ((name, getattr(old, name), getattr(new, name)) for name in fields)
    return ", ".join(f"{name} {_said(was)} → {_said(now)}" for name, was, now in both if was != now)


def _said(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else "none" if value is None else str(value)


def _host_steps(model: Model, before: Model) -> Iterator[PlanStep]:
    desired = host_specs(model, model.ports)
    observed = host_specs(before, before.ports)
    moving = _moving_guests(desired, observed)
    for chassis in dict.fromkeys((*desired, *observed)):
        for step in steps(desired.get(chassis), observed.get(chassis)):
            name = step.what.removeprefix("guest ")
            if name != step.what and name in moving and step.verb != "change":
                yield from _guest_moves(moving[name], chassis, model) if step.verb == "add" else ()
                continue
            made = _moved(model, before, chassis, step) or PlanStep(chassis, *astuple(step))
            yield _with_switch(model, made)


class _Move(NamedTuple):
    """A guest as it shall be and as it is, and the chassis where it is."""

    desired: Guest
    observed: Guest
    source: str


def _moving_guests(desired: Mapping[str, HostSpec], observed: Mapping[str, HostSpec]) -> dict[str, _Move]:
    was = {guest.name: (guest, chassis) for chassis, spec in observed.items() for guest in spec.guests}
    return {
        guest.name: _Move(guest, *was[guest.name])
        for chassis, spec in desired.items()
        for guest in spec.guests
        if guest.name in was and was[guest.name][1] != chassis
    }


def _guest_moves(move: _Move, chassis: str, model: Model) -> Iterator[PlanStep]:
    """Two chassis have to do with it: one step, where it goes."""
    machine, name = move.desired.machine, move.desired.name
    if "off" in (machine.power, move.observed.machine.power):
        why, disturbs = f"moves here from {move.source}, while it is off", ""
    elif obstacle := _obstacle(machine, move.observed.machine):
        why, disturbs = f"stays on {move.source}: {obstacle}", "nothing, but it is an error; switch it off first"
    elif move.source not in model.chassis:
        why, disturbs = f"moves here from {move.source}, which goes", "it may start anew"
    else:
        mode = "" if machine.migration == "auto" else f" ({machine.migration})"
        why, disturbs = f"moves here live from {move.source}{mode}", "it stands still for a moment"
    yield PlanStep(chassis, "change", f"guest {name}", why, disturbs)
    for step in guest_changes(move.desired, move.observed):
        yield PlanStep(chassis, *astuple(step))


def _obstacle(desired: Machine, observed: Machine) -> str:
    """Why a guest does not move while it runs; '' where it does. What it finds there has to be what it runs with."""
    if desired.devices or observed.devices:
        return "it has host devices"
    if desired.driver == "libvirt" or observed.driver == "libvirt":
        return "libvirt does not move it"
    changing = [word for word in ("memory", "cpus") if getattr(desired, word) != getattr(observed, word)]
    return f"first it needs a start with its new {' and '.join(changing)}" if changing else ""


def _with_switch(model: Model, step: PlanStep) -> PlanStep:
    """A new chassis says what forwards there, where that is not Open vSwitch."""
    host = model.chassis.get(step.where)
    if step.verb != "add" or host is None or step.what != f"chassis {host.name}" or host.has_tables:
        return step
    return replace(step, why=f"{step.why}, with the kernel's bridges (datapath {host.datapath})")


def _moved(model: Model, before: Model, chassis: str, step: HostStep) -> PlanStep | None:
    """A node that another chassis has or had is neither new nor gone."""
    name = step.what.removeprefix("node ")
    new, old = model.nodes.get(name), before.nodes.get(name)
    if name == step.what or not new or not old or new.chassis == old.chassis:
        return None
    if name in model.guests or name in before.guests:
        return None  # a node becomes a guest, or the other way round
    where = f"moves here from {old.chassis}" if new.chassis == chassis else f"moves to {new.chassis}"
    return PlanStep(chassis, step.verb, step.what, where, "its traffic pauses" if new.chassis == chassis else "")


def _flow_counts(model: Model, before: Model) -> dict[str, tuple[int, int, int]]:
    changes = Program(before, Facts()).update(model, Facts())
    return {name: (len(change.add), len(change.change), len(change.remove)) for name, change in changes.items()}
