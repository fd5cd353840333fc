"""How probes get onto the wire and answers off it: a raw or datagram socket for each sender, a stream for each connect.

Enters: what to send. Leaves: Events. Never: decides about repeating or about what passes.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from datapath.addr import IPAddress
from datapath.probe import Probe, packets, sockets
from datapath.probe.packets import Token


class Sending(NamedTuple):
    """One attempt of one probe."""

    number: int
    attempt: int
    probe: Probe


class Event(NamedTuple):
    """An answer, or with `error` the news that there will be none.

    `rtt` is in seconds from the probe's own sending to the reading of its answer: what waits in our queues on either
    side does not belong to it. None where it is not known.
    """

    number: int
    attempt: int
    error: str = ""
    rtt: float | None = None
    unable: bool = False
    """With `error`: the sender lacks something, so it says nothing about the network."""


class Failed(NamedTuple):
    """Why a sending did not happen. `unable` is that of an Event."""

    why: str
    unable: bool


class Transport(Protocol):
    """What the engine needs; the tests have one in memory."""

    def send(self, batch: Sequence[Sending]) -> list[Failed | None]:
        """Send all; for each None or why it could not be sent."""

    def read(self, timeout: float) -> list[Event]:
        """What came within `timeout` seconds, at once where something is there."""

    def forget(self, index: int) -> None:
        """Whatever is under way for this probe is no longer waited for."""

    def close(self) -> None: ...


_Sender = tuple[str, IPAddress, str]  # namespace, address, "ping" or "udp"


class Sockets:
    """The real one."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._nonce = int.from_bytes(os.urandom(4))
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._sockets: list[socket.socket] = []
        self._senders: dict[_Sender, socket.socket] = {}
        self._connects: dict[int, socket.socket] = {}
        self._events: list[Event] = []
        self._sent: dict[tuple[int, int], float] = {}
        self._namespaces = sockets.Namespaces()
        try:
            self._listen(probes)
            self._open_senders({_sender(each) for each in probes if each.kind != "tcp" and each.source_guest is None})
        except BaseException:
            self.close()
            raise

    def send(self, batch: Sequence[Sending]) -> list[Failed | None]:
        missing = {_sender(sending.probe) for sending in batch if sending.probe.kind != "tcp"} - self._senders.keys()
        unopened = self._open_senders(missing) if missing else {}
        unconnected = self._open_connects([sending for sending in batch if sending.probe.kind == "tcp"])
        result: list[Failed | None] = []
        for sending in batch:
            error = unconnected.get(sending.number) or unopened.get(_sender(sending.probe))
            result.append(explain(sending.probe, error) if error else self._send_one(sending))
        return result

    def read(self, timeout: float) -> list[Event]:
        if not self._events:
            for fd, _ in self._epoll.poll(timeout, 256):
                if reader := self._readers.get(fd):
                    reader()
        events, self._events = self._events, []
        return events

    def attend(self, descriptor: int, events: Callable[[], Iterable[Event]]) -> None:
        """Also give what another source of events has, whose descriptor is readable then."""
        self._readers[descriptor] = lambda: self._events.extend(events())
        self._epoll.register(descriptor, select.EPOLLIN)

    def forget(self, index: int) -> None:
        if sock := self._connects.pop(index, None):
            self._drop(sock)

    def close(self) -> None:
        for sock in [*self._connects.values(), *self._sockets]:
            sock.close()
        self._epoll.close()
        self._namespaces.close()

    # --- opening

    def _listen(self, probes: Sequence[Probe]) -> None:
        """Open what answers TCP and UDP in the targets' namespaces. Where that fails the probe itself will show it."""
        wanted = {(p.target_namespace, p.target, p.port, p.kind) for p in probes if p.target_namespace is not None}
        services = sorted((w for w in wanted if w[3] != "ping"), key=str)
        found = self._namespaces.call([(str(service[0]), _opens_service(*service[1:])) for service in services])
        for (_, _, _, kind), sock in zip(services, found, strict=True):
            if isinstance(sock, socket.socket):
                self._sockets.append(sock)
                self._watch(sock, _accepts(sock) if kind == "tcp" else _echoes(sock))

    def _open_senders(self, wanted: set[_Sender]) -> dict[_Sender, OSError]:
        """Open sockets for those who have none; returns why some could not be opened."""
        senders = sorted(wanted, key=str)
        found = self._namespaces.call([(sender[0], _opens_sender(*sender[1:])) for sender in senders])
        errors = {}
        for sender, sock in zip(senders, found, strict=True):
            if isinstance(sock, socket.socket):
                self._senders[sender] = sock
                self._sockets.append(sock)
                version = sender[1].version
                self._watch(sock, self._reads_icmp(sock, version) if sender[2] == "ping" else self._reads_udp(sock))
            elif sock is not None:
                errors[sender] = sock
        return errors

    def _open_connects(self, batch: Sequence[Sending]) -> dict[int, OSError]:
        found = (
            self._namespaces.call([(s.probe.namespace, _opens_connect(s.probe.source)) for s in batch]) if batch else []
        )
        errors = {}
        for sending, sock in zip(batch, found, strict=True):
            if isinstance(sock, socket.socket):
                self.forget(sending.number)
                self._connects[sending.number] = sock
            elif sock is not None:
                errors[sending.number] = sock
        return errors

    def _watch(self, sock: socket.socket, reader: Callable[[], None], events: int = select.EPOLLIN) -> None:
        self._readers[sock.fileno()] = reader
        self._epoll.register(sock, events)

    def _drop(self, sock: socket.socket) -> None:
        if self._readers.pop(sock.fileno(), None):
            self._epoll.unregister(sock)
        sock.close()

    # --- sending

    def _send_one(self, sending: Sending) -> Failed | None:
        probe = sending.probe
        token = Token(self._nonce, sending.number, sending.attempt)
        self._sent[sending.number, sending.attempt] = time.monotonic()
        try:
            if probe.kind == "tcp":
                self._connect(sending)
            elif probe.kind == "ping":
                self._senders[_sender(probe)].sendto(
                    packets.echo_request(token, probe.target.version), (str(probe.target), 0)
                )
            else:
                self._senders[_sender(probe)].sendto(token.pack(), (str(probe.target), probe.port))
        except BlockingIOError:
            return None  # the socket's own buffer is full: as good as lost on the way, and repeated like that
        except OSError as error:
            return explain(probe, error)
        return None

    def _connect(self, sending: Sending) -> None:
        sock = self._connects[sending.number]
        code = sock.connect_ex((str(sending.probe.target), sending.probe.port))
        if code not in (0, errno.EINPROGRESS):
            self.forget(sending.number)
            raise OSError(code, os.strerror(code))
        self._watch(sock, self._connected(sending, sock), select.EPOLLOUT)

    # --- reading

    def _heard(self, number: int, attempt: int, error: str = "") -> None:
        sent = self._sent.get((number, attempt))
        self._events.append(Event(number, attempt, error, None if sent is None else time.monotonic() - sent))

    def _connected(self, sending: Sending, sock: socket.socket) -> Callable[[], None]:
        def read() -> None:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._heard(sending.number, sending.attempt, os.strerror(code).lower() if code else "")
            self.forget(sending.number)

        return read

    def _reads_icmp(self, sock: socket.socket, version: int) -> Callable[[], None]:
        def read() -> None:
            for packet in _received(sock):
                reply = packets.icmp_reply(packet, version)
                if reply and reply.token.nonce == self._nonce:
                    self._heard(reply.token.number, reply.token.attempt, reply.error)

        return read

    def _reads_udp(self, sock: socket.socket) -> Callable[[], None]:
        def read() -> None:
            for packet in _received(sock):
                token = packets.token(packet)
                if token and token.nonce == self._nonce:
                    self._heard(token.number, token.attempt)

        return read


