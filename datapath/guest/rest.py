"""A guest that has ended and is not started again: kept in its directory, for the next agent would start it.

Enters: the directory of a guest. Leaves: its Rest. Never: a rest from a wish that is no longer the same.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from datapath.guest.wishes import Wish
from datapath.spec import GuestPhase

FILE: Final = "rest.json"


@dataclass(frozen=True, slots=True)
class Rest:
    """`wish` is a digest of what was wished when it came to rest."""

    wish: str
    phase: GuestPhase
    note: str = ""
    error: str = ""
    restarts: int = 0

    def write(self, directory: Path) -> None:
        """Complete or not at all."""
        fresh = directory / f".{FILE}"
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(asdict(self)))
        fresh.rename(directory / FILE)


def digest(wish: Wish) -> str:
    return hashlib.blake2b(repr(wish.hardware).encode(), digest_size=16).hexdigest()


def read(directory: Path, wish: Wish) -> Rest | None:
    """None if there is none, or what is wished now is something else."""
    try:
        found = Rest(**json.loads((directory / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.wish == digest(wish) else None


def wake(directory: Path) -> None:
    (directory / FILE).unlink(missing_ok=True)
