"""A connection to the Open_vSwitch database of one chassis, and to the switch that follows it.

Enters: BridgeRow and PortRow values. Leaves: the rows so, and the switch with them. Never: a transaction where nothing
differs; a port left on a device that is no more.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import datapath.ovsdb as ovsdb

# isort: split
from ovsdbapp.backend.ovs_idl.transaction import Transaction
from ovsdbapp.exceptions import TimeoutException

from datapath.errors import TransientError
from datapath.ovs import rows
from datapath.ovs.reconcile import Reconcile
from datapath.ovs.replica import TABLES, Replica, Watcher
from datapath.ovs.rows import INDEX_MARK, BridgeRow, PortRow

_LOOKS: Final = 3
"""At the rows, until nothing differs; otherwise they are compared again next time."""

_TIMEOUT: Final = 10.0  # seconds for the database or the switch to answer
_GRACE: Final = 1.0  # seconds for the connection to end


class Switch:
    """A connection to the database of one chassis. Its methods wait: call them in a worker thread."""

    def __init__(self, socket: Path, lab: str, schema: dict[str, Any], watcher: Watcher) -> None:
        """`watcher` is called in another thread. Raises TransientError."""
        self.transactions = 0
        self._settled: tuple[object, object, int] | None = None
        self._connection = ovsdb.connect(
            socket, "Open_vSwitch", TABLES, timeout=_TIMEOUT, idl=Replica, schema_json=schema, lab=lab, watcher=watcher
        )
        self.idl: Replica = self._connection.idl
        try:
            self._connection.start()
        except TimeoutException as error:  # it has no words of its own: str() of this one raises
            raise TransientError(f"{socket}: the database has not answered within {_TIMEOUT:.0f} s") from error
        except Exception as error:
            raise TransientError(f"{socket}: the database does not answer ({error})") from error

    def reconcile(self, bridges: Mapping[str, BridgeRow], ports: Mapping[str, PortRow]) -> list[str]:
        """Makes the rows so and waits until the switch has followed; names that are not ours and were left alone.

        Raises TransientError.
        """
        if self._settled == (bridges, ports, self.idl.version):
            return []
        stale = self._stale(ports)
        if stale:
            self._commit(bridges, {name: row for name, row in ports.items() if name not in stale})
        for _ in range(_LOOKS):
            done = self._commit(bridges, ports)
            if done.version != -1:  # somebody else's changes came with ours: until there is nothing left to change
                break
        is_right = done.version != -1 and not done.result
        self._settled = (bridges, ports, done.version) if is_right else None
        return list(done.result)

    def doubt(self) -> None:
        """The next time everything is compared."""
        self._settled = None

    def begin(self, bridges: Mapping[str, BridgeRow]) -> None:
        """Puts the bridges into a database that has none, and awaits nobody. Raises TransientError."""
        if not self.idl.rows["Bridge"]:
            self._commit(bridges, rows.local_ports(self.idl.lab, bridges), wait=False)

    def _stale(self, ports: Mapping[str, PortRow]) -> set[str]:
        """Ports that the switch has on devices of the past, or looked for when there were none yet. One that goes
        while this reads may be in `seen` still, and in `facts` no more."""
        seen, facts = dict(self.idl.seen), dict(self.idl.facts)
        known = [(name, row) for name, row in ports.items() if name in seen]
        past = {name for name, row in known if _index(row) != _index(seen[name])}
        failed = {name for name, fact in facts.items() if fact.error}
        return past | {name for name, row in known if _index(row) not in (None, "0") and name in failed}

    def _commit(
        self, bridges: Mapping[str, BridgeRow], ports: Mapping[str, PortRow], *, wait: bool = True
    ) -> Reconcile:
        command = Reconcile(self.idl, bridges, ports)
        transaction = Transaction(self, self._connection, _TIMEOUT, check_error=True, log_errors=False)
        transaction.add(command)
        try:
            transaction.commit()
        except TimeoutException as error:
            raise TransientError(f"the switch's database has not answered within {_TIMEOUT:.0f} s") from error
        except Exception as error:
            raise TransientError(f"the switch's database refused: {error}") from error
        self.transactions += command.has_changed
        if wait and not self.idl.follow(command.awaited, _TIMEOUT):
            raise TransientError(f"ovs-vswitchd has not taken up its configuration within {_TIMEOUT:.0f} s")
        return command

    def close(self) -> None:
        """A thread that a database holds which hangs ends with the process: nobody waits for it."""
        self.idl.close()
        stopping = threading.Thread(target=self._connection.stop, daemon=True)
        stopping.start()
        stopping.join(_GRACE)


def _index(row: PortRow) -> str | None:
    return dict(row.external_ids).get(INDEX_MARK)
