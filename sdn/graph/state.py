"""What is known of how nodes and guests are, for pictures of any format. PURE.

Enters: a Model and Facts, if the lab runs. Leaves: words, and whether something is up. Never: a guess where nobody
tells.
"""

from __future__ import annotations

from sdn.model import Model
from sdn.model.facts import Facts, GuestFacts


def guest_state(model: Model, facts: Facts | None, guest: str) -> str:
    """One word, and where it comes from or goes to while it moves; '' where the lab does not run."""
    if facts is None:
        return ""
    seen, home = facts.guests.get(guest, GuestFacts()), model.nodes[guest].chassis
    if seen.phase == "moving":
        return f"moving from {seen.leaves}" if seen.leaves else f"moving to {home}"
    return seen.phase


def is_up(model: Model, facts: Facts | None, node: str) -> bool | None:
    """None where there is nothing to say: it is somebody else's, or shall be off and is."""
    if facts is None or not model.chassis[model.nodes[node].chassis].ours:
        return None
    guest = model.guests.get(node)
    if guest is not None:
        phase = facts.guests.get(node, GuestFacts()).phase
        if phase == "off" == guest.machine.power:
            return None
        if phase not in ("running", "paused", "moving"):
            return False
    states = [facts.ports.get(port.name) for port in model.ports.values() if port.node == node]
    return all(state is not None and state.up for state in states)
