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
    ports = {
        name: _placed(port, moves[port.node], facts.ports.get(name, PortFacts())) if port.node in moves else port
        for name, port in model.ports.items()
    }
    return replace(model, nodes=nodes, ports=ports)


def _move(model: Model, guest: str, seen: GuestFacts | None) -> Node | None:
    """The node of a guest that moves, or shall. A move that has begun is brought to its end, whatever is wished
    meanwhile; a chassis that is no longer in the model has nothing to keep."""
    if seen is None or seen.at not in model.chassis:
        return None
    node = model.nodes[guest]
    if seen.leaves in model.chassis:
        return replace(node, chassis=seen.at, leaves=seen.leaves)
    if seen.goes in model.chassis:
        return replace(node, chassis=seen.at, moves_to=seen.goes)
    return None if seen.at == node.chassis else replace(node, chassis=seen.at, moves_to=node.chassis)


def _placed(port: Port, node: Node, seen: PortFacts) -> Port:
    """Where its guest is. A bridge port keeps the number that it has; the other one has the model's."""
    number = port.ofport if node.chassis == port.chassis else seen.ofport or port.ofport
    arrives = Arrival(node.moves_to, port.ofport) if node.moves_to else None
    return replace(port, chassis=node.chassis, ofport=number, arrives=arrives)
