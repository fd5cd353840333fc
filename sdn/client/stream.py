"""Server-sent events (WHATWG HTML section 9.2.6). PURE.

Enters: lines. Leaves: of each block its id and its data. Never: a block that was cut off in the middle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def blocks(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Either may be '': an id alone says behind what to resume. Comments are passed over."""
    name, data = "", []
    for line in lines:
        field, _, value = line.partition(":")
        if field == "data":
            data.append(value.removeprefix(" "))
        elif field == "id":
            name = value.removeprefix(" ")
        elif not line and (name or data):
            yield name, "\n".join(data)
            name, data = "", []
