"""Edge to Open vSwitch: daemons, database, control socket.

Enters: values of `datapath.spec`. Leaves: rows, processes, and what the switch says of them. Never: a fork per object,
a row without our mark. `replica`, `reconcile` and `database` import `ovs` and `ovsdbapp`, after `datapath.ovsdb`.
"""
