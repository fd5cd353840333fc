"""`sdn serve` for the benchmarks. Enters: a running lab. Leaves: an address that answers, until the `with` is over."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.labs import Lab, program


@contextmanager
def serving(lab: Lab) -> Iterator[str]:
    """`sdn serve` on a free port of loopback; yields its address once it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1:{1}".format(*free.getsockname())
    command = [*program(), "serve", "--lab", lab.name, "--listen", address, "--rate", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            line = next((line for line in server.stdout if address in line), None)
            assert line, f"`{' '.join(command)}` ended with {server.wait()}"
            yield address
        finally:
            server.terminate()
