"""The client: one method for each thing that the API does; those for single things are in `resources`.

Enters: calls. Leaves: typed values, events and counters as they come. Never: a stream that ends before it has been
asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from datapath.errors import FileError, TransientError
from sdn.bounds import LONGEST_WAIT, REVISIONS_KEPT, Wait
from sdn.client import wire
from sdn.client.resources import Resources, condition
from sdn.client.told import Event, Plan, Revision, Rollback, Traffic
from sdn.differences import Difference

if TYPE_CHECKING:
    import httpx

Cut = Callable[[TransientError], None]

SILENCE: Final = 40.0
"""Seconds: a stream of events says at least every 15 that it is there."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
PATIENCE: Final = 60.0
"""Seconds after which a stream that cannot be had again is given up."""


def _ignore(_error: TransientError) -> None:
    """A cut that nobody wants to hear of."""


class Client(Resources):
    """Of one lab. Also a context manager, which closes it."""

    def __init__(self, place: wire.Place, transport: httpx.BaseTransport | None = None, lab: str = "") -> None:
        """`lab` is the name of one of this machine."""
        super().__init__(wire.Wire(place, transport))
        self.lab = lab

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
        headers = {"Content-Type": "application/yaml", **condition(if_match)}
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
            headers=condition(if_match),
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


def _filters(kinds: Iterable[str], objects: Iterable[str], chassis: Iterable[str]) -> list[tuple[str, str]]:
    every = (("kind", kinds), ("object", objects), ("chassis", chassis))
    return [(key, value) for key, values in every for value in values]
