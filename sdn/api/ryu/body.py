"""Request bodies as Ryu takes them: JSON, and Python literals with comments, which its documentation has examples of.
PURE.

Enters: bytes of whatever content type (`curl -d` says form data). Leaves: a dict whose parts have the shapes that
os-ken's conversions iterate over. Never: an exception other than Problem; a number outside of JSON's.
"""

from __future__ import annotations

import ast
import json
from typing import Any, Final

from sdn.api.ryu.problem import bad

LITERAL_MAX: Final = 64 * 1024
"""Bytes of a Python literal: enough for a hundred flows by hand, and no work for an attacker's nesting."""

_SHAPES: Final[dict[str, type[dict[str, Any]] | type[list[Any]]]] = {
    "match": dict,
    "actions": list,
    "instructions": list,
    "buckets": list,
    "bands": list,
}


def parse(data: bytes) -> dict[str, Any]:
    """The request's object; none at all is an empty one. Raises Problem 400."""
    text = _text(data).strip()
    found = _value(text) if text else {}
    if not isinstance(found, dict):
        raise bad(f"the body should be an object, and is {type(found).__name__}")
    for name, shape in _SHAPES.items():
        if name in found and not isinstance(found[name], shape):
            raise bad(
                f"{name} should be {'an object' if shape is dict else 'a list'}, and is {type(found[name]).__name__}"
            )
    _check_transport(found.get("match", {}))
    return found


_TCP, _UDP = 6, 17  # IANA's protocol numbers


def _check_transport(match: dict[str, Any]) -> None:
    """Ryu's old names for ports of TCP or UDP say nothing of which."""
    protocol = match.get("nw_proto", match.get("ip_proto"))
    if {"tp_src", "tp_dst"} & match.keys() and protocol not in (_TCP, _UDP):
        raise bad("tp_src and tp_dst need nw_proto, 6 (TCP) or 17 (UDP)")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise bad(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        wrong = error
    if len(text) > LITERAL_MAX:
        raise bad(f"the body is not JSON: {wrong}")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise bad(f"the body is neither JSON ({wrong}) nor a Python literal") from wrong


def applied(body: dict[str, Any]) -> dict[str, Any]:
    """With OpenFlow 1.4's `instructions` as 1.3's `actions`, which hold instructions too (Ryu takes one or the other).

    Raises Problem 400.
    """
    if "instructions" not in body:
        return body
    actions = [*body.get("actions", ())]
    for item in body["instructions"]:
        if not isinstance(item, dict):
            raise bad(f"an instruction should be an object, and is {type(item).__name__}")
        inner = item.get("actions", []) if item.get("type") == "APPLY_ACTIONS" else [item]
        if not isinstance(inner, list):
            raise bad(f"actions should be a list, and is {type(inner).__name__}")
        actions += inner
    return {**body, "actions": actions}


_BITS: Final = {"priority": 16, "idle_timeout": 16, "hard_timeout": 16, "flags": 16, "cookie": 64, "cookie_mask": 64}


def check_flow(body: dict[str, Any]) -> None:
    """The numbers of a flow fit into their places; os-ken says of others only that they do not. Raises Problem 400."""
    for name, bits in _BITS.items():
        if name in body and not 0 <= number(body[name], name) < 1 << bits:
            raise bad(f"{name} should be 0 to {(1 << bits) - 1}, and is {str(body[name])[:40]}")


def number(value: object, what: str) -> int:
    """As Ryu reads numbers: 16, "16" and "0x10" are the same. Raises Problem 400."""
    try:
        return int(str(value), 0)
    except ValueError:
        raise bad(f"{what} should be a number, decimal or with 0x, and is {str(value)[:40]!r}") from None
