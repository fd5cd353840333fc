"""What the kernel lets this process have.

Enters: nothing. Leaves: the process with the most that it may have. Never: another process' limits.
"""

from __future__ import annotations

import resource


def allow_many_files() -> None:
    """As many open files as there may be: a thousand nodes, with two sockets each, need more than the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
