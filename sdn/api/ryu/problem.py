"""What is wrong with a request, and the HTTP status that says so. PURE."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818  # RFC 9457 calls it that
    """`status` as Ryu answers it, where Ryu answers: 400 not understood or refused by the switch, 404 no such
    thing."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def bad(detail: str) -> Problem:
    """The request is wrong, or the switch refuses what it asks."""
    return Problem(400, detail)


def missing(detail: str) -> Problem:
    """No such switch or port."""
    return Problem(404, detail)


def occupied(detail: str) -> Problem:
    """Somebody else's flow is in the place of the user's."""
    return Problem(409, detail)
