"""Ryu's JSON from and to OpenFlow 1.3 messages, by os-ken's `ofctl_v1_3`, which is the code that Ryu's REST runs.

Enters: the name of one of its functions with its arguments; replies of a switch. Leaves: the message that it wants
sent; the JSON that it makes of the replies. Never: a message on a wire. `ofctl` waits for replies inside of its
functions, so each is run twice: until it sends, and again with the replies at hand.

What os-ken only logs (an unknown match field, which leaves a flow that matches everything) and what it cuts off
silently (an in_port of 2**32 + 1) is a Problem here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from importlib import import_module
from typing import Any, Final

from datapath.openflow.codec import V13
from sdn.api.ryu.problem import Problem, bad
from sdn.southbound.messages import Dialect, dialect
from sdn.southbound.requests import Request
from sdn.southbound.transport import HEADER

_XID: Final = 1
_LOGGERS: Final = ("os_ken.lib.ofctl_v1_3", "os_ken.lib.ofctl_utils")


@cache
def _ofctl() -> Any:
    return import_module("os_ken.lib.ofctl_v1_3")


def load() -> None:
    """os-ken, which takes 150 ms the first time."""
    dialect(V13)
    _ofctl()


def ofproto() -> Any:
    """The constants of OpenFlow 1.3."""
    return dialect(V13).ofproto


def port_name(port: int) -> int | str:
    """`LOCAL`, `CONTROLLER` and their like have a name; others are numbers."""
    found: int | str = _ofctl().UTIL.ofp_port_to_user(port)
    return found


def message(function: str, *arguments: Any) -> Any:
    """The message that `function` of ofctl wants sent. Raises Problem 400 with what is wrong in the arguments."""
    asking = function.startswith("get_")
    with _complaints() as complaints:
        try:
            getattr(_ofctl(), function)(_Desk(0), *([{}] if asking else []), *deepcopy(arguments))
        except _Sent as sent:
            found = sent.message
        except Exception as error:
            raise bad(_why(complaints, error)) from error
        else:
            raise bad(_why(complaints, None))
    if complaints:
        raise bad(complaints[0])
    return found


def request(sent: Any) -> Request:
    """A message of os-ken's as bytes. Raises Problem 400 where a number does not fit into its place."""
    try:
        sent.serialize()
    except Exception as error:
        raise bad(_why([], error)) from error
    return Request(type(sent).__name__.removeprefix("OFP"), sent.msg_type, bytes(sent.buf[HEADER.size :]))


def answer(dpid: int, replies: Sequence[bytes], function: str, *arguments: Any) -> Any:
    """What ofctl makes of the replies to its `function`'s message. For thousands of flows it takes a second.

    Raises Problem 502 for a reply that os-ken cannot read.
    """
    try:
        messages = [dialect(V13).decode(reply) for reply in replies]
        _give_data(messages)
        desk = _Desk(dpid, messages)
        return getattr(_ofctl(), function)(desk, desk.waiters, *deepcopy(arguments))
    except Exception as error:
        raise Problem(502, f"the switch's reply is not understood: {error}") from error


def _give_data(messages: Sequence[Any]) -> None:
    """Nicira's actions get their bytes as `data`: ofctl shows these where it has no words for one, or stumbles (over
    `learn`), and forgets that only unknown actions have them."""
    entries = [entry for message in messages for entry in getattr(message, "body", ()) or ()]
    lists = [item for entry in entries for name in ("instructions", "buckets") for item in getattr(entry, name, ())]
    for action in (action for item in lists for action in getattr(item, "actions", ())):
        if action.type == ofproto().OFPAT_EXPERIMENTER and not hasattr(action, "data"):
            action.data = _bytes_of(action)


def _bytes_of(action: Any) -> bytes:
    """What follows the experimenter in an action (section 7.2.5)."""
    written = bytearray()
    action.serialize(written, 0)
    return bytes(written[8:])


def _why(complaints: list[str], error: Exception | None) -> str:
    if complaints:
        return complaints[0]
    said = str(error.args[0]) if error and error.args else ""
    return f"not understood: {said or type(error).__name__}"[:400]


class _Sent(Exception):  # noqa: N818  # a way out, not an error
    """Leaves a function of ofctl at the point where it sends."""

    def __init__(self, message: Any) -> None:
        super().__init__()
        self.message = message


class _Desk:
    """What ofctl takes for a datapath: the message is intercepted, or answered from `replies` on the spot."""

    def __init__(self, dpid: int, replies: list[Any] | None = None) -> None:
        self.id = dpid
        self.ofproto = ofproto()
        self.ofproto_parser = _Parser(dialect(V13))
        self.waiters: dict[int, dict[int, Any]] = {}
        self._replies = replies

    def set_xid(self, sent: Any) -> None:
        sent.set_xid(_XID)

    def send_msg(self, sent: Any) -> None:
        if self._replies is None:
            raise _Sent(sent)
        lock, answers = self.waiters[self.id][sent.xid]
        answers += self._replies
        lock.wait = lambda **_: True  # os-ken's own starts a thread to count the seconds
        lock.set()


class _Parser:
    """os-ken's parser, whose matches and set-fields must hold the numbers that they were given."""

    def __init__(self, codec: Dialect) -> None:
        self._parser = codec.ofproto_parser

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def OFPMatch(self, **fields: Any) -> Any:  # noqa: N802
        made = self._parser.OFPMatch(**fields)
        for name, wanted in fields.items():
            _check(name, wanted, made.get(name))
        return made

    def OFPActionSetField(self, **fields: Any) -> Any:  # noqa: N802
        self.OFPMatch(**fields)
        return self._parser.OFPActionSetField(**fields)


def _check(name: str, wanted: Any, got: Any) -> None:
    value, mask = wanted if isinstance(wanted, tuple) else (wanted, None)
    if not isinstance(value, int) or isinstance(value, bool):
        return
    expected = value if mask is None else (value & mask, mask)
    if expected != got:
        raise ValueError(f"{name} does not hold {value:#x}" + (f"/{mask:#x}" if mask is not None else ""))


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What os-ken's conversions log from warnings on, instead of the log; one conversion runs at a time."""
    said: list[str] = []
    handler = _Keep(said)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
    try:
        yield said
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


class _Keep(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage()[:400])
