"""Looks out for what others change in the namespaces of a lab.

Enters: which namespace the kernel has told of, which names have come or gone. Leaves: Differences, by chassis. Never: a
look while something is being done, whose changes are its own; nor at what nobody has told of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from datapath.drift import Difference
from datapath.linux import differences, namespaces, wiring
from datapath.linux.host import Host, Namespace
from datapath.linux.names import Names
from datapath.linux.wiring import DatapathType
from datapath.spec import HostSpec, Node

GATHER: Final = 0.05
"""Seconds from a change of somebody else's until it is looked at. One command makes several, and undoing the first at
once is in its way: `ip address flush` looks again whether any are left; a device that is deleted is set down first, and
gone 30 ms later."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A namespace as it is wished: a node's with its chassis' spec, a chassis' with its spec, the lab's with all."""

    whose: str
    specs: tuple[HostSpec, ...]
    datapath: DatapathType = "system"
    node: Node | None = None

    @property
    def chassis(self) -> str:
        """The one that it belongs to; '' where that is all of them."""
        return "" if self.whose == "the lab" or not self.specs else self.specs[0].chassis


Found = Callable[[str, Iterable[Difference], float], None]
"""Gets a chassis ('' for none of them alone), what was found there, and when it was first noticed; 0 is now."""


class Lookout:
    """Somebody calls `examine` before and `look_back` after each time that something is done, and `examine_soon` for
    what the kernel tells otherwise. `after` is called for what was examined, and for what has lost its name (True)."""

    def __init__(
        self,
        host: Host,
        sight: Callable[[Namespace], Sight],
        found: Found,
        after: Callable[[Namespace, bool], None],
        is_busy: Callable[[], bool],
        hold: Callable[[Namespace], float],
    ) -> None:
        """`hold`: seconds for which a namespace is not looked at, because somebody fights there."""
        self.notes: tuple[str, ...] = ()
        self._host = host
        self._sight = sight
        self._found = found
        self._after = after
        self._names: Names | None = None
        self._suspects: dict[Namespace, float] = {}
        """Where something has changed, and when that was noticed."""
        self._timers: dict[Namespace | None, asyncio.TimerHandle] = {}
        """Until they are examined; None is for all those that need not wait longer."""
        self._hold = hold
        self._doubtful: set[str] = set()
        """Names that came or went while something was being done."""
        self._is_busy = is_busy

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        if self._names is not None:
            asyncio.get_running_loop().remove_reader(self._names.fileno())
            self._names.close()
            self._names = None

    def watch_names(self) -> None:
        """Once there is a directory of them."""
        if self._names is not None or self.notes:
            return
        try:
            self._names = Names()
        except OSError as error:
            self.notes = (f"it is not noticed when somebody removes a namespace: {error.strerror}",)
        else:
            asyncio.get_running_loop().add_reader(self._names.fileno(), self._hear_names)

    # Devices and addresses

    def examine_soon(self, place: Namespace) -> None:
        """Or earlier, when something is to be done."""
        if place in self._suspects:
            return
        self._suspects[place] = time.time()
        held = self._hold(place)
        whom = place if held else None
        if whom not in self._timers:
            self._timers[whom] = asyncio.get_running_loop().call_later(max(held, GATHER), self._examine, whom)

    def _examine(self, held: Namespace | None) -> None:
        del self._timers[held]
        if held is None:
            self._examine_these([place for place in self._suspects if place not in self._timers])
        elif held in self._suspects:
            self._examine_these([held])

    def examine(self) -> None:
        """Now: something is going to be done."""
        self._examine_these(list(self._suspects))

    def _examine_these(self, places: Iterable[Namespace]) -> None:
        for place in places:
            when = self._suspects.pop(place)
            if self._host.namespaces.get(place.name) is place:
                self._look(place, when)
                self._after(place, False)

    def look_back(self, is_wrong: Callable[[str], bool]) -> None:
        """Something has been done. What others did meanwhile is wrong now; but where something `is_wrong` anyway on a
        chassis, nobody can tell."""
        doubtful, self._doubtful = self._doubtful, set()
        self._check(doubtful)
        for place in self._host.namespaces.values():
            if place.devices.has_news and not is_wrong(self._sight(place).chassis):
                self._look(place)
            place.devices.forget_news()

    def _look(self, place: Namespace, when: float = 0.0) -> None:
        sight = self._sight(place)
        if sight.node is not None and sight.specs:
            (spec,) = sight.specs
            self._found(spec.chassis, differences.of_node(spec, sight.node, place, sight.datapath), when)
        elif sight.chassis:
            (spec,) = sight.specs
            if sight.datapath != "linux":  # that one puts itself right, and says what it has done
                self._found(spec.chassis, differences.of_chassis(spec, place, sight.datapath), when)
            if sight.datapath == "netdev":
                self._found(spec.chassis, differences.of_vtep(spec, place), when)
        elif sight.specs:
            bridges = wiring.bridges(sight.specs[0].lab, sight.specs)
            for chassis, each in differences.of_lab(bridges, sight.specs, place):
                self._found(chassis, [each], when)

    # Names

    def _hear_names(self) -> None:
        if self._names is None:
            return
        heard = self._names.hear()
        names = set(self._host.namespaces) if heard is None else heard
        if self._is_busy():
            self._doubtful |= names
        else:
            self._check(names)

    def _check(self, names: Iterable[str]) -> None:
        held = self._host.namespaces
        for place in [held[name] for name in names if name in held]:
            if namespaces.inode(place.name) != place.inode:
                sight = self._sight(place)
                self._after(place, True)
                self._found(sight.chassis, [Difference(f"namespace of {sight.whose}", "removed")], 0.0)
