"""What every OVSDB client of ours shares: `ovs` without eventlet, fast JSON, quick reconnects, schemas read once.

Enters: a socket, the name of a schema, tables and columns of interest. Leaves: an ovsdbapp `Connection` with its IDL.
Never: a query, a row or a name of one particular database. Import it before `ovs` and `ovsdbapp`.

The JSON parser of `ovs` works character by character in Python, at 4 MB/s. Ours hands whole messages to orjson: 110.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from datapath.errors import TransientError
from datapath.framing import Framer


@contextmanager
def _hidden(*modules: str) -> Iterator[None]:
    """While this lasts, importing `modules` fails as if they were not installed; then sys.modules is as before."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(dict.fromkeys(modules))  # type: ignore[arg-type]  # None means: cannot be imported
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


with _hidden("eventlet", "gevent"):
    import ovs.json
    import ovs.jsonrpc
    import ovs.poller
    from ovsdbapp.backend.ovs_idl import idlutils
    from ovsdbapp.backend.ovs_idl.connection import Connection, OvsdbIdl

RECEIVE_SIZE: Final = 1 << 18
"""Bytes asked of a socket at once; more than the kernel's default socket buffer holds."""

RECONNECT_MIN_MS: Final = 20
RECONNECT_MAX_MS: Final = 200


def to_bytes(value: object) -> bytes:
    """JSON as it goes on the wire. What orjson cannot express (integers beyond 64 bits) the original writes."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return bytes(_original_to_string(value), "utf-8")


def to_string(value: object, pretty: bool = False, sort_keys: bool = True) -> str:
    """`ovs.json.to_string`."""
    if pretty:
        return str(_original_to_string(value, pretty, sort_keys))
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort_keys else None).decode()
    except TypeError:
        return str(_original_to_string(value, pretty, sort_keys))


def from_string(text: str | bytes) -> Any:
    """`ovs.json.from_string`: the value, or a str that says what is wrong with the text; never raises."""
    try:
        value = orjson.loads(text)
    except ValueError as error:
        return str(error)
    return value if isinstance(value, dict | list) else "syntax error at beginning of input"


def from_file(name: str | os.PathLike[str]) -> Any:
    """`ovs.json.from_file`."""
    return from_string(Path(name).read_bytes())


class FastConnection(ovs.jsonrpc.Connection):  # type: ignore[misc]
    """`ovs.jsonrpc.Connection` which reads and writes bytes, whole messages at a time."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.output = b""
        self.input = b""
        self._framer = Framer()

    def send(self, msg: Any) -> int:
        if self.status:
            return int(self.status)
        idle = not self.output
        self.output = (self.output or b"") + to_bytes(msg.to_json())
        if idle:
            self.run()
        return int(self.status)

    def recv(self) -> tuple[int, Any]:
        """(0, message), (errno.EAGAIN, None) if none is complete, or (error, None) when the connection is over."""
        while not self.status:
            message = self._complete()
            if message is not None:
                return 0, message
            if self.status:
                break
            error, data = self.stream.recv(RECEIVE_SIZE)
            if error == errno.EAGAIN:
                self.input = b""  # what is buffered needs more bytes: wait for the socket
                return error, None
            if error or not data:
                self.error(error or ovs.jsonrpc.EOF)
                break
            self.received_bytes += len(data)
            self._framer.feed(data)
        return self.status, None

    def _complete(self) -> Any | None:
        try:
            value = self._framer.next()
        except ValueError as error:
            self._malformed(str(error))
            return None
        self.input = self._framer.buffer
        if value is None:
            return None
        message = ovs.jsonrpc.Message.from_json(value)
        if isinstance(message, str):
            self._malformed(message)
            return None
        return message

    def _malformed(self, why: str) -> None:
        ovs.jsonrpc.vlog.warn(f"{self.name}: bad JSON-RPC message: {why}")
        self.error(errno.EPROTO)


class MergingPoll:
    """select.poll as `ovs.poller` expects it: what is registered twice for one descriptor adds up."""

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}

    def register(self, fd: Any, events: int) -> None:
        number = fd if isinstance(fd, int) else fd.fileno()
        self._masks[number] = self._masks.get(number, 0) | events

    def poll(self, timeout: int) -> list[tuple[int, int]]:
        """`timeout` in milliseconds, -1 for none."""
        poll = select.poll()
        for number, events in self._masks.items():
            poll.register(number, events)
        return poll.poll(timeout)


_original_to_string = ovs.json.to_string


def _install() -> None:
    ovs.json.to_string = to_string
    ovs.json.from_string = from_string
    ovs.json.from_file = from_file
    ovs.jsonrpc.Connection = FastConnection
    ovs.poller.SelectPoll = MergingPoll  # select() ends at descriptor 1023, which an agent of many chassis exceeds


_install()


class Idl(OvsdbIdl):  # type: ignore[misc]
    """ovsdbapp's IDL without the system call per row that it makes for the sake of green threads: 75 us each."""

    def cooperative_yield(self) -> None:
        """Nothing: our threads are real."""


Tables = Mapping[str, Sequence[str]]
"""Columns of interest by table; no columns means all of the table."""


_schemas: dict[str, dict[str, Any]] = {}


def schema(name: str, socket: Path) -> dict[str, Any]:
    """The JSON of schema `name` as the server on `socket` has it.

    Asked for once in a process: the servers of one host are of one installation. Raises TransientError.
    """
    if name not in _schemas:
        try:
            _schemas[name] = idlutils.fetch_schema_json(f"unix:{socket}", name)
        except Exception as error:
            raise TransientError(f"{socket}: no database {name} there yet") from error
    return _schemas[name]


def connect(
    socket: Path,
    name: str,
    tables: Tables,
    *,
    timeout: float = 5.0,
    idl: type[Any] = Idl,
    schema_json: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """A `Connection` to database `name`, not started: its IDL is `.idl`, of class `idl`, created with `options`.

    Only the given tables and columns are replicated; the schema is the server's unless given. It reconnects by itself,
    trying at least every RECONNECT_MAX_MS. Raises TransientError.
    """
    helper = idlutils.create_schema_helper(schema_json or schema(name, socket))
    for table, columns in tables.items():
        if columns:
            helper.register_columns(table, list(columns))
        else:
            helper.register_table(table)
    replica = idl(f"unix:{socket}", helper, leader_only=False, **options)
    hasten(replica)
    return Connection(idl=replica, timeout=timeout)


def hasten(idl: Any) -> None:
    """Reconnect quickly and never probe: the death of a local server is noticed at once, and it is soon restarted.

    The attributes are set directly because `set_backoff` rounds up to a second.
    """
    idl._session.reconnect.min_backoff = RECONNECT_MIN_MS
    idl._session.reconnect.max_backoff = RECONNECT_MAX_MS
    idl._session.reconnect.set_probe_interval(0)


__all__ = [
    "Connection",
    "FastConnection",
    "Framer",
    "Idl",
    "MergingPoll",
    "connect",
    "from_file",
    "from_string",
    "hasten",
    "schema",
    "to_bytes",
    "to_string",
]
