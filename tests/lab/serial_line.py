"""A shell at the end of a serial line: commands go in, what they print and their exit codes come out."""

from __future__ import annotations

import re
import secrets
import socket
import time
from pathlib import Path
from typing import Final

_SECONDS: Final = 60.0


class SerialLine:
    """At a socket of the console. Raises TimeoutError with what was read instead."""

    def __init__(self, path: Path) -> None:
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._line.connect(str(path))
        self._read = ""

    def close(self) -> None:
        self._line.close()

    def await_text(self, pattern: str, seconds: float = _SECONDS) -> re.Match[str]:
        until = time.monotonic() + seconds
        while not (found := re.search(pattern, self._read)):
            self._line.settimeout(max(until - time.monotonic(), 0.001))
            try:
                data = self._line.recv(65536)
            except TimeoutError:
                raise TimeoutError(f"no {pattern!r} in: {self._read[-2000:]}") from None
            if not data:
                raise TimeoutError(f"the line was cut after: {self._read[-2000:]}")
            self._read += data.decode(errors="replace").replace("\r", "")
        self._read = self._read[found.end() :]
        return found

    def run(self, command: str, code: int = 0) -> str:
        """What it printed. The marks are in no echo of the command, and in nothing that others have asked before."""
        mark = secrets.token_hex(4)
        self._line.sendall(f"echo {mark}-''begin; {command}; echo {mark}-''end $?\n".encode())
        self.await_text(f"{mark}-begin\n")
        found = self.await_text(rf"(?s)(.*?){mark}-end (\d+)\n")
        assert int(found[2]) == code, f"{command}: exit code {found[2]}: {found[1]}"
        return found[1].strip()
