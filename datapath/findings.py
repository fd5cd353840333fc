"""What was found to be otherwise than it was made: doubted, told, and put right.

Enters: differences with the chassis that they were found on, from the lookout and from switches. Leaves: doubt of what
was taken for right there; the differences, for the Restorer. Never: a difference of which nobody is told because the
kernel would not say what it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from datapath.cabling import Cabling
from datapath.chassis import Chassis
from datapath.drift import Difference
from datapath.errors import SdnError
from datapath.linux.host import Namespace
from datapath.restore import Restorer
from datapath.roster import Roster


class Findings:
    """Of one lab."""

    def __init__(self, roster: Roster, cabling: Cabling, restorer: Restorer) -> None:
        self._roster = roster
        self._cabling = cabling
        self._restorer = restorer

    def find(self, name: str, found: Iterable[Difference], when: float = 0.0) -> None:
        """On a chassis, '' for none of them alone; `when` 0 is now."""
        chassis = self._roster.get(name)
        try:
            differences = list(found)
        except (OSError, SdnError):  # the kernel would not say
            self.doubt(name)
            self.look_again()
            return
        if differences:
            self.doubt(name)
        self._restorer.find(name, differences, chassis.troubles if chassis else (), when)

    def take(self, chassis: Chassis) -> None:
        """What its switch has found, also while something was being done."""
        found, chassis.switch.found = chassis.switch.found, []
        self.find(chassis.name, found)

    def look_again(self) -> None:
        """Something was told that could not be understood: everything is looked at."""
        self._restorer.ask()

    def doubt(self, name: str) -> None:
        """Everything of a chassis is looked at next time; '': of each."""
        for chassis in self._roster if not name else filter(None, [self._roster.get(name)]):
            chassis.stir()
            chassis.switch.doubt()
            self._cabling.doubt(chassis.spec.nodes)

    def hold(self, place: Namespace) -> float:
        """Seconds for which a chassis' namespace is left where a fight is: what is found there is put right at once."""
        sight = self._roster.sight(place)
        return 0.0 if sight.node is not None or not sight.chassis else self._restorer.hold(sight.chassis)
