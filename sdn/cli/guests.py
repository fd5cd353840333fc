"""`guest list` and `guest show`, and what `status` says of guests.

Enters: a Model and Facts. Leaves: tables and JSON. Never: a question to a guest, but `show` for its addresses.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from datapath.guest.pool import disks
from datapath.spec import GuestPhase, Machine
from sdn import lab
from sdn.cli import addresses, output, snapshots, target
from sdn.cli.output import BAD, GOOD, SOFT, STRONG, WARNING, Cell
from sdn.lab.guests import PHASES
from sdn.lab.rundir import RunDir
from sdn.model import Guest, Model
from sdn.model.facts import Facts, GuestFacts

_COLUMNS: Final = ("guest", "chassis", "state", "memory", "cpus", "addresses", "accelerator", "for", "restarts")
_RIGHT: Final = ("memory", "cpus", "restarts")

_WIDTH: Final = 120
"""Of what is no terminal."""

_STYLES: Final[dict[GuestPhase, str]] = {
    "off": SOFT,
    "starting": WARNING,
    "running": GOOD,
    "paused": WARNING,
    "moving": WARNING,
    "failed": BAD,
}


def list_guests(wanted: str | None, *, as_json: bool) -> None:
    model, facts = target.running(wanted)
    if as_json:
        output.as_json([as_dict(model, facts, name) for name in model.guests])
    elif not model.guests:
        output.say(f"{model.lab} has no guests; they are under `guests:` in the file")
    else:
        table(model, facts, list(model.guests))
        for name in model.guests:
            if error := facts.guests.get(name, GuestFacts()).error:
                output.say(output.paint(_in_a_line(name, error), BAD))


def show(wanted: str | None, name: str, *, as_json: bool) -> None:
    model, facts = target.running(wanted)
    target.guest(model, name)
    has = addresses.ask(model, facts.guests.get(name, GuestFacts()), name)
    if as_json:
        inside = None if has is None else addresses.by_interface(model, name, has)
        output.as_json(as_dict(model, facts, name) | {"addresses_inside": inside})
        return
    lines = _lines(model, facts, name, has)
    wide = max(len(key) for key, _ in lines)
    for key, value in lines:
        first, *more = value.splitlines() or [""]
        output.say(f"{output.paint(key.ljust(wide), SOFT)}  {first}")
        for line in more:
            output.say(f"{' ' * wide}  {line}")


# ── as a table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(model: Model, facts: Facts, names: Sequence[str]) -> None:
    """Some guests; and below of all of them why they are as they are, once where they share a reason."""
    if names:
        output.table(_COLUMNS, [_row(model, facts, name) for name in names], _RIGHT)
    for (accelerator, reason), who in _reasons(model, facts).items():
        whose = f"{', '.join(who[:6])}{' …' * (len(who) > 6)}: " if len(who) < len(model.guests) else ""
        output.say(output.paint(f"{whose}{accelerator}: {reason}", SOFT))
    for name in names:
        if note := _note(model, facts, name):
            output.say(output.paint(f"{name}: {note}", SOFT))


def _note(model: Model, facts: Facts, name: str) -> str:
    """`power: on` means on: a guest that has switched itself off is a trouble, until somebody says which way."""
    note = facts.guests.get(name, GuestFacts()).note
    ways = f"`sdn guest start {name}` starts it, `sdn guest stop {name}` or `power: off` in the file keeps it so"
    return f"{note}; {ways}" if lab.went_off(model, facts, name) else note


def _in_a_line(name: str, error: str) -> str:
    """What is wrong, and the guest's last word; as much of it as the terminal has room for. `show` has the whole."""
    first, *said = error.splitlines()
    text = f"{name}: {first}" + (f" · {said[-1]}" if said else "")
    width = shutil.get_terminal_size((_WIDTH, 1)).columns
    return text if len(text) <= width else f"{text[: width - 1]}…"


def is_as_wished(model: Model, facts: Facts, name: str) -> bool:
    seen = facts.guests.get(name, GuestFacts())
    return seen.phase == PHASES[model.guests[name].machine.power] and not (seen.error or seen.leaves)


def _row(model: Model, facts: Facts, name: str) -> output.Row:
    machine, seen = model.guests[name].machine, facts.guests.get(name, GuestFacts())
    runs = seen.started and seen.phase not in ("off", "failed")
    return (
        Cell(name, STRONG),
        place(model, seen, name),
        state(machine, seen),
        output.size(machine.memory),
        machine.cpus,
        _known(model, name) or Cell("-", SOFT),
        seen.accelerator or Cell("-", SOFT),
        output.since(time.time() - seen.started) if runs else Cell("-", SOFT),
        Cell(str(seen.restarts), WARNING if seen.restarts else ""),
    )


def state(machine: Machine, seen: GuestFacts) -> Cell:
    """Of a guest that shall be off, being so is nothing to worry about."""
    is_down = seen.phase == "off" and machine.power != "off"
    return Cell(seen.phase, BAD if is_down else _STYLES[seen.phase])


