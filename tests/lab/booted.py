"""The built-in guest in a QEMU of the test's own, its taps in a network namespace of the test's own.

Enters: interfaces of the guest. Leaves: a machine that runs, with QMP, its console and its agent's socket. Never:
anything of a lab; what is tested is the inside of the guest.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from datapath.addr import Mac
from datapath.guest import accel, builtin
from datapath.guest.qemu import command
from datapath.guest.qemu.command import AGENT, CONSOLE_LOG, QMP, SERIAL, Descriptors, Outfit
from datapath.linux import namespaces, taps
from datapath.spec import Guest, Interface, Kernel, Machine, Vlan

_numbers = itertools.count(1)
MIB = 1 << 20


def interface(
    number: int,
    *addresses: str,
    mtu: int = 1450,
    dhcp: bool = False,
    gateway: str | None = None,
    vlans: tuple[Vlan, ...] = (),
) -> Interface:
    """eth<number>, with a MAC that says so."""
    return Interface(
        node="g1",
        name=f"eth{number}",
        bridge_port=f"tap{number}",
        ofport=0,
        mac=Mac(0x525400000010 + number),
        mtu=mtu,
        addresses=tuple(ip_interface(address) for address in addresses),
        vlans=vlans,
        gateway=ip_interface(gateway).ip if gateway else None,  # type: ignore[arg-type]
        dhcp=dhcp,
    )


class Booted:
    """One machine. `host` are the addresses of the host's end of each tap, by the interface's name."""

    def __init__(self, *interfaces: Interface, host: dict[str, tuple[str, ...]], memory: int = 128 * MIB) -> None:
        self.namespace = f"sdnt-builtin-{os.getpid()}-{next(_numbers)}"
        self.directory = Path(tempfile.mkdtemp(prefix="sdnt-builtin-"))
        self.guest = Guest("g1", str(uuid.uuid4()), Machine(memory), interfaces)
        self.process: subprocess.Popen[bytes] | None = None
        self._monitor: socket.socket | None = None
        try:
            self._wire(host)
            self._launch()
        except BaseException:
            self.close()
            raise

    @property
    def agent(self) -> Path:
        return self.directory / AGENT

    @property
    def console(self) -> str:
        return (self.directory / CONSOLE_LOG).read_text(errors="replace")

    # ── the namespace ──

    def _wire(self, host: dict[str, tuple[str, ...]]) -> None:
        _ip("netns", "add", self.namespace)
        self.inside("ip", "link", "set", "lo", "up")
        for each in self.guest.interfaces:
            self.tap(each, *host.get(each.name, ()))

    def tap(self, each: Interface, *addresses: str) -> None:
        self.inside("ip", "tuntap", "add", each.bridge_port, "mode", "tap", "multi_queue")
        for address in addresses:
            self.inside("ip", "address", "add", address, "dev", each.bridge_port, "nodad")
        self.inside("ip", "link", "set", each.bridge_port, "mtu", str(max(each.mtu, 1500)), "up")
        for protocol in (
            "ipv4",
            "ipv6",
        ):  # else the kernel asks for a neighbour once a second, and a boot takes whole ones
            self.inside("sysctl", "-qw", f"net.{protocol}.neigh.{each.bridge_port}.retrans_time_ms=50")

    def inside(self, *words: str, check: bool = True, timeout: float = 60) -> str:
        """The output of a command in the namespace."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, *words], capture_output=True, text=True, timeout=timeout
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """A command in the namespace that goes on; whoever began it ends it."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def await_ping(self, address: str, seconds: float = 20) -> float:
        """Seconds from the launch to the first answer."""
        until = self.launched + seconds
        while time.monotonic() < until:
            if "1 received" in self.inside("ping", "-n", "-c1", "-W0.1", address, check=False):
                return time.monotonic() - self.launched
        raise AssertionError(f"{address} does not answer; console:\n{self.console}")

    # ── QEMU ──

    def _launch(self) -> None:
        files = builtin.files()
        kernel = Kernel(str(files.kernel), str(files.initrd), builtin.kernel_arguments(self.guest))
        outfit = Outfit(kernel=kernel, settings=builtin.configuration(self.guest))
        (self.directory / "net").write_bytes(outfit.settings)
        listening = {name: self._listener(name) for name in command.SOCKETS}
        queues = {i.name: taps.open_queues(self.namespace, i.bridge_port, 1, True) for i in self.guest.interfaces}
        descriptors = Descriptors({name: each.fileno() for name, each in listening.items()}, queues)
        inherited = [*descriptors.sockets.values(), *(each for some in queues.values() for each in some)]
        places = command.ports(self.guest, ())
        accelerator = accel.accelerator().name
        words = command.arguments(self.guest, self.directory, outfit, places, descriptors, accelerator)
        self.launched = time.monotonic()
        self.process = subprocess.Popen(["qemu-system-x86_64", *words], pass_fds=inherited, cwd=self.directory)
        for each in inherited[len(listening) :]:
            os.close(each)
        for sock in listening.values():
            sock.close()
        self.qmp("qmp_capabilities")
        self.qmp("cont")

    def _listener(self, name: str) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(self.directory / name))
        made.listen(1)
        return made

    def qmp(self, verb: str, **arguments: Any) -> Any:
        """What QEMU answers; events are read over."""
        if self._monitor is None:
            self._monitor = _connected(self.directory / QMP)
            self._lines = self._monitor.makefile("rb")
            self._lines.readline()
        message = {"execute": verb, "arguments": arguments}
        self._monitor.sendall(json.dumps(message).encode())
        return self._read(lambda answer: "return" in answer or "error" in answer)

    def hand_over(self, name: str, descriptor: int) -> None:
        """A descriptor that QEMU then has a copy of; ours is closed."""
        assert self._monitor is not None
        message = json.dumps({"execute": "getfd", "arguments": {"fdname": name}}).encode()
        socket.send_fds(self._monitor, [message], [descriptor])
        os.close(descriptor)
        self._read(lambda answer: "return" in answer or "error" in answer)

    def await_event(self, name: str, seconds: float = 20) -> None:
        assert self._monitor is not None
        self._monitor.settimeout(seconds)
        self._read(lambda answer: answer.get("event") == name)

    def _read(self, wanted: Callable[[dict[str, Any]], bool]) -> Any:
        while line := self._lines.readline():
            answer: dict[str, Any] = json.loads(line)
            if wanted(answer):
                assert "error" not in answer, answer
                return answer.get("return")
        raise AssertionError(f"QEMU has gone; console:\n{self.console}")

    def serial(self) -> socket.socket:
        return _connected(self.directory / SERIAL)

    def close(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for each in (self._monitor,):
            if each is not None:
                each.close()
        if (namespaces.DIRECTORY / self.namespace).exists():
            _ip("netns", "del", self.namespace)
        shutil.rmtree(self.directory)

    def __enter__(self) -> Booted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connected(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(20)
    made.connect(str(path))
    return made


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
