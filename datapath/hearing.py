"""What the kernel tells of the namespaces of a lab: taken in, looked at, and what traffic needs put right at once.

Enters: notifications of namespaces. Leaves: findings of what others have changed; Chassis that may have other ports or
errors now, by callback. Never: a look while something is being done, whose changes are its own: `look_back` ends that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from datapath.chassis import Chassis
from datapath.errors import SdnError
from datapath.findings import Findings
from datapath.linux import differences
from datapath.linux.host import Host, Namespace
from datapath.linux.netlink import Message
from datapath.lookout import Lookout
from datapath.roster import Roster
from datapath.spec import Node

_LOOKS: Final = 3
"""At what a switch has put right at once."""


class Hearing:
    """`is_busy`: whether something is being done. `tell` gets a chassis, and the node of which something has changed;
    None: the chassis itself, which whoever is at work on it tells of otherwise."""

    def __init__(
        self,
        host: Host,
        roster: Roster,
        findings: Findings,
        is_busy: Callable[[], bool],
        tell: Callable[[Chassis, Node | None], None],
    ) -> None:
        self._host = host
        self._roster = roster
        self._findings = findings
        self._is_busy = is_busy
        self._tell = tell
        self._lookout = Lookout(host, roster.sight, findings.find, self._after_changes, is_busy, findings.hold)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._lookout.notes

    def close(self) -> None:
        self._lookout.close()

    # Before and after something is done

    def catch_up(self) -> None:
        """With all that was told until now."""
        for place in self._host.namespaces.values():
            if place.lost:  # and could not be read at once
                place.hear()
        self._lookout.examine()

    def watch_names(self) -> None:
        """Once there is a directory of them."""
        self._lookout.watch_names()

    def look_back(self) -> None:
        """What others did meanwhile is wrong now."""
        self._lookout.look_back(self._is_wrong)

    def _is_wrong(self, name: str) -> bool:
        chassis = self._roster.get(name)
        return chassis is not None and bool(chassis.troubles)

    # What is told at any time

    def hear(self, place: Namespace) -> None:
        """A change is looked at when all of it has been told, or before something is done."""
        before = place.devices.version
        try:
            place.hear()
        except (OSError, SdnError):  # what was told is lost: all of it is read by the next look
            self._roster.stir(place)
            self._findings.look_again()
            return
        if place.devices.version == before:
            return
        self._roster.stir(place)
        if self._is_busy():
            self._repair_in(place)
        else:
            self._lookout.examine_soon(place)

    def _after_changes(self, place: Namespace, is_gone: bool) -> None:
        """Somebody has changed something in a namespace, or taken its name away."""
        if is_gone:
            self._roster.stir(place)
            return
        self._repair_in(place)
        if owner := self._roster.owner(place):
            self._tell(*owner)

    def _repair_in(self, place: Namespace) -> None:
        chassis = self._roster.at(place)
        if chassis is not None:
            self._repair(chassis, place)

    def _put_right(self, chassis: Chassis, home: Namespace) -> None:
        """Again until nothing changes any more: what somebody undoes meanwhile is told together with what we do."""
        for _ in range(_LOOKS):
            before = home.devices.version
            chassis.switch.hear(chassis.spec)
            if home.devices.version == before:
                return
        if self._is_busy():
            self._findings.look_again()
        else:
            self._lookout.examine_soon(home)

    def _find_vtep(self, chassis: Chassis, home: Namespace) -> None:
        """Without its address it hears no tunnels until the switch is told the way anew, which the next look does."""
        found = differences.of_vtep(chassis.spec, home)
        if self._is_busy():
            chassis.switch.found += [each for each in found if each.how == "removed"]
        else:
            self._findings.find(chassis.name, found)

    def _repair(self, chassis: Chassis, home: Namespace) -> None:
        """What traffic needs, by the switch. What the kernel's bridges had to send is what was wrong of them."""
        journal: list[Message] = []
        if chassis.switch.type == "netdev":
            self._find_vtep(chassis, home)
        try:
            home.journal = journal
            self._put_right(chassis, home)
        except (OSError, SdnError) as error:
            chassis.errors["kernel"] = (f"what was changed could not be put right: {error}",)
        finally:
            home.journal = None
        if not self._is_busy():
            if chassis.kind == "linux":
                self._findings.find(chassis.name, differences.of_repair(chassis.spec, journal, home))
            self._tell(chassis, None)
