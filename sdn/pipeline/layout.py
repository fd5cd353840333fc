"""The tables of the pipeline: the one home of table ids, in the order in which a packet meets them."""

from __future__ import annotations

from enum import IntEnum


class Table(IntEnum):
    CLASSIFY = 0
    SPOOF_GUARD = 8
    EGRESS_RULES = 16
    ANSWER = 24
    REPLY = 28
    ROUTE = 32
    FORWARD = 40
    LEARNED = 44
    INGRESS_RULES = 48
    OUTPUT = 56

    @property
    def label(self) -> str:
        """The name that people read: `spoof_guard`."""
        return self.name.lower()
