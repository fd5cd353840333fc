"""What applying a model would do, said before it is done: steps on every chassis, whom they disturb, flows. PURE.

Enters: the desired Model and the one in the running lab, if any. Leaves: a Plan. Never: a look at the machine; what
somebody changed behind our back is found and repaired by agent and controller, not planned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass

from datapath.plan import Verb, diff
from datapath.steps import HostStep, steps
from sdn.compile import host_specs
from sdn.model import Model
from sdn.model.facts import Facts
from sdn.pipeline.program import Program


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


def plan(model: Model, previous: Model | None) -> Plan:
    """What leads from `previous` (None: from nothing) to `model`."""
    before = previous or Model(model.lab, model.underlay)
    return Plan((*_network_steps(model, before), *_host_steps(model, before)), _flow_counts(model, before))


def _network_steps(model: Model, before: Model) -> Iterator[PlanStep]:
    """Networks are not objects of a host: they are flows. Named here so that the plan speaks the file's language."""
    for step in diff(model.networks, before.networks):
        if step.verb == "change" and step.desired and step.observed:
            fields = ("segment", "subnets", "mtu", "unknown_unicast")
            other = [name for name in fields if getattr(step.desired, name) != getattr(step.observed, name)]
            if not other:  # only its line in the file
                continue
            told = ", ".join(f"{name} {getattr(step.observed, name)} → {getattr(step.desired, name)}" for name in other)
            disturbs = "its traffic pauses" if {"segment"} & set(other) else ""
            yield PlanStep("lab", "change", f"network {step.key}", told, disturbs)
        else:
            why = "new in the file" if step.verb == "add" else "no longer in the file"
            yield PlanStep("lab", step.verb, f"network {step.key}", why, "its traffic ends" if step.observed else "")


def _host_steps(model: Model, before: Model) -> Iterator[PlanStep]:
    desired = host_specs(model, model.ports)
    observed = host_specs(before, before.ports)
    for chassis in dict.fromkeys((*desired, *observed)):
        for step in steps(desired.get(chassis), observed.get(chassis)):
            yield _moved(model, before, chassis, step) or PlanStep(chassis, *astuple(step))


def _moved(model: Model, before: Model, chassis: str, step: HostStep) -> PlanStep | None:
    """A node that another chassis has or had is neither new nor gone."""
    name = step.what.removeprefix("node ")
    new, old = model.nodes.get(name), before.nodes.get(name)
    if name == step.what or not new or not old or new.chassis == old.chassis:
        return None
    where = f"moves here from {old.chassis}" if new.chassis == chassis else f"moves to {new.chassis}"
    return PlanStep(chassis, step.verb, step.what, where, "its traffic pauses" if new.chassis == chassis else "")


def _flow_counts(model: Model, before: Model) -> dict[str, tuple[int, int, int]]:
    changes = Program(before, Facts()).update(model, Facts())
    return {name: (len(change.add), len(change.change), len(change.remove)) for name, change in changes.items()}
