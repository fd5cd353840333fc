"""A blocking OpenFlow client for lab tests: add flows, wait for a barrier, read the flows back.

It is not the controller's transport, so that a test of the codec against Open vSwitch needs nothing else of ours.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from datapath.openflow.codec import FlowStats, decode_flow_stats

HELLO, ERROR, MULTIPART_REQUEST, MULTIPART_REPLY, BARRIER_REQUEST, BARRIER_REPLY = 0, 1, 18, 19, 20, 21
FLOW, MORE = 1, 1


class OpenFlow:
    """One connection to a bridge's management socket; `version` is the wire version."""

    def __init__(self, path: Path, version: int) -> None:
        self.version = version
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.socket.sendall(struct.pack("!BBHIHHI", version, HELLO, 16, 1, 1, 8, 1 << version))
        self.stream = self.socket.makefile("rb")
        kind, answer = self.receive()
        assert kind == HELLO, (kind, answer)

    def receive(self) -> tuple[int, bytes]:
        _, kind, length, _ = struct.unpack("!BBHI", self.stream.read(8))
        return kind, self.stream.read(length - 8)

    def send(self, messages: Iterable[bytes]) -> list[bytes]:
        """Send, then wait for a barrier; returns the bodies of the errors that came back."""
        errors = []
        self.socket.sendall(b"".join(messages) + struct.pack("!BBHI", self.version, BARRIER_REQUEST, 8, 99))
        while (answer := self.receive())[0] != BARRIER_REPLY:
            if answer[0] == ERROR:
                errors.append(answer[1])
        return errors

    def dump(self) -> list[FlowStats]:
        """All flows of all tables."""
        body = struct.pack("!B3xII4xQQHH4x", 0xFF, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 1, 4)
        header = struct.pack("!BBHIHH4x", self.version, MULTIPART_REQUEST, 16 + len(body), 7, FLOW, 0)
        self.socket.sendall(header + body)
        found: list[FlowStats] = []
        while True:
            kind, answer = self.receive()
            assert kind == MULTIPART_REPLY, (kind, answer)
            found += decode_flow_stats(answer[8:], self.version)
            if not int.from_bytes(answer[2:4], "big") & MORE:
                return found

    def close(self) -> None:
        self.stream.close()
        self.socket.close()
