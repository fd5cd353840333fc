"""`python -m sdn.lab LAB READY LOCK`: the supervisor of a lab, as `supervisor.start` starts it."""

from __future__ import annotations

import sys

from sdn.lab.supervisor import main

main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
