"""Guests of a Model → the Guests of each chassis. PURE.

Enters: a Model of `located`. Leaves: Guest values by chassis. Never: a guest on a second chassis but while it moves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import replace
from uuid import NAMESPACE_URL, uuid5

from datapath.spec import Guest, Interface
from sdn.compile.interfaces import interface_of
from sdn.model import Model, Node, Port


def guests_by_chassis(model: Model, ready: Container[str], awaited: Container[str]) -> dict[str, list[Guest]]:
    """`awaited` are the ports whose flows are confirmed where their guest arrives."""
    found: dict[str, list[Guest]] = defaultdict(list)
    for name in model.guests:
        node = model.nodes[name]
        at, other = node.chassis, second_chassis(node)
        together = model.interfaces_of.get(name, ())
        here = _guest(model, name, [interface_of(model, ready, ports) for ports in together])
        if not other:
            found[at].append(here)
            continue
        there = replace(here, interfaces=tuple(_idle(model, awaited, ports, other) for ports in together))
        old, new = (at, other) if node.moves_to else (other, at)
        found[at].append(_moving(here, at, old, new))
        found[other].append(_moving(there, other, old, new))
    return found


def second_chassis(node: Node) -> str:
    """The other one that has a device of a guest that moves; else ''."""
    return node.moves_to or node.leaves


def _guest(model: Model, name: str, interfaces: Sequence[Interface]) -> Guest:
    identity = str(uuid5(NAMESPACE_URL, f"sdn:{model.lab}:{name}"))
    return Guest(name, identity, model.guests[name].machine, tuple(interfaces))


def _moving(guest: Guest, at: str, old: str, new: str) -> Guest:
    return replace(guest, moves_to=new) if at == old else replace(guest, comes_from=old)


def _idle(model: Model, awaited: Container[str], ports: Sequence[Port], chassis: str) -> Interface:
    """As it is on the chassis where its guest is not. The one that it leaves keeps whatever number its port has."""
    there = [replace(port, chassis=chassis, ofport=port.arrives.ofport if port.arrives else 0) for port in ports]
    return replace(interface_of(model, awaited, there), idle=True)
