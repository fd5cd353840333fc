"""Ranges in names: `web[1-4]` is web1, web2, web3, web4; `web[01-12]` keeps the zeros. PURE.

Enters: text of the file. Leaves: lists of names. Never: more members than MAX_MEMBERS.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_MEMBERS: Final = 10_000
MAX_NAME: Final = 31
"""A name is part of a path of a unix socket (108 bytes) and of a namespace's name."""

NAME: Final = r"[a-z][a-z0-9-]*"
RANGED_NAME: Final = rf"^{NAME}(\[[0-9]+-[0-9]+\][a-z0-9-]*)?$"
"""For the JSON schema; `parse` says more about what is wrong."""

_RANGE: Final = re.compile(r"(?P<prefix>[^\[\]]*)\[(?P<first>[0-9]{1,9})-(?P<last>[0-9]{1,9})\](?P<suffix>[^\[\]]*)")
_NAME: Final = re.compile(NAME)


class Range(NamedTuple):
    """`width` is the number of digits that zeros fill up to; 0 for none."""

    prefix: str
    first: int
    last: int
    width: int
    suffix: str

    def member(self, number: int) -> str:
        return f"{self.prefix}{number:0{self.width}d}{self.suffix}"

    def members(self) -> list[str]:
        return [self.member(number) for number in range(self.first, self.last + 1)]


def parse(text: str) -> Range | None:
    """The range in `text`; None where there are no brackets. Raises ValueError where it is not one or too large."""
    if "[" not in text and "]" not in text:
        return None
    found = _RANGE.fullmatch(text)
    if not found:
        raise ValueError(f"'{_short(text)}' is not a range; expected one pair of brackets such as web[1-4]")
    first, last = int(found["first"]), int(found["last"])
    if last < first:
        raise ValueError(f"the range '{_short(text)}' counts down; expected the smaller number first")
    if last - first >= MAX_MEMBERS:
        raise ValueError(f"the range '{_short(text)}' has {last - first + 1} members; expected {MAX_MEMBERS} at most")
    padded = len(found["first"]) > 1 and found["first"].startswith("0")
    return Range(found["prefix"], first, last, len(found["first"]) if padded else 0, found["suffix"])


def expand(text: str) -> list[str]:
    """All names that `text` stands for; itself without a range. Raises ValueError as `parse` does."""
    found = parse(text)
    return found.members() if found else [text]


def check_name(text: str) -> str:
    """`text` if it is a name, perhaps with a range, that chassis, nodes and networks may have. Raises ValueError."""
    found = parse(text)
    longest = found.member(found.last) if found else text
    if not _NAME.fullmatch(longest):
        raise ValueError(
            f"'{_short(text)}' is not a name; expected a lower-case letter, then lower-case letters, digits and hyphens"
        )
    if len(longest) > MAX_NAME:
        raise ValueError(f"'{_short(text)}' is too long; expected {MAX_NAME} characters at most")
    return text


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
