"""Every error a user can see. The kind decides whether it is retried and which exit code the command ends with. PURE.

SdnError
├── FileError        the file or the arguments are wrong: every Problem at once       exit 2   never retried
├── MachineError     this machine lacks a feature; says what to install               exit 3   never retried
├── ConflictError    an object that is not ours is in the way; it is left alone       exit 1   never retried
├── StaleError       the store has left the revision that a change was made from      exit 1   never retried
├── TransientError   a peer is away or busy; retried with back-off                    exit 1   retried
├── RefusedError     a switch refused what we asked, and said why                     exit 1   never retried
└── CheckError       a test or a check failed                                         exit 1   never retried
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class SdnError(Exception):
    """The root. `remedy` says what the operator can do about it."""

    exit_code = 1
    retry = False

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file; line and column count from 1.

    In plain values that were never a file `line` is 0, and `file` the JSON pointer of the place (RFC 6901).
    """

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}" if place else self.message


class FileError(SdnError):
    """The topology file or the arguments are wrong."""

    exit_code = 2

    def __init__(self, message: str, problems: Sequence[Problem] = (), *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems)) if self.problems else super().__str__()


class MachineError(SdnError):
    """This machine cannot do it: `feature` is missing."""

    exit_code = 3

    def __init__(self, feature: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.feature = feature


class ConflictError(SdnError):
    """An object that does not carry our mark is where ours would be. It was not touched."""


class StaleError(SdnError):
    """A change was made from revision `expected`, but the store is at `present`: nothing was written.

    Whoever wants it still looks at the newer revision and makes it again from there.
    """

    def __init__(self, expected: int, present: int) -> None:
        super().__init__(
            f"the store is at revision {present}, and this change was made from revision {expected}",
            remedy="look at what has changed, and make the change from there",
        )
        self.expected = expected
        self.present = present


class TransientError(SdnError):
    """Worth trying again: a socket is not there yet, a database is locked."""

    retry = True


class RefusedError(SdnError):
    """A switch refused a request, and would refuse it again: the message has the switch and its reason.

    `about` is what was refused, where it was one thing: a flow.
    """

    def __init__(self, message: str, *, remedy: str = "", about: object = None) -> None:
        super().__init__(message, remedy=remedy)
        self.about = about


class CheckError(SdnError):
    """A check of the running network failed."""
