"""A table of nftables as data, and the commands that bring the kernel to it in one transaction. PURE.

Enters: what a table shall have. Leaves: text for libnftables. Never: a netlink message, an observation.

A table carries our mark as its comment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

Family = Literal["bridge", "ip"]

NAME: Final = "sdn"
"""Of every table of ours."""


@dataclass(frozen=True, slots=True)
class Set:
    """A named set, or a map of elements `key : value`. `declaration` is its type, with its flags if it has any."""

    name: str
    declaration: str
    elements: frozenset[str] = frozenset()
    map: bool = False

    def lines(self) -> Iterator[str]:
        yield f"{'map' if self.map else 'set'} {self.name} {{"
        yield self.declaration
        if self.elements:
            yield f"elements = {{ {', '.join(sorted(self.elements))} }}"
        yield "}"


@dataclass(frozen=True)
class Ruleset:
    """The whole of one table. `rules` are its chains, as text; they use the sets by `@name`.

    Its base chains accept by policy, and drop by a last rule: while one replaces the other there is a moment in which
    the old chain has no rules left, and its policy would be all that it says.
    """

    family: Family
    mark: str
    sets: tuple[Set, ...]
    rules: str

    @property
    def table(self) -> str:
        return f"{self.family} {NAME}"

    @cached_property
    def text(self) -> str:
        """What is within the braces of the table."""
        lines = [f'comment "{self.mark}"', *(line for each in self.sets for line in each.lines()), self.rules]
        return "\n".join(lines)

    def replacement(self) -> str:
        """Commands that make the table, instead of the one that may be there."""
        return f"table {self.table}\ndelete table {self.table}\ntable {self.table} {{\n{self.text}\n}}\n"

    def changes(self, before: Ruleset) -> str | None:
        """Commands that bring it from `before` to this, element by element; None if more than elements differ."""
        if (before.table, before.mark, before.rules) != (self.table, self.mark, self.rules):
            return None
        if [_kind(each) for each in before.sets] != [_kind(each) for each in self.sets]:
            return None
        pairs = list(zip(before.sets, self.sets, strict=True))
        gone = [("delete", new.name, old.elements - new.elements) for old, new in pairs]
        come = [("add", new.name, new.elements - old.elements) for old, new in pairs]
        return "".join(
            f"{verb} element {self.table} {name} {{ {', '.join(sorted(elements))} }}\n"
            for verb, name, elements in (*gone, *come)
            if elements
        )


def _kind(each: Set) -> tuple[str, str, bool]:
    return each.name, each.declaration, each.map


def digest(rulesets: Iterable[Ruleset]) -> str:
    made = hashlib.blake2b(digest_size=8)
    for each in rulesets:
        made.update(f"{each.table} {{\n{each.text}\n}}\n".encode())
    return made.hexdigest()
