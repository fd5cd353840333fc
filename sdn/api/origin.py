"""By what a change is made, for the history: the command that was typed, or the request.

Enters: a request. Leaves: a line of text. Never: a command that somebody of another machine claims to have typed.
"""

from __future__ import annotations

from urllib.parse import unquote

from fastapi import Request

from sdn.api.caller import caller
from sdn.author import ORIGIN_HEADER


def origin(request: Request, otherwise: str = "") -> str:
    """`sdn set network web mtu=1400`, `PATCH /v1/networks/web`. `otherwise` stands for the request, if given."""
    said = request.headers.get(ORIGIN_HEADER, "") if caller(request).is_local else ""
    command = "".join(sign for sign in unquote(said) if sign.isprintable())
    return command or otherwise or f"{request.method} {request.url.path}"
