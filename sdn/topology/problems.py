"""Collects every mistake of a file, in the words of its author.

Enters: paths into a Document, pydantic's errors. Leaves: Problems in the order of the file. Never: pydantic's wording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from datapath.errors import FileError, Problem
from sdn.model import Source
from sdn.topology import schema
from sdn.topology.nodes import Document, Path, printable
from sdn.topology.plain import Plain
from sdn.topology.values import shown

MAX_SHOWN: Final = 12
"""Names that a message lists."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    from difflib import get_close_matches  # only where there is a mistake

    found = get_close_matches(word[:80], list(known)[:2000], n=1)
    return found[0] if found else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'web'?` or nothing; the known words where there are few and none is close."""
    words = list(known)
    close = closest(word, words)
    if close:
        return f"; did you mean '{close}'?"
    if not words:
        return "; expected one that the file defines, and it defines none"
    more = ", …" if len(words) > MAX_SHOWN else ""
    return f"; expected one of {', '.join(words[:MAX_SHOWN])}{more}"


class Problems:
    """The mistakes of one document."""

    def __init__(self, document: Document | Plain) -> None:
        self.document = document
        self.found = document.problems
        self._spoken: set[Source] = set()

    def add(self, path: Path, message: str, *, key: bool = False) -> None:
        self.at(self.document.source(path, key=key), message)

    def add_once(self, path: Path, message: str) -> None:
        """For the members of a range, which share a place: the first one speaks for all."""
        place = self.document.source(path, key=False)
        if place not in self._spoken:
            self._spoken.add(place)
            self.at(place, message)

    def at(self, source: Source, message: str) -> None:
        self.found.append(Problem(source.file, source.line, source.column, printable(message)))

    def unknown(self, path: Path, what: str, word: str, known: Iterable[str]) -> None:
        self.add_once(path, f"unknown {what} '{word}'{suggestion(word, known)}")

    def add_invalid(self, details: Sequence[ErrorDetails]) -> None:
        """What the schema does not allow."""
        unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
        meant = {(*loc[:-1], closest(str(loc[-1]), keys_at(loc[:-1]))) for loc in unknown}
        for detail in details:
            loc, kind = detail["loc"], detail["type"]
            if kind == "missing" and loc in meant:
                continue  # it is there, misspelt, and reported as that
            key = kind in ("extra_forbidden", "missing") or loc[-1:] == ("[key]",)
            self.add(loc, _worded(kind, loc, detail.get("input"), detail.get("ctx", {}), detail["msg"]), key=key)

    def raise_if_any(self) -> None:
        """Raises FileError with every problem, in the order of the file."""
        if self.found:
            ordered = sorted(dict.fromkeys(self.found), key=lambda problem: (problem.line, problem.column))
            count = "a mistake" if len(ordered) == 1 else f"{len(ordered)} mistakes"
            raise FileError(f"{self.document.file} has {count}", ordered)


def _worded(kind: str, loc: tuple[str | int, ...], value: Any, context: Mapping[str, Any], message: str) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind in _EXPECTED:
        return f"{shown(value)} is not understood here; expected {_EXPECTED[kind]}"
    wording = _WORDINGS.get(kind)
    return wording(loc, value, context) if wording else f"{shown(value)} is not understood here: {message}"


def _unknown_key(loc: tuple[str | int, ...], _value: Any, _context: Mapping[str, Any]) -> str:
    return f"unknown key '{loc[-1]}'{suggestion(str(loc[-1]), keys_at(loc[:-1]))}"


def _missing(loc: tuple[str | int, ...], _value: Any, _context: Mapping[str, Any]) -> str:
    part = _part(loc[:-1])
    assert part is not None, loc  # what has keys that must be there
    field = next(field for name, field in part.model_fields.items() if (field.alias or name) == loc[-1])
    return f"'{loc[-1]}' is missing; expected {_lowered(field.description or 'it')}"


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:].removesuffix(".")


def _literal(_loc: tuple[str | int, ...], value: Any, context: Mapping[str, Any]) -> str:
    words = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
    close = closest(value, words) if isinstance(value, str) else None
    hint = f"; did you mean '{close}'?" if close else ""
    return f"{shown(value)} is not understood here; expected {' or '.join(words)}{hint}"


def _too_short(loc: tuple[str | int, ...], _value: Any, _context: Mapping[str, Any]) -> str:
    return f"'{loc[-1]}' is empty; expected one entry at least"


def _too_long(loc: tuple[str | int, ...], _value: Any, context: Mapping[str, Any]) -> str:
    return f"'{loc[-1]}' has {context['actual_length']} entries; expected {context['max_length']} at most"


_WORDINGS: Final[dict[str, Callable[[tuple[str | int, ...], Any, Mapping[str, Any]], str]]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "literal_error": _literal,
    "too_short": _too_short,
    "too_long": _too_long,
}
_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
}


def _part(loc: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model of the mapping at `loc`, by the annotations on the way there; none for what is no mapping of keys."""
    kind: Any = schema.Topology
    for word in loc:
        kind = _inside(kind, word)
    return next(_models(kind), None)


def _inside(kind: Any, word: str | int) -> Any:
    """The type of what stands at `word` in a value of type `kind`: of names that authors chose, and of items too."""
    for model in _models(kind):
        return next(
            (field.annotation for name, field in model.model_fields.items() if word in (name, field.alias)), None
        )
    if get_origin(kind) in (dict, list):
        return get_args(kind)[-1]
    return next(filter(None, (_inside(choice, word) for choice in _choices(kind))), None)


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for choice in _choices(kind):
        yield from _models(choice)


def _choices(kind: Any) -> tuple[Any, ...]:
    """What `A | B` and `Annotated[A, …]` may be."""
    if get_origin(kind) is Annotated:
        return get_args(kind)[:1]
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else ()


def keys_at(loc: tuple[str | int, ...]) -> list[str]:
    """The keys that the mapping at `loc` may have."""
    part = _part(loc)
    return [field.alias or name for name, field in part.model_fields.items()] if part else []
