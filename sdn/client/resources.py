"""The things of a lab one by one: read, listed, created, changed, removed; and what that would do.

Enters: kinds, names, fields in the words of the topology file. Leaves: Resources, Plans. Never: a guess at what is
meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, Literal, overload
from urllib.parse import quote

import orjson

from datapath.errors import FileError
from sdn.bounds import Wait
from sdn.client import wire
from sdn.client.models import (
    BY_WORD,
    KINDS,
    Applied,
    Chassis,
    Guest,
    Kind,
    Network,
    Node,
    Physnet,
    Port,
    Resource,
    Test,
)
from sdn.client.told import Plan

Fields = Mapping[str, Any]

LIST: Final = 1000
"""Members of a list in one answer."""


class Resources:
    """Of the lab at the other end of a wire.

    What all writes take: `wait`, a Wait; `timeout` in seconds; `if_match`, an etag: then StaleError is raised where it
    has changed since; `dry_run`: nothing is done, and what would be is answered.
    """

    def __init__(self, of: wire.Wire) -> None:
        self._wire = of

    @overload
    def get(self, kind: Literal["port", "ports"], name: str) -> Port: ...
    @overload
    def get(self, kind: Literal["node", "nodes"], name: str) -> Node: ...
    @overload
    def get(self, kind: Literal["guest", "guests"], name: str) -> Guest: ...
    @overload
    def get(self, kind: Literal["network", "networks"], name: str) -> Network: ...
    @overload
    def get(self, kind: Literal["chassis"], name: str) -> Chassis: ...
    @overload
    def get(self, kind: Literal["physnet", "physnets"], name: str) -> Physnet: ...
    @overload
    def get(self, kind: Literal["test", "tests"], name: str) -> Test: ...
    @overload
    def get(self, kind: str, name: str) -> Resource: ...
    def get(self, kind: str, name: str) -> Resource:
        """One. Raises FileError where there is none."""
        of = kind_of(kind)
        value, headers = self._wire.ask("GET", _path(of, name))
        return _resource(of, value, headers)

    @overload
    def list(self, kind: Literal["port", "ports"], /, **filters: Any) -> Iterator[Port]: ...
    @overload
    def list(self, kind: Literal["node", "nodes"], /, **filters: Any) -> Iterator[Node]: ...
    @overload
    def list(self, kind: Literal["guest", "guests"], /, **filters: Any) -> Iterator[Guest]: ...
    @overload
    def list(self, kind: Literal["network", "networks"], /, **filters: Any) -> Iterator[Network]: ...
    @overload
    def list(self, kind: Literal["chassis"], /, **filters: Any) -> Iterator[Chassis]: ...
    @overload
    def list(self, kind: str, /, **filters: Any) -> Iterator[Resource]: ...
    def list(self, kind: str, /, **filters: Any) -> Iterator[Resource]:
        """All of a kind, page by page; `name="web*"`, `node="web1"`, `up=True` narrow it down."""
        of = kind_of(kind)
        query = {key: str(value).lower() if isinstance(value, bool) else value for key, value in filters.items()}
        for page, headers in self._pages(f"/v1/{of.path}", {"limit": LIST, **query}):
            for item in page["items"]:
                yield _resource(of, item, headers)

    @overload
    def create(
        self, kind: str, name: str, fields: Fields | None = None, *, dry_run: Literal[False] = False, **how: Any
    ) -> Resource: ...
    @overload
    def create(
        self, kind: str, name: str, fields: Fields | None = None, *, dry_run: Literal[True], **how: Any
    ) -> Plan: ...
    def create(
        self, kind: str, name: str, fields: Fields | None = None, *, dry_run: bool = False, **how: Any
    ) -> Resource | Plan:
        """Also where it is there already and so. Raises ConflictError where it is another."""
        of = kind_of(kind)
        return self._write("POST", f"/v1/{of.path}", of, {"name": name, **(fields or {})}, dry_run, **how)

    @overload
    def replace(
        self, kind: str, name: str, fields: Fields, *, dry_run: Literal[False] = False, **how: Any
    ) -> Resource: ...
    @overload
    def replace(self, kind: str, name: str, fields: Fields, *, dry_run: Literal[True], **how: Any) -> Plan: ...
    def replace(self, kind: str, name: str, fields: Fields, *, dry_run: bool = False, **how: Any) -> Resource | Plan:
        """With these fields and no others; created where there is none."""
        of = kind_of(kind)
        return self._write("PUT", _path(of, name), of, fields, dry_run, **how)

    @overload
    def patch(
        self, kind: str, name: str, fields: Fields, *, dry_run: Literal[False] = False, **how: Any
    ) -> Resource: ...
    @overload
    def patch(self, kind: str, name: str, fields: Fields, *, dry_run: Literal[True], **how: Any) -> Plan: ...
    def patch(self, kind: str, name: str, fields: Fields, *, dry_run: bool = False, **how: Any) -> Resource | Plan:
        """A merge patch (RFC 7396): None is left to sdn, which keeps what there is where that still fits."""
        of = kind_of(kind)
        return self._write("PATCH", _path(of, name), of, fields, dry_run, **how)

    @overload
    def delete(self, kind: str, name: str, *, dry_run: Literal[False] = False, **how: Any) -> Applied | None: ...
    @overload
    def delete(self, kind: str, name: str, *, dry_run: Literal[True], **how: Any) -> Plan: ...
    def delete(self, kind: str, name: str, *, dry_run: bool = False, **how: Any) -> Applied | Plan | None:
        """None where it did not wait. Raises ConflictError where others need it."""
        value, _ = self._ask("DELETE", _path(kind_of(kind), name), None, dry_run, **how)
        if dry_run:
            return Plan.of(value)
        return Applied.of(value["applied"]) if value and "applied" in value else None

    def _write(self, method: str, path: str, of: Kind, fields: Fields, dry_run: bool, **how: Any) -> Resource | Plan:
        value, told = self._ask(method, path, fields, dry_run, **how)
        return Plan.of(value) if dry_run else _resource(of, value, told)

    def _ask(
        self,
        method: str,
        path: str,
        fields: Fields | None,
        dry_run: bool,
        *,
        wait: Wait = "stored",
        timeout: float = 30.0,
        if_match: str = "",
    ) -> wire.Answer:
        params = {"wait": wait, "timeout": timeout, **({"dry_run": "true"} if dry_run else {})}
        headers = condition(if_match)
        if fields is None:
            return self._wire.ask(method, path, seconds=timeout, params=params, headers=headers)
        content = orjson.dumps(fields, default=str)
        headers["Content-Type"] = "application/json"
        return self._wire.ask(method, path, seconds=timeout, params=params, headers=headers, content=content)

    def _pages(self, path: str, params: Mapping[str, Any]) -> Iterator[wire.Answer]:
        page, headers = self._wire.ask("GET", path, params=dict(params))
        yield page, headers
        while page.get("next"):
            page, headers = self._wire.ask("GET", page["next"])
            yield page, headers


def kind_of(word: str) -> Kind:
    """`port` or `ports`. Raises FileError with what was probably meant."""
    found = BY_WORD.get(word.lower())
    if found is None:
        close = get_close_matches(word.lower(), BY_WORD, 1)
        hint = f"did you mean {BY_WORD[close[0]].noun}?" if close else f"there are: {', '.join(KINDS)}"
        raise FileError(f"there is no kind {word}", remedy=hint)
    return found


def _path(kind: Kind, name: str) -> str:
    return f"/v1/{kind.path}/{quote(name, safe=':')}"


def _resource(kind: Kind, value: dict[str, Any], headers: Mapping[str, str]) -> Resource:
    revision, changed = int(headers.get("sdn-revision", 0)), headers.get("sdn-changed") != "false"
    return kind.type(kind.noun, _name(value), revision, value, headers.get("etag", ""), changed)


def _name(value: Mapping[str, Any]) -> str:
    """A flow has none, but an id."""
    return str(value.get("name", value.get("id", "")))


def condition(etag: str) -> dict[str, str]:
    return {"If-Match": etag} if etag else {}
