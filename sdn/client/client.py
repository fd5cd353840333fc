"""The client: one method for each thing that the API does.

Enters: kinds, names, fields in the words of the topology file. Leaves: typed values. Never: a guess at what is meant.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, overload
from urllib.parse import quote

import orjson

from datapath.errors import FileError, TransientError
from sdn.bounds import LONGEST_WAIT, REVISIONS_KEPT, Wait
from sdn.client import wire
from sdn.client.models import (
    BY_WORD,
    KINDS,
    Applied,
    Chassis,
    Event,
    Guest,
    Kind,
    Network,
    Node,
    Physnet,
    Plan,
    Port,
    Resource,
    Revision,
    Rollback,
    Test,
    Traffic,
)
from sdn.differences import Difference

if TYPE_CHECKING:
    import httpx

Fields = Mapping[str, Any]
Cut = Callable[[TransientError], None]

LIST: Final = 1000
"""Members of a list in one answer."""
SILENCE: Final = 40.0
"""Seconds: a stream of events says at least every 15 that it is there."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
PATIENCE: Final = 60.0
"""Seconds after which a stream that cannot be had again is given up."""


def _ignore(_error: TransientError) -> None:
    """A cut that nobody wants to hear of."""


class Client:
    """Of one lab. Also a context manager, which closes it."""

    def __init__(self, place: wire.Place, transport: httpx.BaseTransport | None = None, lab: str = "") -> None:
        """`lab` is the name of one of this machine."""
        self.lab = lab
        self._wire = wire.Wire(place, transport)

    @classmethod
    def of(cls, lab: str | None = None) -> Self:
        """A lab of this machine; without a name the only one. Raises FileError where it does not run."""
        from sdn import lab as labs
        from sdn.lab.rundir import RunDir

        run = RunDir(labs.one(lab))
        if not run.running:
            raise FileError(f"lab {run.lab} is not running", remedy="bring it up with: sdn up FILE")
        return cls(wire.Place(run.api_socket), lab=run.lab)

    @classmethod
    def at(cls, url: str, token: str | None = None, ca: str | None = None) -> Self:
        """Wherever it is: https://host:8443, unix:/path. Token and CA are those of SDN_TOKEN and SDN_CA if not given.
        Raises FileError."""
        return cls(wire.place(url, token, ca))

    def close(self) -> None:
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Resources

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

    def create(self, kind: str, name: str, fields: Fields | None = None, **how: Any) -> Resource:
        """Also where it is there already and so. Raises ConflictError where it is another.

        `how`, of this and of those below: `wait`, a Wait; `timeout` in seconds; `if_match`, an etag: then StaleError is
        raised where it has changed since.
        """
        of = kind_of(kind)
        return self._write("POST", f"/v1/{of.path}", of, {"name": name, **(fields or {})}, **how)

    def replace(self, kind: str, name: str, fields: Fields, **how: Any) -> Resource:
        """With these fields and no others; created where there is none."""
        of = kind_of(kind)
        return self._write("PUT", _path(of, name), of, fields, **how)

    def patch(self, kind: str, name: str, fields: Fields, **how: Any) -> Resource:
        """A merge patch (RFC 7396): None is what is left to sdn."""
        of = kind_of(kind)
        return self._write("PATCH", _path(of, name), of, fields, **how)

    def delete(
        self, kind: str, name: str, *, wait: Wait = "stored", timeout: float = 30.0, if_match: str = ""
    ) -> Applied | None:
        """None where it did not wait. Raises ConflictError where others need it."""
        of = kind_of(kind)
        params = {"wait": wait, "timeout": timeout}
        value, _ = self._wire.ask(
            "DELETE", _path(of, name), seconds=timeout, params=params, headers=_condition(if_match)
        )
        return Applied.of(value["applied"]) if value and "applied" in value else None

    def _write(
        self,
        method: str,
        path: str,
        of: Kind,
        fields: Fields,
        *,
        wait: Wait = "stored",
        timeout: float = 30.0,
        if_match: str = "",
    ) -> Resource:
        headers = {"Content-Type": "application/json", **_condition(if_match)}
        params = {"wait": wait, "timeout": timeout}
        content = orjson.dumps(fields, default=str)
        value, told = self._wire.ask(method, path, seconds=timeout, content=content, params=params, headers=headers)
        return _resource(of, value, told)

    def _pages(self, path: str, params: Mapping[str, Any]) -> Iterator[wire.Answer]:
        page, headers = self._wire.ask("GET", path, params=dict(params))
        yield page, headers
        while page.get("next"):
            page, headers = self._wire.ask("GET", page["next"])
            yield page, headers

    # The whole

    def apply(
        self,
        topology: str,
        *,
        wait: Wait = "stored",
        timeout: float = 60.0,
        if_match: str = "",
    ) -> dict[str, Any]:
        """The lab as this file's text says. Raises FileError with every mistake in it."""
        params = {"wait": wait, "timeout": timeout}
        headers = {"Content-Type": "application/yaml", **_condition(if_match)}
        value, _ = self._wire.ask(
            "PUT", "/v1/topology", seconds=timeout, content=topology.encode(), params=params, headers=headers
        )
        return dict(value or {})

    def plan(self, topology: str) -> Plan:
        """What `apply` would do."""
        headers = {"Content-Type": "application/yaml"}
        params = {"dry_run": "true"}
        value, _ = self._wire.ask("PUT", "/v1/topology", content=topology.encode(), params=params, headers=headers)
        return Plan.of(value.get("plan", value))

    def trace(self, source: str, target: str, protocol: str = "icmp") -> dict[str, Any]:
        """The way of a packet."""
        body = {"from": source, "to": target, "protocol": protocol}
        value, _ = self._wire.ask("POST", "/v1/trace", json=body)
        return dict(value)

    def test(self, only: str | None = None, *, matrix: bool = False, timeout: float = LONGEST_WAIT) -> dict[str, Any]:
        """Run the file's tests; with `matrix` try every node to every other too."""
        body = ({"only": only} if only else {}) | ({"matrix": True} if matrix else {})
        value, _ = self._wire.ask("POST", "/v1/test", seconds=timeout, json=body)
        return dict(value)

    # Counters

    def counters(self) -> Traffic:
        """What ports and links have counted so far."""
        value, _ = self._wire.ask("GET", "/v1/counters")
        return Traffic.of(value)

    def traffic(self, interval: float = 1.0) -> Iterator[Traffic]:
        """Every so many seconds, for ever: first all totals, then those that have changed, with rates.

        Raises TransientError where it is cut: what is counted then goes on, and can be asked for again.
        """
        from sdn.client.stream import blocks

        path, silence = "/v1/counters/stream", interval + SILENCE
        with self._wire.lines(path, silence=silence, params={"interval": interval}) as lines:
            for _, data in blocks(lines):
                if data:
                    yield Traffic.of(orjson.loads(data))

    # History

    def revisions(self, limit: int | None = None) -> Iterator[Revision]:
        """The newest first; all that are kept without `limit`."""
        size = min(limit or REVISIONS_KEPT, REVISIONS_KEPT)
        left = limit
        for page, _ in self._pages("/v1/revisions", {"limit": size}):
            for item in page["items"]:
                if left == 0:
                    return
                left = None if left is None else left - 1
                yield Revision.of(item)

    def revision(self, number: int) -> Revision:
        """With what it changed. Raises FileError where it is not known."""
        value, _ = self._wire.ask("GET", f"/v1/revisions/{number}")
        return Revision.of(value)

    def plan_of(self, number: int) -> Plan:
        """What a revision did."""
        value, _ = self._wire.ask("GET", f"/v1/revisions/{number}/plan")
        return Plan.of(value)

    def diff(self, old: int, new: int | None = None) -> tuple[int, int, tuple[Difference, ...]]:
        """Between two revisions, the present one without `new`: both numbers, and the entries that differ."""
        params = {"from": old, **({"to": new} if new is not None else {})}
        value, _ = self._wire.ask("GET", "/v1/diff", params=params)
        return value["from"], value["to"], tuple(Difference.of(each) for each in value["entries"])

    def rollback(
        self,
        revision: int,
        *,
        dry_run: bool = False,
        wait: Wait = "stored",
        timeout: float = 60.0,
        if_match: str = "",
    ) -> Rollback:
        """Back to what a revision was; `dry_run` only plans it. Raises FileError where it is not known."""
        params = {"dry_run": str(dry_run).lower(), "wait": wait, "timeout": timeout}
        value, told = self._wire.ask(
            "POST",
            "/v1/rollback",
            seconds=timeout,
            json={"revision": revision},
            params=params,
            headers=_condition(if_match),
        )
        return Rollback.of(value, told.get("etag", ""))

    # Events

    def known_events(
        self, *, kinds: Iterable[str] = (), objects: Iterable[str] = (), chassis: Iterable[str] = ()
    ) -> tuple[Event, ...]:
        """Those that are kept, the oldest first."""
        params = [("follow", "false"), *_filters(kinds, objects, chassis)]
        value, _ = self._wire.ask("GET", "/v1/events", params=params)
        return tuple(Event.of(item) for item in value["items"])

    def events(
        self,
        *,
        kinds: Iterable[str] = (),
        objects: Iterable[str] = (),
        chassis: Iterable[str] = (),
        after: str = "",
        on_cut: Cut = _ignore,
    ) -> Iterator[Event]:
        """As they happen, for ever; `after` an event's id, or `0` for all that are kept first.

        Where the stream is cut it is taken up again behind the last event, and `on_cut` is told why. Where something
        is lost for good, the event is of kind `missed`. Raises TransientError when it cannot be had again for PATIENCE.
        """
        params = _filters(kinds, objects, chassis)
        pause, since = FIRST_PAUSE, time.monotonic()
        while True:
            try:
                for name, event in self._stream(params, after):
                    after, pause, since = name or after, FIRST_PAUSE, time.monotonic()
                    if event is not None:
                        yield event
                cut = TransientError("the API ended the stream of events")
            except TransientError as error:
                cut = error
            on_cut(cut)
            if time.monotonic() - since > PATIENCE:
                raise cut
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _stream(self, params: Iterable[tuple[str, str]], after: str) -> Iterator[tuple[str, Event | None]]:
        """With the id to resume behind, which is also told when nothing happens."""
        from sdn.client.stream import blocks

        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        with self._wire.lines("/v1/events", silence=SILENCE, params=list(params), headers=headers) as lines:
            for name, data in blocks(lines):
                yield name, Event.of(orjson.loads(data)) if data else None


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
    return kind.type(kind.noun, _name(value), int(headers.get("sdn-revision", 0)), value, headers.get("etag", ""))


def _name(value: Mapping[str, Any]) -> str:
    """A flow has none, but an id."""
    return str(value.get("name", value.get("id", "")))


def _condition(etag: str) -> dict[str, str]:
    return {"If-Match": etag} if etag else {}


def _filters(kinds: Iterable[str], objects: Iterable[str], chassis: Iterable[str]) -> list[tuple[str, str]]:
    every = (("kind", kinds), ("object", objects), ("chassis", chassis))
    return [(key, value) for key, values in every for value in values]
