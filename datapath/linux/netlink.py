"""rtnetlink in batches: many messages in one `sendto`, then all of their acknowledgements.

Enters: messages made by `messages`. Leaves: one Refusal for each message the kernel would not carry out, and every
notification met on the way. Never: a roundtrip per object, an event loop, a thread.

pyroute2 encodes; its socket awaits each answer, which costs more than the kernel's own work. So the transport is here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from datapath.errors import TransientError
from datapath.events import How

NETLINK_ROUTE: Final = 0
SOL_NETLINK: Final = 270
NETLINK_ADD_MEMBERSHIP: Final = 1
NETLINK_CAP_ACK: Final = 10
NETLINK_EXT_ACK: Final = 11
SO_ATTACH_FILTER: Final = 26
SO_RCVBUFFORCE: Final = 33

GROUP_LINK: Final = 1
GROUP_NEIGH: Final = 3
GROUP_TC: Final = 4
GROUP_IPV4_IFADDR: Final = 5
GROUP_IPV4_ROUTE: Final = 7
GROUP_IPV6_IFADDR: Final = 9
GROUP_IPV6_ROUTE: Final = 11
"""RTNLGRP_* of linux/rtnetlink.h."""
EVERY_GROUP: Final = (
    GROUP_LINK,
    GROUP_TC,
    GROUP_IPV4_IFADDR,
    GROUP_IPV4_ROUTE,
    GROUP_IPV6_IFADDR,
    GROUP_IPV6_ROUTE,
)

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 1
NLM_F_ACK: Final = 4
NLM_F_DUMP: Final = 0x300
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200
NLMSGERR_ATTR_MSG: Final = 1

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_SETLINK: Final = 19
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_NEWNEIGH: Final = 28
RTM_DELNEIGH: Final = 29
RTM_GETNEIGH: Final = 30
RTM_GETRULE: Final = 34
RTM_NEWQDISC: Final = 36
RTM_DELQDISC: Final = 37
RTM_NEWTFILTER: Final = 44
RTM_DELTFILTER: Final = 45
RTM_GETTFILTER: Final = 46

NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800

IFF_UP: Final = 0x1
IFF_NOARP: Final = 0x80
IFF_SLAVE: Final = 0x800
IFA_F_NODAD: Final = 0x02
NUD_PERMANENT: Final = 0x80

BATCH: Final = 48
"""Messages in one `sendto`: what they cause must fit into the receive buffer, about 16 KB for a veth pair."""

RECEIVE_BUFFER: Final = 4 << 20
RECEIVE_SIZE: Final = 1 << 16

HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
ATTRIBUTE: Final = struct.Struct("=HH")  # struct nlattr: length, type


class Message(NamedTuple):
    """An encoded request and the object it is about, for the operator."""

    about: str
    data: bytes
    tolerated: tuple[int, ...] = ()
    """errno values that mean it is already so."""
    undoes: tuple[str, ...] = ()
    """What it changes, in words, where somebody may want to know: `mtu 1400 instead of 1450`."""

    @property
    def how(self) -> How:
        """What somebody else has done, if this puts it right."""
        kind = HEADER.unpack_from(self.data)[1]
        if self.undoes:
            return "changed"
        return "added" if (kind - RTM_NEWLINK) % 4 == 1 else "removed"  # RTM_NEW*, RTM_DEL*, RTM_GET*, RTM_SET*


@dataclass(frozen=True, slots=True)
class Refusal:
    """The kernel did not carry out a message."""

    about: str
    errno: int
    text: str

    def __str__(self) -> str:
        return f"{self.about}: {self.text}"


class Notice(NamedTuple):
    """A message of the kernel that answers none of ours, or one item of a dump."""

    type: int
    payload: bytes


def attributes(payload: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Type (without its flag bits) and value of each attribute from `offset` on."""
    end = len(payload)
    while offset + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(payload, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """A struct nlattr with its padding."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


class Channel:
    """Two netlink sockets, for ever in the namespace in which they were opened: one asks, the other hears of changes.

    Two, because a flood of notifications (somebody makes a hundred devices) makes the kernel drop what no longer fits
    into a socket's buffer: it must not be the answers to our requests. What it notifies of while it carries out a
    request is in the other socket before the answer is in this one: `hear()` after `send()` knows all of it.

    Every notification goes to `on_notice`; `on_overrun` is called when the kernel had to drop some: what was known must
    then be read anew, once `hear()` has returned.
    """

    def __init__(
        self,
        on_notice: Callable[[Notice], None],
        on_overrun: Callable[[], None],
        groups: Sequence[int] = EVERY_GROUP,
    ) -> None:
        self._on_notice = on_notice
        self._on_overrun = on_overrun
        self._sequence = 0
        self._requests = open_socket()
        self._requests.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._requests.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._notices = open_socket()
        for group in groups:
            self._notices.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def join(self, group: int) -> None:
        """From now on notifications of this group are heard too."""
        self._notices.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def screen(self, program: bytes) -> None:
        """From now on only notifications that pass a program of classic BPF (struct sock_filter) are heard."""
        code = ctypes.create_string_buffer(program, len(program))
        filter_ = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
        self._notices.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)

    def fileno(self) -> int:
        """Readable when there is something to `hear()`."""
        return self._notices.fileno()

    def close(self) -> None:
        self._requests.close()
        self._notices.close()

    def send(self, messages: Sequence[Message]) -> list[Refusal]:
        """Returns when the kernel has dealt with all of them; a refused one does not keep the others back.

        Raises TransientError if an answer was lost.
        """
        refusals: list[Refusal] = []
        for start in range(0, len(messages), BATCH):
            refusals += self._send_batch(messages[start : start + BATCH])
        return refusals

    def _send_batch(self, batch: Sequence[Message]) -> list[Refusal]:
        first = self._sequence + 1
        self._sequence += len(batch)
        self._requests.sendto(b"".join(self._numbered(batch, first)), (0, 0))
        refusals: list[Refusal] = []
        missing = len(batch)
        while missing:
            for kind, flags, sequence, payload in self._answers():
                if kind == NLMSG_ERROR and 0 <= sequence - first < len(batch):
                    missing -= 1
                    refusals += _refusal(batch[sequence - first], flags, payload)
        return refusals

    def _numbered(self, batch: Sequence[Message], first: int) -> Iterator[bytes]:
        for sequence, message in enumerate(batch, first):
            length, kind, flags, _, _ = HEADER.unpack_from(message.data)
            yield HEADER.pack(length, kind, flags | NLM_F_REQUEST | NLM_F_ACK, sequence, 0)
            yield message.data[16:]
            yield b"\0" * (-length % 4)

    def dump(self, kind: int, body: bytes) -> list[Notice]:
        """All objects of the kind asked for by RTM_GET* `kind`; `body` is its fixed header.

        Raises OSError with what the kernel refused it for, TransientError if a part of it was lost.
        """
        self._sequence += 1
        header = HEADER.pack(16 + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0)
        self._requests.sendto(header + body, (0, 0))
        found: list[Notice] = []
        while True:
            for answer, _, sequence, payload in self._answers():
                if sequence != self._sequence:
                    continue  # of a request given up earlier
                if answer not in (NLMSG_DONE, NLMSG_ERROR):
                    found.append(Notice(answer, payload))
                    continue
                code = struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
                if code < 0:
                    raise OSError(-code, os.strerror(-code))
                return found

    def _answers(self) -> list[tuple[int, int, int, bytes]]:
        """One datagram. The kernel answers within `sendto`, and goes on with a dump within `recv`: none is awaited."""
        try:
            return list(parts(self._requests.recv(RECEIVE_SIZE, socket.MSG_DONTWAIT)))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                raise TransientError("the kernel's answer to a netlink request was lost") from error
            raise

    def hear(self) -> None:
        """Hands on what has been notified, without waiting."""
        while True:
            try:
                data = self._notices.recv(RECEIVE_SIZE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._on_overrun()
                continue
            for kind, _, _, payload in parts(data):
                self._on_notice(Notice(kind, payload))


def open_socket(protocol: int = NETLINK_ROUTE) -> socket.socket:
    """Of the namespace in which it is opened, with room for what is notified."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    opened.bind((0, 0))
    return opened


def parts(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence and payload of each message of a datagram."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        yield kind, flags, sequence, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def _refusal(message: Message, flags: int, payload: bytes) -> list[Refusal]:
    (code,) = struct.unpack_from("=i", payload)
    if code == 0 or -code in message.tolerated:
        return []
    text = os.strerror(-code)
    if flags & NLM_F_ACK_TLVS and flags & NLM_F_CAPPED:
        said = dict(attributes(payload, 20)).get(NLMSGERR_ATTR_MSG)
        text += f" ({said.rstrip(bytes(1)).decode(errors='replace')})" if said else ""
    return [Refusal(message.about, -code, text)]
