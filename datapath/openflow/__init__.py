"""OpenFlow as values: matches, actions, flows, their wire bytes and text, an interpreter of tables. PURE: no I/O."""
