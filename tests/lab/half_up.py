"""`up` in a process of its own that tells how far it is, so that a test can kill it there: python -m … LAB FILE."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import sdn.lab
from datapath.errors import SdnError
from sdn.topology import parse


def main(file: str, timeout: str) -> int:
    try:
        with sdn.lab.connected(Path(file).stem) as store:
            model = parse(Path(file).read_text(), "lab.yaml", store.model() if store else None)
            sdn.lab.up(model, timeout=float(timeout), progress=_tell, store=store)
    except SdnError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _tell(phase: str, done: int, total: int) -> None:
    os.write(1, f"{phase} {done}/{total}\n".encode())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
