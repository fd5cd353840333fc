"""An Open vSwitch of one test's own: a namespace, ovsdb-server, ovs-vswitchd, a bridge; and a blocking OpenFlow client.

The client speaks just enough to add flows and read them back; it is not the controller's transport.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datapath.openflow.codec import FlowStats, decode_flow_stats

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
HELLO, ERROR, MULTIPART_REQUEST, MULTIPART_REPLY, BARRIER_REQUEST, BARRIER_REPLY = 0, 1, 18, 19, 20, 21


def run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


class OpenFlow:
    """One blocking connection to a bridge's management socket; `version` is the wire version."""

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

    def dump_raw(self) -> list[bytes]:
        """The bodies of the replies to a request for all flows."""
        body = struct.pack("!B3xII4xQQHH4x", 0xFF, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 1, 4)
        header = struct.pack("!BBHIHH4x", self.version, MULTIPART_REQUEST, 16 + len(body), 7, 1, 0)
        self.socket.sendall(header + body)
        bodies = []
        while True:
            kind, answer = self.receive()
            assert kind == MULTIPART_REPLY, (kind, answer)
            bodies.append(answer[8:])
            if not int.from_bytes(answer[2:4], "big") & 1:
                return bodies

    def dump(self) -> list[FlowStats]:
        return [stats for body in self.dump_raw() for stats in decode_flow_stats(body, self.version)]

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


class PrivateSwitch:
    """A running pair of daemons with bridge br0 (userspace datapath)."""

    def __init__(self, namespace: str, directory: Path) -> None:
        self.namespace = namespace
        self.directory = directory
        self.management = directory / "br0.mgmt"

    def start(self) -> None:
        here = self.directory
        run("ip", "netns", "add", self.namespace)
        run("ovsdb-tool", "create", f"{here}/conf.db", SCHEMA)
        quiet = ["--detach", "--no-chdir", "-vconsole:off", "-vsyslog:off"]
        inside = ["ip", "netns", "exec", self.namespace, "env", f"OVS_RUNDIR={here}"]
        self.db = ["--db", f"unix:{here}/db.sock"]
        names = [f"--pidfile={here}/ovsdb.pid", f"--unixctl={here}/ovsdb.ctl", f"--log-file={here}/ovsdb.log"]
        run(*inside, "ovsdb-server", f"{here}/conf.db", f"--remote=punix:{here}/db.sock", *names, *quiet)
        self.vsctl("--no-wait", "init")
        names = [f"--pidfile={here}/vs.pid", f"--unixctl={here}/vs.ctl", f"--log-file={here}/vs.log"]
        run(*inside, "ovs-vswitchd", f"unix:{here}/db.sock", *names, *quiet)
        self.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail_mode=secure")
        self.vsctl("set", "bridge", "br0", "protocols=OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15")

    def vsctl(self, *arguments: str) -> str:
        return run("ovs-vsctl", *self.db, "--timeout=20", *arguments)

    def ofctl(self, *arguments: str, stdin: str | None = None) -> str:
        return run("ovs-ofctl", "-O", "OpenFlow14", *arguments, stdin=stdin)

    def appctl(self, *arguments: str) -> str:
        return run("ovs-appctl", "-t", f"{self.directory}/vs.ctl", *arguments)

    def add_ports(self, count: int) -> None:
        """Ports p1..pN with those numbers; `dummy`-like tap devices are not needed to trace, internal ports will do."""
        arguments: list[str] = []
        for number in range(1, count + 1):
            arguments += ["--", "add-port", "br0", f"p{number}", "--", "set", "interface", f"p{number}"]
            arguments += ["type=internal", f"ofport_request={number}"]
        self.vsctl(*arguments[1:])

    def connect(self, version: int = 5) -> OpenFlow:
        return OpenFlow(self.management, version)

    def stop(self) -> None:
        for pidfile in ("vs.pid", "ovsdb.pid"):
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int((self.directory / pidfile).read_text()), signal.SIGKILL)
        with suppress(AssertionError):
            run("ip", "netns", "del", self.namespace)
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def private_switch(name: str) -> Iterator[PrivateSwitch]:
    """A switch in namespace sdnt-NAME-PID, gone afterwards."""
    switch = PrivateSwitch(f"sdnt-{name}-{os.getpid()}", Path(tempfile.mkdtemp(prefix="sdnt-", dir="/run")))
    try:
        switch.start()
        yield switch
    finally:
        switch.stop()
