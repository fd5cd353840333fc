"""Whose flow is it: the user's mark in cookies, put on and taken off. PURE.

Enters: flow-mods and flow requests of os-ken's, flows in Ryu's JSON. Leaves: the same, with or without the mark.
Never: a modification or deletion that could touch a flow without the mark: the switch itself compares it, as part of
cookie and cookie_mask (OpenFlow 1.3 section 6.4).
"""

from __future__ import annotations

from typing import Any, Final

from sdn.api.ryu.problem import bad
from sdn.pipeline.fields import USER_MARK

COOKIE_MAX: Final = (1 << 48) - 1
_TOP: Final = 0xFFFF << 48


def marked(cookie: int) -> int:
    """The cookie as the switch gets it. Raises Problem 400 where it has more than 48 bits and is not marked already."""
    if 0 <= cookie <= COOKIE_MAX:
        return USER_MARK << 48 | cookie
    if cookie >> 48 == USER_MARK:
        return cookie
    raise bad(f"a cookie has 48 bits here, the 16 above them say whose flow it is: {cookie:#x} is too large")


def unmarked(cookie: int) -> int:
    """The user's part; the cookies of other flows are shown as they are."""
    return cookie & COOKIE_MAX if cookie >> 48 == USER_MARK else cookie


def is_user(cookie: int) -> bool:
    return cookie >> 48 == USER_MARK


def mark(flow_mod: Any, *, adds: bool) -> None:
    """An addition has no cookie to compare; everything else acts on the user's flows only."""
    flow_mod.cookie = marked(flow_mod.cookie)
    flow_mod.cookie_mask = 0 if adds else flow_mod.cookie_mask | _TOP


def mark_filter(question: Any) -> None:
    """Whoever asks by cookie means the user's flows, unless it is a whole cookie of others."""
    if question.cookie_mask and 0 <= question.cookie <= COOKIE_MAX:
        question.cookie |= USER_MARK << 48
        question.cookie_mask |= _TOP


def unmark(flows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**flow, "cookie": unmarked(flow["cookie"])} if "cookie" in flow else flow for flow in flows]
