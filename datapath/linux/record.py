"""What an interface of the machine was before it joined a lab's physical network, on disk until it is so again.

Enters: a Record. Leaves: a file of the lab's run directory, which only root may read. Never: a file that is half
written; a record of another boot taken for one of this.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from datapath.errors import ConflictError
from datapath.linux.belongings import Belongings, address_text, lasting, route_text

SUFFIX: Final = ".uplink.json"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Record:
    """`moves`: its addresses are on the bridge meanwhile. `index` was its number, by which its belongings name it.

    `ipv6` are its settings `disable_ipv6` and `addr_gen_mode`, '' where the kernel has no IPv6. `place` is the inode of
    the network namespace, `taken` in seconds since the boot of the machine (CLOCK_BOOTTIME).
    """

    physnet: str
    interface: str
    index: int
    up: bool
    moves: bool
    ipv6: tuple[str, str]
    belongings: Belongings
    place: int = 0
    taken: int = 0

    def stamped(self) -> Record:
        """Of here and now."""
        return replace(self, place=place(), taken=_seconds())

    def now(self) -> Belongings:
        """What is left of what it had: the time of an address goes on."""
        return lasting(self.belongings, _seconds() - self.taken)


def place() -> int:
    """Which network namespace this thread is in: the machine's own."""
    return os.stat("/proc/thread-self/ns/net").st_ino


def _seconds() -> int:
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


def write(directory: Path, record: Record) -> None:
    """In one step: there is the old file or the new one."""
    path = directory / f"{record.physnet}{SUFFIX}"
    text = json.dumps(_encoded(record), indent=1)
    half = path.with_suffix(".new")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    half.rename(path)


def drop(directory: Path, physnet: str) -> None:
    (directory / f"{physnet}{SUFFIX}").unlink(missing_ok=True)


def has_any(directory: Path) -> bool:
    return any(directory.glob(f"*{SUFFIX}"))


def read(directory: Path) -> dict[str, Record]:
    """By physical network. What an earlier boot left says nothing any more and is removed.

    Raises ConflictError for a file that nobody of us has written.
    """
    found = {}
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            content = json.loads(path.read_text())
            if content.pop("boot") != _BOOT.read_text().strip():
                path.unlink()
                continue
            record = _decoded(content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConflictError(
                f"{path} is not readable: {error!r}", remedy="what it says of an interface is lost: remove it"
            ) from error
        found[record.physnet] = record
    return found


def _encoded(record: Record) -> dict[str, Any]:
    has = record.belongings
    return {
        "boot": _BOOT.read_text().strip(),
        "for people": [address_text(each) for each in has.addresses] + [route_text(each) for each in has.routes],
        **asdict(replace(record, belongings=Belongings())),
        "belongings": {kind: [each.hex() for each in some] for kind, some in asdict(has).items()},
    }


def _decoded(content: dict[str, Any]) -> Record:
    del content["for people"]
    has = {kind: tuple(bytes.fromhex(each) for each in some) for kind, some in content["belongings"].items()}
    return Record(**{**content, "ipv6": tuple(content["ipv6"]), "belongings": Belongings(**has)})
