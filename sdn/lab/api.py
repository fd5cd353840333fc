"""The lab's API as a process: the supervisor starts it when somebody first connects to api.sock, and gives it that."""

from __future__ import annotations

import socket

from sdn.lab.rundir import RunDir


def main(run: RunDir, listening: socket.socket) -> None:
    """Runs until it is told to end. The connection that it was started for is waiting in the socket."""
    from sdn.api import server
    from sdn.api.listeners import Listener

    server.run(run, [server.Place(Listener(None, path=run.api_socket), listening)])
