"""Where guests are while they move. PURE.

Enters: a Model, which says where each guest shall be, and Facts, which say where it runs. Leaves: the Model by which
flows and hosts are compiled. Never: anything stored.
"""

from __future__ import annotations

from dataclasses import replace

from sdn.model import Arrival, Model, Node, Port
from sdn.model.facts import Facts, GuestFacts, PortFacts


def located(model: Model, facts: Facts) -> Model:
    """`model` with every guest where it runs. One that shall be elsewhere `moves_to` there, and its ports are awaited
    there (`arrives`) beside where they are; one that has just come `leaves` the chassis where it was. The very same
    model where nobody moves."""
    moves = {name: move for name in model.guests if (move := _move(model, name, facts.guests.get(name)))}
    if not moves:
        return model
    nodes = {name: moves.get(name, node) for name, node in model.nodes.items()}
    coming = {name: node.chassis for name, node in moves.items() if node.moves_to}
    ports = {
        name: _awaited(port, coming[port.node], facts.ports.get(name, PortFacts())) if port.node in coming else port
        for name, port in model.ports.items()
    }
    return replace(model, nodes=nodes, ports=ports)


def _move(model: Model, guest: str, seen: GuestFacts | None) -> Node | None:
    """The node of a guest that moves; a chassis that is no longer in the model has nothing to keep."""
    if seen is None or seen.at not in model.chassis:
        return None
    node = model.nodes[guest]
    if seen.at != node.chassis:
        return replace(node, chassis=seen.at, moves_to=node.chassis)
    return replace(node, leaves=seen.leaves) if seen.leaves in model.chassis else None


def _awaited(port: Port, at: str, seen: PortFacts) -> Port:
    """Its bridge port keeps the number that it has; the other one has the model's."""
    return replace(port, chassis=at, ofport=seen.ofport or port.ofport, arrives=Arrival(port.chassis, port.ofport))