def _sender(probe: Probe) -> _Sender:
    return probe.namespace, probe.source, probe.kind


def explain(probe: Probe, error: OSError) -> Failed:
    match error.errno:
        case errno.EADDRNOTAVAIL:
            return Failed(f"the sender does not have the address {probe.source}", True)
        case errno.ENETUNREACH | errno.EHOSTUNREACH:
            return Failed(f"the sender has no way to {probe.target}", False)
        case errno.ENOBUFS:
            return Failed("the kernel's neighbour table is full (net.ipv4.neigh.default.gc_thresh3)", True)
    return Failed((error.strerror or str(error)).lower(), True)


def _attempted(function: Callable[[], socket.socket | None]) -> Callable[[], socket.socket | OSError | None]:
    def call() -> socket.socket | OSError | None:
        try:
            return function()
        except OSError as error:
            return error

    return call


def _opens_service(address: IPAddress, port: int, kind: str) -> Callable[[], socket.socket | OSError | None]:
    return _attempted(lambda: (sockets.listener if kind == "tcp" else sockets.responder)(address, port))


def _opens_sender(address: IPAddress, kind: str) -> Callable[[], socket.socket | OSError | None]:
    return _attempted(lambda: sockets.icmp(address) if kind == "ping" else sockets.udp(address))


def _opens_connect(address: IPAddress) -> Callable[[], socket.socket | OSError | None]:
    return _attempted(lambda: sockets.tcp(address))


def _received(sock: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    with suppress(BlockingIOError, ConnectionRefusedError):
        while len(found) < 256:
            found.append(sock.recv(256))
    return found


def _accepts(sock: socket.socket) -> Callable[[], None]:
    """The handshake is all that is asked for."""

    def read() -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                sock.accept()[0].close()

    return read


def _echoes(sock: socket.socket) -> Callable[[], None]:
    def read() -> None:
        with suppress(BlockingIOError):
            while True:
                packet, sender = sock.recvfrom(256)
                with suppress(OSError):  # no way back: the sender will see that nothing came
                    sock.sendto(packet, sender)

    return read
