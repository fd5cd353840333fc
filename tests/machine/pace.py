"""How much slower than the machine they were written on tests may be here: `PATIENCE` multiplies what they wait for.

Enters: SDN_TEST_PATIENCE. A test that waits for an event with a bound multiplies the bound; nothing else changes.
"""

from __future__ import annotations

import os

PATIENCE = float(os.environ.get("SDN_TEST_PATIENCE", "1"))
EMULATED = 5.0
"""For a machine whose processor QEMU emulates (TCG): 8 to 10 times slower on one core, but most waits are generous."""
