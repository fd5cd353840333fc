"""A document as the text of a topology file, as people write it: an object is a line where it fits on one.

Enters: plain values. Leaves: YAML that `nodes.load`, and every other reader of YAML 1.1 or 1.2, reads as these values.
Never: an anchor, a tag, a word that one reader takes for another thing than text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

WIDTH: Final = 120
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./*-]*|/[A-Za-z0-9_./-]+|[0-9]+(\.[0-9]+){3}(/[0-9]+)?|[0-9]+[MG]")
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
"""What YAML 1.1 or 1.2 takes for something else, in small letters."""
_LINES: Final = re.compile(r"[!-~][ -~\n]*[!-~]\n")
"""Text that can stand as lines (`|`) with the one newline at its end that this keeps."""


def text(document: Mapping[str, Any]) -> str:
    """The file: a part for each section, an entry to a line."""
    parts: list[list[str]] = [[]]
    for key, value in document.items():
        if _is_section(value):
            parts.append([f"{_key(key)}:"])
            for name, entry in value.items():
                parts[-1] += _lines(name, entry, 2)
        else:
            parts[0] += _lines(key, value, 0)
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(each, dict) for each in value.values())


def _lines(key: str, value: Any, indent: int) -> Iterator[str]:
    """`key: value` on one line where it fits, else its parts below each other."""
    head = f"{' ' * indent}{_key(key)}:"
    line = f"{head} {_flow(value)}"
    if isinstance(value, str) and _LINES.fullmatch(value):
        yield f"{head} |"
        yield from (f"{' ' * (indent + 2)}{part}" if part else "" for part in value.splitlines())
    elif not value or not isinstance(value, dict | list) or (len(line) <= WIDTH and not _has_lines(value)):
        yield line
    elif isinstance(value, dict):
        yield head
        for name, each in value.items():
            yield from _lines(name, each, indent + 2)
    else:
        yield head
        for each in value:
            yield from _item(each, indent + 2)


def _item(value: Any, indent: int) -> Iterator[str]:
    line = f"{' ' * indent}- {_flow(value)}"
    if not value or not isinstance(value, dict) or (len(line) <= WIDTH and not _has_lines(value)):
        yield line
        return
    inside = [line for name, each in value.items() for line in _lines(name, each, indent + 2)]
    yield f"{' ' * indent}- {inside[0].lstrip()}"
    yield from inside[1:]


def _has_lines(value: Any) -> bool:
    if isinstance(value, str):
        return "\n" in value
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_has_lines, inside))


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _key(name: str) -> str:
    """A VLAN id as a key is a number, as one writes it."""
    return name if name.isascii() and name.isdecimal() else _scalar(name)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if not isinstance(value, str):
        return "null" if value is None else str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    quoted: str = yaml.dump(value, default_style='"', width=float("inf"), allow_unicode=True)
    return quoted.rstrip("\n")
