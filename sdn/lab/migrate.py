"""A guest of a running lab moved to another chassis, without changing the lab's file.

Enters: a guest, a chassis. Leaves: a model of the store that wishes it there, and the facts that say it is; or, where
it could not move, the wish as it was before. Never: the move itself, which is the agent's; a wish of somebody else's
taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from datapath.errors import CheckError, FileError, MachineError, SdnError
from datapath.spec import FIRST_PORT_OFPORT, LAST_OFPORT, MigrationMode
from sdn.lab import features
from sdn.lab.guests import PHASES, LateError, Work
from sdn.model import Model, Port
from sdn.model.facts import Facts, FlowFacts, GuestFacts, HostFacts
from sdn.topology.allot import Slots, allot
from sdn.topology.capabilities import lack, needed_by

MIB: Final = 1 << 20

_BACK: Final = 10.0
"""Seconds for a guest that was on its way when the time was over to be somewhere again."""

_STAYS: Final = 3.0
"""Seconds for the agent to know that one shall not leave any more, which it may do at this moment."""


def move(work: Work, name: str, chassis: str, mode: MigrationMode | None = None) -> Facts:
    """Returns when it is there. `mode` None: as its machine says. Raises FileError or MachineError where it cannot be
    there, CheckError where it has not moved; the lab wishes then what it wished before, or what somebody else has
    wished meanwhile."""
    before = _model(work)
    check(before, name, chassis)
    model = work.change(partial(moved, name=name, chassis=chassis, mode=mode))
    try:
        facts = work.wait(model, partial(_is_over, work), (name,))
        _check_ours(_model(work), model, name)
        if not _is_there(model, facts, name):
            raise CheckError(f"{name} has not moved: {facts.guests[name].error}", remedy=f"see: sdn guest show {name}")
    except LateError as error:
        after = work.change(partial(_as_before, name=name, before=before, wish=model))
        raise _late(work, model, after, name, error.facts) from error
    except SdnError:
        work.change(partial(_as_before, name=name, before=before, wish=model))
        raise
    if mode is not None:
        work.change(partial(_with_mode_before, name=name, before=before, wish=model))
    return facts


def check(model: Model, name: str, chassis: str) -> None:
    """Raises FileError or MachineError."""
    host = model.chassis[chassis]
    if not host.ours:
        raise FileError(f"{chassis} is somebody else's vtep: nothing can be started there")
    machine = model.guests[name].machine
    if machine.devices and machine.power != "off":
        raise MachineError(
            "live migration",
            f"{name} has devices of this machine for itself ({', '.join(machine.devices)}), which cannot move",
            remedy=f"sdn guest stop {name}, then move it",
        )
    for obstacle in (*_networks(model, name, chassis), *_room(model, name, chassis)):
        raise FileError(f"{name} cannot be on {chassis}: {obstacle}")
    features.check(moved(model, name, chassis))


def _networks(model: Model, name: str, chassis: str) -> Iterator[str]:
    for port in _ports(model, name):
        segment = model.networks[port.network].segment
        others = {each.chassis for each in model.ports_of[port.network] if each.node != name}
        if segment.kind == "local" and others - {chassis}:
            yield f"network {port.network} is local to {', '.join(sorted(others))}"
        if segment.physnet and segment.physnet not in model.chassis[chassis].physnets:
            yield f"it has no uplink into {segment.physnet}, which network {port.network} is on"
        for feature in needed_by(model.networks[port.network]):
            if missing := lack(model.chassis[chassis], feature, f"network '{port.network}'"):
                yield f"it has {missing.what}"


def _room(model: Model, name: str, chassis: str) -> Iterator[str]:
    host, guest = model.chassis[chassis], model.guests[name]
    there = [each for key, each in model.guests.items() if model.nodes[key].chassis == chassis and key != name]
    left = host.memory - sum(each.machine.memory for each in there)
    if host.memory and guest.machine.memory > left:
        yield f"it has {left // MIB} MiB of memory left, and {name} wants {guest.machine.memory // MIB}"
    free = host.cpus - sum(each.machine.cpus for each in there)
    if host.cpus and guest.machine.cpus > free:
        yield f"it has {free} CPUs left, and {name} wants {guest.machine.cpus}"
    for each in there:
        if shared := sorted(set(each.anti_affinity) & set(guest.anti_affinity)):
            yield f"{each.name} is there, which is of anti-affinity '{shared[0]}' too"


# ── edits ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def moved(model: Model, name: str, chassis: str, mode: MigrationMode | None = None) -> Model:
    """Its ports keep their numbers where nobody on the other chassis has them."""
    numbers = _ofports(model, name, chassis)
    ports = {
        key: replace(port, chassis=chassis, ofport=numbers.get(port.interface, port.ofport))
        if port.node == name
        else port
        for key, port in model.ports.items()
    }
    nodes = model.nodes | {name: replace(model.nodes[name], chassis=chassis)}
    there = replace(model, nodes=nodes, ports=ports)
    return there if mode is None else _with_mode(there, name, mode)


def _ofports(model: Model, name: str, chassis: str) -> dict[str, int]:
    """By interface; those that are no bridge port have none to give."""
    own = {port.interface: port.ofport for port in _ports(model, name) if port.macvlan is None}
    taken = {port.ofport for port in model.ports.values() if port.chassis == chassis and port.node != name}
    words = {interface: f"{name}/{interface}" for interface in own}
    slots = Slots("ofport", FIRST_PORT_OFPORT, LAST_OFPORT)
    free = {interface: number for interface, number in own.items() if number not in taken}
    return allot(slots, words, words=words, previous=free, reserved=taken)


def _with_mode(model: Model, name: str, mode: MigrationMode) -> Model:
    guest = model.guests[name]
    return replace(model, guests=model.guests | {name: replace(guest, machine=replace(guest.machine, migration=mode))})


def _with_mode_before(model: Model, name: str, before: Model, wish: Model) -> Model:
    """Unless somebody has wished it elsewhere since `wish`."""
    return _with_mode(model, name, before.guests[name].machine.migration) if _is_ours(model, wish, name) else model


def _as_before(model: Model, name: str, before: Model, wish: Model) -> Model:
    """Whatever else has changed meanwhile; unless somebody has wished it elsewhere since `wish`."""
    if not _is_ours(model, wish, name):
        return model
    ports = {port.name: port for port in _ports(before, name) if port.name in model.ports}
    return replace(
        model,
        nodes=model.nodes | {name: before.nodes[name]},
        ports=model.ports | ports,
        guests=model.guests | {name: before.guests[name]},
    )


def _ports(model: Model, name: str) -> list[Port]:
    return [port for port in model.ports.values() if port.node == name]


def _is_ours(model: Model, wish: Model, name: str) -> bool:
    """Whether the guest is still wished where, and by the mode that, `wish` has."""
    if name not in model.guests or name not in model.nodes:
        return False
    same = model.nodes[name].chassis == wish.nodes[name].chassis
    return same and model.guests[name].machine.migration == wish.guests[name].machine.migration


def _check_ours(model: Model, wish: Model, name: str) -> None:
    """Raises CheckError."""
    if _is_ours(model, wish, name):
        return
    node = model.nodes.get(name)
    what = "removed it" if node is None else f"wished it on {node.chassis}"
    raise CheckError(f"{name} has not moved to {wish.nodes[name].chassis}: somebody else {what}")


# ── what is waited for ────────────────────────────────────────────────────────────────────────────────────────────────


def _is_there(model: Model, facts: Facts, name: str) -> bool:
    """One that is off will start there."""
    seen, power = facts.guests.get(name, GuestFacts()), model.guests[name].machine.power
    arrived = seen.at == model.nodes[name].chassis and not seen.leaves
    return seen.phase == PHASES[power] and (arrived or power == "off")


def _is_over(work: Work, model: Model, facts: Facts, name: str) -> bool:
    """Decided, or nobody's wish any more."""
    return not _is_ours(_model(work), model, name) or _is_decided(model, facts, name)


