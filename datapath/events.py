"""What an agent observes, as values: the facts of the store begin here. PURE."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PortState:
    """Of a node's interface: the number that the switch really gave it (None: none), and whether its link is set up."""

    node: str
    interface: str
    ofport: int | None
    up: bool


@dataclass(frozen=True, slots=True)
class ChassisState:
    """`errors` are wishes that cannot be fulfilled, `notes` what one should know though nothing is wrong."""

    chassis: str
    datapath_type: str
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Event = PortState | ChassisState
