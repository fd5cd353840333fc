"""Numbers for what the file leaves open: ids, OpenFlow ports, MACs, addresses, vteps. PURE.

Enters: names in the file's order, what the file fixes, what the running lab had. Leaves: a number for each name.
Never: a number that depends on another name, except where two hashes meet: so that a line more in the file
renumbers nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple, TypeVar

from datapath.addr import IPNetwork

K = TypeVar("K", bound=Hashable)

MAC_FIRST: Final = 0x02_00_00_00_00_01
MAC_LAST: Final = 0x02_FF_FF_FF_FF_FF
"""Locally administered, unicast (IEEE 802, U/L bit set and I/G bit clear)."""

_NOTHING: Final[Mapping[object, int]] = {}


class ExhaustedError(Exception):
    """`needed` numbers do not fit into `room`."""

    def __init__(self, needed: int, room: int) -> None:
        super().__init__(f"{needed} do not fit into {room}")
        self.needed = needed
        self.room = room


class Slots(NamedTuple):
    """A space of numbers; its name keeps equal names in different spaces apart."""

    name: str
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def preferred(self, name: str) -> int:
        """The number that `name` gets when nobody else has it: the same on every machine, for ever."""
        digest = blake2b(f"{self.name}/{name}".encode(), digest_size=16).digest()
        return self.first + int.from_bytes(digest, "big") % self.size


def allot(
    slots: Slots,
    names: Iterable[K],
    *,
    words: Mapping[K, str] | None = None,
    fixed: Mapping[K, int] = _NOTHING,  # type: ignore[assignment]
    previous: Mapping[K, int] = _NOTHING,  # type: ignore[assignment]
    reserved: Collection[int] = (),
) -> dict[K, int]:
    """A number for each of `names`, in their order. What is hashed is the name, or its word in `words`.

    `fixed` beats `previous` beats the hash; a previous number is kept only while it is in range and free.
    Nothing else gets a number in `reserved`. Raises ExhaustedError.
    """
    hashed = {name: str(name) if words is None else words[name] for name in names}
    found = {name: fixed[name] for name in hashed if name in fixed}
    taken = {number for number in (*found.values(), *reserved) if slots.first <= number <= slots.last}
    if len(hashed) - len(found) > slots.size - len(taken):
        raise ExhaustedError(len(hashed) - len(found), slots.size - len(taken))
    for name in hashed:
        number = previous.get(name)
        if name not in found and number is not None and slots.first <= number <= slots.last and number not in taken:
            found[name] = number
            taken.add(number)
    for name, text in hashed.items():
        if name not in found:
            found[name] = _probe(slots, slots.preferred(text), taken)
            taken.add(found[name])
    return {name: found[name] for name in hashed}


def _probe(slots: Slots, number: int, taken: Collection[int]) -> int:
    while number in taken:
        number = number + 1 if number < slots.last else slots.first
    return number


def host_slots(name: str, subnet: IPNetwork) -> Slots:
    """The addresses of `subnet` that nodes get, as numbers.

    Not the network address (in IPv6 the subnet-router anycast address, RFC 4291 section 2.6.1), not the broadcast
    address of IPv4, and not the first address, which is the gateway's. Of two addresses (RFC 3021, RFC 6164) the
    second; of one that one. In IPv6 only the last group of digits varies, so that people can read and type it.
    """
    base, size = int(subnet.network_address), subnet.num_addresses
    if size < 4:
        return Slots(name, base + size - 1, base + size - 1)
    if subnet.version == 6:
        return Slots(name, base + 2, base + min(size, 1 << 16) - 1)
    return Slots(name, base + 2, base + size - 2)


def placed(node: str, choices: int) -> int:
    """Which of `choices` chassis a spread node gets: by the number in its name, so that web1 to web3 fill three
    chassis whether they are written as a range or not; by hash where it has none."""
    digits = _last_number(node)
    if digits:
        return (int(digits) - 1) % choices
    return Slots("place", 0, choices - 1).preferred(node)


def _last_number(name: str) -> str:
    end = len(name)
    while end and not name[end - 1].isdigit():
        end -= 1
    start = end
    while start and name[start - 1].isdigit():
        start -= 1
    return name[start:end]
