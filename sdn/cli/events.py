"""`sdn events`: what happens in a lab, line by line. Enters: filters. Leaves: time, kind and message, or JSON lines."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from datapath.errors import FileError, TransientError
from sdn.cli import output
from sdn.cli.remote import connected
from sdn.lab import is_running

if TYPE_CHECKING:
    from sdn.client import Client, Event

LAST: Final = "lab.down"
"""What follows is of another lab, if anything."""
_STYLES: Final = {
    "failure": output.BAD,
    "missed": output.BAD,
    LAST: output.BAD,
    "drift.found": output.WARNING,
    "port.down": output.WARNING,
    "drift.repaired": output.GOOD,
    "revision.settled": output.GOOD,
    "port.up": output.GOOD,
    "model.changed": output.ACCENT,
}
_AGO: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) *(s|m|min|h|d)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}
_WIDTH: Final = len("revision.settled")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Patterns; `since` as it was typed."""

    kinds: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    chassis: tuple[str, ...] = ()
    since: str = ""


def events(lab: str | None, api: str | None, wanted: Wanted, follow: bool, as_json: bool) -> None:
    since = moment(wanted.since) if wanted.since else None
    with connected(lab, api) as client, suppress(_DownError):
        for event in _events(client, wanted, follow):
            if since is None or when(event.time) >= since:
                _show(event, as_json)
            if follow and event.kind == LAST:
                break


class _DownError(Exception):
    """Nothing more will happen in this lab."""


def _events(client: Client, wanted: Wanted, follow: bool) -> Iterable[Event]:
    filters: dict[str, Iterable[str]] = {
        "kinds": [_whole(kind) for kind in wanted.kinds],
        "objects": wanted.objects,
        "chassis": wanted.chassis,
    }
    if not follow:
        return client.known_events(**filters)
    return _followed(client, filters)


def _followed(client: Client, filters: dict[str, Iterable[str]]) -> Iterator[Event]:
    def tell(cut: TransientError) -> None:
        if client.lab and not is_running(client.lab):
            output.note(output.paint(f"lab {client.lab} is down", output.SOFT, sys.stderr))
            raise _DownError
        output.note(output.paint(f"{cut.message}; trying again", output.SOFT, sys.stderr))

    yield from client.events(**filters, after="0", on_cut=tell)


def _whole(kind: str) -> str:
    """`port` stands for `port.up` and `port.down`."""
    return kind if any(sign in kind for sign in ".*?[") or kind in ("failure", "missed") else f"{kind}.*"


def _show(event: Event, as_json: bool) -> None:
    if as_json:
        print(json.dumps(event.raw, ensure_ascii=False), flush=True)
        return
    style = _STYLES.get(event.kind, "")
    kind = output.paint(event.kind.ljust(_WIDTH), style)
    message = output.paint(event.message, style) if style == output.BAD else event.message
    print(f"{output.paint(clock(event.time), output.SOFT)}  {kind}  {message}", flush=True)


def when(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def clock(text: str) -> str:
    """RFC 3339 in this machine's time: of today without the date, else without the milliseconds."""
    local = when(text).astimezone()
    if local.date() == datetime.now().astimezone().date():
        return local.strftime("%H:%M:%S.") + f"{local.microsecond // 1000:03}"
    return local.strftime("%Y-%m-%d %H:%M")[2:]


def moment(text: str) -> datetime:
    """`10m`, `2h`, or a date and time. Raises FileError."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise FileError(f"{text!r} is no time", remedy="such as 10m, 2h, or '2026-11-21 15:00'") from None
