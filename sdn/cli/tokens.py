"""`sdn token …`: who may use the API from elsewhere. Enters: names. Leaves: the file of tokens, tables."""

from __future__ import annotations

import re
import time
from typing import Any, Final

from datapath.errors import FileError
from sdn.api import tokens
from sdn.api.caller import Role
from sdn.api.tokens import Token
from sdn.cli import output
from sdn.cli.output import BAD, SOFT, STRONG, WARNING, Cell

_UNITS: Final = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
NEVER: Final = "never"
_SOON: Final = 3 * 86400.0
"""Seconds before its end from which a token is shown as ending."""
_COLOURS: Final = {Role.READ: "", Role.OPERATE: "", Role.ADMIN: WARNING}


def create(name: str, role: str, expires: str, as_json: bool) -> None:
    token, text = tokens.create(name, Role[role.upper()], lifetime(expires))
    if as_json:
        output.as_json({**_as_dict(token), "token": text})
        return
    output.say(text)
    output.note(f"token {name} with role {role}, {_until(token)}: it is not shown again, and kept nowhere")
    output.note(output.paint("next: sdn serve --listen 127.0.0.1:8080 --require-token", SOFT))
    output.note(
        output.paint(f"      curl -H 'Authorization: Bearer {text[:12]}…' http://127.0.0.1:8080/v1/ports", SOFT)
    )


def lifetime(text: str) -> float | None:
    """Seconds; None for `never`. Raises FileError."""
    if text == NEVER:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", text)
    if found is None:
        raise FileError(f"{text!r} is no time to expire after", remedy="such as 30d, 12h, 15m, or never")
    return int(found[1]) * _UNITS[found[2]]


def list_tokens(as_json: bool) -> None:
    found = tokens.every()
    if as_json:
        output.as_json([_as_dict(token) for token in found])
    elif not found:
        output.say("there is no token yet")
        output.say(output.paint("next: sdn token create NAME --role read", SOFT))
    else:
        output.table(("name", "id", "role", "made", "expires"), [_row(token) for token in found])


def revoke(names: list[str]) -> None:
    for token in tokens.revoke(names):
        output.say(f"token {token.name} ({token.role.label}) is not valid any more")


def _row(token: Token) -> output.Row:
    now = time.time()
    ends = "" if token.expires is None or token.expires - now > _SOON else WARNING
    expires = Cell("expired", BAD) if token.is_over(now) else Cell(_until(token), ends)
    made = f"{output.since(now - token.created)} ago"
    return Cell(token.name, STRONG), token.id, Cell(token.role.label, _COLOURS[token.role]), made, expires


def _until(token: Token) -> str:
    return "never expires" if token.expires is None else f"for {output.since(token.expires - time.time() + 59)}"


def _as_dict(token: Token) -> dict[str, Any]:
    """Without what is kept of the secret."""
    return {
        "name": token.name,
        "id": token.id,
        "role": token.role.label,
        "created": token.created,
        "expires": token.expires,
        "expired": token.is_over(time.time()),
    }