def _is_decided(model: Model, facts: Facts, name: str) -> bool:
    """There, or the agent has dealt with the wish and says why it is not."""
    seen = facts.guests.get(name, GuestFacts())
    dealt = facts.hosts.get(model.nodes[name].chassis, HostFacts()).revision >= model.revision
    return dealt and (_is_there(model, facts, name) or (bool(seen.error) and seen.phase != "moving"))


def _model(work: Work) -> Model:
    model = work.store.model()
    if model is None:
        raise FileError("the lab has no topology yet", remedy="bring it up with: sdn up FILE")
    return model


# ── what is told ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _late(work: Work, wish: Model, after: Model, name: str, then: Facts) -> CheckError:
    """`then` was known when the time was over; `after` is what the lab wishes now."""
    chassis, now = wish.nodes[name].chassis, _once_calm(work, after, name, then)
    was_going = then.guests.get(name, GuestFacts()).phase == "moving"
    why = [] if was_going else list(_lacks(wish, then, name))
    said = ": ".join([f"{name} has not moved to {chassis} in time", *["; ".join(why)] * bool(why)])
    looks = f"see: sdn status, sdn logs {chassis}" if why else "give it more time: --timeout"
    return CheckError(f"{said}\n  {_where(after, then, now, name)}", remedy=looks)


