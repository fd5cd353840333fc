"""What a change does to the guests of a chassis, and what runs in them is told of it. PURE.

Enters: Guests as they are desired and observed. Leaves: HostSteps. Never: whether a guest really runs: what is wished
of its power says so here, and what it does meanwhile is the keeper's to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from datapath.host_step import GONE, NEW, HostStep, Reason
from datapath.plan import diff
from datapath.plug_steps import interface_change
from datapath.spec import Guest, Interface, Machine, Power
from datapath.words import size

ENDS: Final = "what runs in it ends; its own disk and snapshots go, named volumes stay"

_POWER: Final[dict[tuple[Power, Power], Reason]] = {
    ("off", "on"): ("starts", ""),
    ("off", "paused"): ("is made ready, and does not run yet", ""),
    ("paused", "on"): ("goes on", ""),
    ("on", "paused"): ("pauses", "it stands still"),
    ("on", "off"): ("is switched off by its power button", "what runs in it ends"),
    ("paused", "off"): ("is switched off by its power button", "what runs in it ends"),
}
"""By what was wished, and is wished now."""

_AT_START: Final = {
    "memory": "memory",
    "cpus": "cpus",
    "image": "image",
    "disk": "disk",
    "kernel": "kernel",
    "seed": "what cloud-init finds",
    "devices": "host devices",
    "driver": "driver",
}
"""What of a machine is settled when it starts, in words."""

_VALUED: Final = frozenset({"memory", "cpus", "image", "disk", "driver"})
"""Those whose values are short enough to be said."""

_AT_ONCE: Final = ("restart", "migration")


def guest_steps(desired: Sequence[Guest], observed: Sequence[Guest]) -> list[HostStep]:
    guests = {guest.name: guest for guest in desired}
    before = {guest.name: guest for guest in observed}
    found: list[HostStep] = []
    for step in diff(guests, before):
        if step.verb == "change":
            found += guest_changes(guests[step.key], before[step.key])
        elif step.verb == "add":
            found.append(HostStep("add", f"guest {step.key}", introduced(guests[step.key].machine)))
        else:
            found.append(HostStep("remove", f"guest {step.key}", GONE, ENDS))
    return found


def introduced(machine: Machine) -> str:
    """A new one, in words."""
    what = (
        "the built-in guest"
        if machine.builtin
        else machine.image or f"kernel {machine.kernel and machine.kernel.image}"
    )
    power = {"on": "", "off": "; stays off", "paused": "; waits paused"}[machine.power]
    return f"{NEW}: {what}, {size(machine.memory)}, {machine.cpus} cpu{'s' * (machine.cpus > 1)}{power}"


def guest_changes(desired: Guest, observed: Guest) -> Iterator[HostStep]:
    """Of one that stays, or moves."""
    runs = observed.machine.power != "off"
    said, disturbed = _machine(desired.machine, observed.machine, runs)
    if said:
        yield HostStep("change", f"guest {desired.name}", ", ".join(said), "; ".join(disturbed))
    wanted = {each.name: each for each in desired.interfaces}
    before = {each.name: each for each in observed.interfaces}
    for step in diff(wanted, before):
        what = f"{desired.name}:{step.key}"
        if step.verb == "add":
            yield HostStep("add", what, "plugged in while it runs" if runs else NEW)
        elif step.verb == "remove":
            yield HostStep(
                "remove", what, "unplugged while it runs" if runs else GONE, "its connections end" if runs else ""
            )
        else:
            reason = _nic_change(wanted[step.key], before[step.key], desired.machine, runs)
            yield HostStep("change", what, *reason)


def _machine(desired: Machine, observed: Machine, runs: bool) -> tuple[list[str], list[str]]:
    """What changes, and what that disturbs."""
    said, disturbed = [], []
    if desired.power != observed.power:
        words, loss = _POWER[observed.power, desired.power]
        said.append(words)
        disturbed += [loss] if loss else []
    come = [name for name in desired.volumes if name not in observed.volumes]
    gone = [name for name in observed.volumes if name not in desired.volumes]
    said += [f"volume {name} is attached" for name in come] + [f"volume {name} is detached" for name in gone]
    if gone and runs:
        disturbed.append(f"what has {', '.join(gone)} open loses it")
    late = " with its next start" if runs and desired.power != "off" else ""
    said += [f"{words}{_values(field, desired, observed)}{late}" for field, words in _differing(desired, observed)]
    said += [
        f"{field} {getattr(observed, field)} → {getattr(desired, field)}"
        for field in _AT_ONCE
        if getattr(desired, field) != getattr(observed, field)
    ]
    return said, disturbed


def _differing(desired: Machine, observed: Machine) -> Iterator[tuple[str, str]]:
    for field, words in _AT_START.items():
        if getattr(desired, field) != getattr(observed, field):
            yield field, words


def _values(field: str, desired: Machine, observed: Machine) -> str:
    if field not in _VALUED:
        return " changes"
    old, new = (getattr(each, field) for each in (observed, desired))
    if field in ("memory", "disk"):
        old, new = (size(value) if value else "" for value in (old, new))
    return f" {old or 'none'} → {new or 'none'}"


def _nic_change(desired: Interface, observed: Interface, machine: Machine, runs: bool) -> Reason:
    """The guest sees another device where its MAC or MTU is another: it is unplugged, and plugged in again."""
    why, disturbs = interface_change(desired, observed)
    if runs and (desired.mac, desired.mtu) != (observed.mac, observed.mtu):
        return f"plugged in anew: {why}", "its connections end"
    if _inside(desired) != _inside(observed) and not machine.builtin and not desired.dhcp:
        why += "; the guest itself has to take that over"
    return why, disturbs


def _inside(interface: Interface) -> object:
    """What only the guest itself can set up."""
    return interface.addresses, interface.vlans, interface.gateway
