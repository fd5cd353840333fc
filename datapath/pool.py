"""Where the disks of guests are: the pool of this machine.

Enters: the environment's SDN_POOL. Leaves: paths. Never: a directory made.
"""

from __future__ import annotations

import os
from pathlib import Path


def pool() -> Path:
    return Path(os.environ.get("SDN_POOL") or "/var/lib/sdn")


def images() -> Path:
    """Bases, which are never written."""
    return pool() / "images"


def volumes() -> Path:
    """Named volumes, which stay when labs go."""
    return pool() / "volumes"


def of_lab(lab: str) -> Path:
    """The guests' own disks, which go with their lab."""
    return pool() / "labs" / lab