def _once_calm(work: Work, model: Model, name: str, then: Facts) -> Facts:
    """What is known when it is where it is wished again; or when it does not come."""
    if name not in model.nodes:
        return then
    try:
        going = then.guests.get(name, GuestFacts()).phase == "moving"
        return work.within(_BACK if going else _STAYS).wait(model, _is_calm, (name,))
    except LateError as error:
        return error.facts


def _is_calm(model: Model, facts: Facts, name: str) -> bool:
    """Before the agent knows of a wish, it may begin with the one before."""
    knows = facts.hosts.get(model.nodes[name].chassis, HostFacts()).revision >= model.revision
    return knows and _is_there(model, facts, name)


def _lacks(wish: Model, facts: Facts, name: str) -> Iterator[str]:
    """Why it has not left: what is not ready where it shall go."""
    host = wish.chassis[wish.nodes[name].chassis]
    flows, built = facts.flows.get(host.name, FlowFacts()), facts.hosts.get(host.name, HostFacts())
    of_host = [each for each in built.errors if not each.startswith("guest ")]  # its own is below, others' are theirs
    errors = [each for each in (facts.guests.get(name, GuestFacts()).error, *of_host, flows.error) if each]
    yield from errors
    if host.has_tables and not flows.connected:
        yield f"the switch of {host.name} is not connected to the controller"
    elif host.has_tables and flows.revision < wish.revision:
        yield f"the switch of {host.name} has not confirmed flows of revision {wish.revision} (it has {flows.revision})"
    elif built.revision < wish.revision and not errors:
        yield f"the agent has not said that its interfaces on {host.name} are ready"


def _where(model: Model, then: Facts, now: Facts, name: str) -> str:
    """In words, by what its agent says."""
    seen = now.guests.get(name, GuestFacts())
    home = model.nodes[name].chassis if name in model.nodes else seen.at
    if not _has_settled(model, now, name):
        return f"it is {seen.phase}{f' on {seen.at}' if seen.at else ''} now, and shall be on {home} again"
    came_back = seen.note.startswith("moved from ") and seen.note != then.guests.get(name, GuestFacts()).note
    return f"it {'was moved back, and ' if came_back else ''}is {seen.phase} on {home}{f': {seen.note}' * came_back}"


def _has_settled(model: Model, facts: Facts, name: str) -> bool:
    return name in model.nodes and _is_there(model, facts, name)