def place(model: Model, seen: GuestFacts, name: str) -> str:
    """Where it runs, and where it goes or comes from."""
    home = model.nodes[name].chassis
    if seen.at and seen.at != home:
        return f"{seen.at} → {home}"
    return f"{seen.leaves} → {home}" if seen.leaves else home


def _addresses(model: Model, name: str) -> list[str]:
    """As the file gives them."""
    return [str(address) for port in model.ports.values() if port.node == name for address in port.addresses]


def _known(model: Model, name: str) -> str:
    """What is asked for by DHCP the guest may not have yet."""
    by_dhcp = any(port.dhcp for port in model.ports.values() if port.node == name)
    return ", ".join([*_addresses(model, name), *["by DHCP"] * by_dhcp])


def _reasons(model: Model, facts: Facts) -> dict[tuple[str, str], list[str]]:
    """Guests by accelerator and why they have it."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in model.guests:
        seen = facts.guests.get(name, GuestFacts())
        if seen.accelerator and seen.reason:
            found.setdefault((seen.accelerator, seen.reason), []).append(name)
    return found


# ── one guest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _lines(model: Model, facts: Facts, name: str, has: addresses.Has | None) -> list[tuple[str, str]]:
    """What is empty is left out."""
    guest, seen = model.guests[name], facts.guests.get(name, GuestFacts())
    machine = guest.machine
    found = [
        ("guest", name),
        ("state", _state_in_words(machine, seen)),
        ("chassis", place(model, seen, name)),
        ("error", seen.error),
        ("note", _note(model, facts, name)),
        ("memory", output.size(machine.memory)),
        ("cpus", str(machine.cpus)),
        ("accelerator", f"{seen.accelerator}: {seen.reason}" if seen.accelerator else ""),
        ("guest agent", ("answers" if seen.answers else "does not answer") if seen.pid else ""),
        ("pid", str(seen.pid or "")),
        ("boots", _boots(machine)),
        ("own disk", _own_disk(model.lab, name)),
        ("volumes", ", ".join(machine.volumes)),
        ("snapshots", ", ".join(each.name for each in snapshots.of(model, facts, name).on_disk())),
        ("seed", _seed(machine)),
        ("devices", ", ".join(machine.devices)),
        ("restart", f"{machine.restart}, {output.count(seen.restarts, 'restart')} so far"),
        ("driver", machine.driver),
        ("migration", machine.migration),
        ("not beside", ", ".join(_not_beside(model, guest))),
        *_interfaces(model, facts, name, has),
        ("directory", str(RunDir(model.lab).guest(name))),
        ("in the file", str(guest.source)),
    ]
    return [(key, value) for key, value in found if value]


def _state_in_words(machine: Machine, seen: GuestFacts) -> str:
    cell = state(machine, seen)
    words = output.paint(cell.text, cell.style)
    if seen.started and seen.phase in ("running", "paused", "moving"):
        words += f" for {output.since(time.time() - seen.started)}"
    is_wished = seen.phase in (PHASES[machine.power], "moving")
    return words if is_wished else f"{words}, and shall be {machine.power}"


def _boots(machine: Machine) -> str:
    if machine.builtin:
        return "the built-in guest"
    disk = f"{machine.image}{f', {output.size(machine.disk)} large' if machine.disk else ''}" if machine.image else ""
    kernel = f"kernel {machine.kernel.image} {machine.kernel.append}".rstrip() if machine.kernel else ""
    return " with ".join(part for part in (disk, kernel) if part)


def _own_disk(lab: str, name: str) -> str:
    """Where one is: a guest that has never run has none yet."""
    path = disks.own(lab, name)
    return str(path) if path.exists() else ""


def _seed(machine: Machine) -> str:
    seed = machine.seed
    if seed is None:
        return ""
    keys = output.count(len(seed.ssh_keys), "ssh key")
    return ", ".join(part for part in (f"user {seed.user}", keys, "user-data" if seed.user_data else "") if part)


def _not_beside(model: Model, guest: Guest) -> list[str]:
    groups = set(guest.anti_affinity)
    return [other.name for other in model.guests.values() if other is not guest and groups & set(other.anti_affinity)]


def _interfaces(model: Model, facts: Facts, name: str, has: addresses.Has | None) -> Iterator[tuple[str, str]]:
    for ports in model.interfaces_of.get(name, ()):
        networks = (f"{port.network}{f' tag {port.tag}' if port.tag is not None else ''}" for port in ports)
        fact = facts.ports.get(ports[0].name)
        up = "up" if fact and fact.up else "down"
        yield (
            ports[0].interface,
            f"{', '.join(networks)}; {ports[0].mac}; {', '.join([*addresses.in_words(ports, has), up])}",
        )


# ── as JSON ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def as_dict(model: Model, facts: Facts, name: str) -> dict[str, Any]:
    guest, seen = model.guests[name], facts.guests.get(name, GuestFacts())
    return {
        "name": name,
        "chassis": model.nodes[name].chassis,
        "addresses": _addresses(model, name),
        **asdict(seen),
        "machine": asdict(guest.machine),
        "anti_affinity": list(guest.anti_affinity),
        "ports": [port.name for port in model.ports.values() if port.node == name],
        "directory": str(RunDir(model.lab).guest(name)),
        "source": str(guest.source),
    }
