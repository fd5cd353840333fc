"""Everything on a host: Open vSwitch, Linux devices, OpenFlow. Never imports `sdn`."""
