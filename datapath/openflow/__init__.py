"""OpenFlow as values: matches, actions, flows, their wire bytes and text, and an interpreter of tables. PURE: no I/O."""
