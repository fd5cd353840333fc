"""By what a change is made: the command that root of this machine typed, else the request."""

from __future__ import annotations

import pytest
from fastapi import Request

from sdn.api.caller import SCOPE, Caller, Role
from sdn.api.origin import origin

ROOT = Caller("root", Role.ADMIN, is_local=True)
STRANGER = Caller("ann", Role.ADMIN)


def asked(by: Caller, *headers: tuple[bytes, bytes]) -> Request:
    scope = {"type": "http", "method": "PATCH", "path": "/v1/nodes/a", "headers": list(headers), SCOPE: by}
    return Request({**scope, "server": ("lab", 80), "scheme": "http", "query_string": b"wait=applied"})


@pytest.mark.parametrize(
    ("by", "said", "expected"),
    [
        (ROOT, b"sdn set node a chassis=hv2", "sdn set node a chassis=hv2"),
        (ROOT, b"sdn set node a 'note=%C3%A9 100%25%0A%1B[2J'", "sdn set node a 'note=é 100%[2J'"),
        (ROOT, b"", "PATCH /v1/nodes/a"),
        (ROOT, b"%0A", "PATCH /v1/nodes/a"),
        (STRANGER, b"sdn set node a chassis=hv2", "PATCH /v1/nodes/a"),
    ],
)
def test_origin(by: Caller, said: bytes, expected: str) -> None:
    assert origin(asked(by, (b"sdn-origin", said))) == expected


def test_what_stands_for_the_request() -> None:
    assert origin(asked(ROOT), "rollback to 3") == "rollback to 3"
    assert origin(asked(ROOT, (b"sdn-origin", b"sdn rollback 3")), "rollback to 3") == "sdn rollback 3"
