"""Who makes a change, where nobody says so: the user of this process.

Enters: the process' user and $SUDO_USER. Leaves: a name for the history. Never: a proof: who may write to a lab's store
may write any name into it.
"""

from __future__ import annotations

import os
import pwd


def author() -> str:
    """Behind sudo whoever called it; else the name of the process' user, or the number where it has none."""
    caller = os.environ.get("SUDO_USER")
    if caller:
        return caller
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
