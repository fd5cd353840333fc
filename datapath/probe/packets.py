"""The bytes of probes: ICMP echo for both families, and the token that tells our answers from others'. PURE.

Sources: RFC 792 (echo), RFC 4443 section 4 (ICMPv6 echo), RFC 1071 (checksum).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from datapath.checksum import checksum

ECHO_REPLY: Final = 0
UNREACHABLE: Final = 3
ECHO_REQUEST: Final = 8
ECHO_REQUEST_6: Final = 128
ECHO_REPLY_6: Final = 129
UNREACHABLE_6: Final = 1

_ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
_TOKEN = struct.Struct("!4sIIH")  # magic, nonce of the run, index of the probe, attempt
_MAGIC: Final = b"sdn?"
_IPV6_HEADER: Final = 40
_PADDING: Final = bytes(8)  # with it the frame is longer than Ethernet's least and is never padded on the way


class Token(NamedTuple):
    """Which attempt of which probe of which run."""

    nonce: int
    number: int
    attempt: int

    def pack(self) -> bytes:
        return _TOKEN.pack(_MAGIC, *self) + _PADDING


def token(payload: bytes, offset: int = 0) -> Token | None:
    """The token at `offset`; None where there is none of ours."""
    if len(payload) < offset + _TOKEN.size:
        return None
    magic, nonce, number, attempt = _TOKEN.unpack_from(payload, offset)
    return Token(nonce, number, attempt) if magic == _MAGIC else None


def echo_request(wanted: Token, version: int) -> bytes:
    """An ICMP or ICMPv6 echo request; of the latter the kernel fills in the checksum (RFC 3542 section 3.1)."""
    identifier, sequence = wanted.nonce & 0xFFFF, wanted.number & 0xFFFF
    if version == 6:
        return _ECHO.pack(ECHO_REQUEST_6, 0, 0, identifier, sequence) + wanted.pack()
    body = wanted.pack()
    whole = checksum(_ECHO.pack(ECHO_REQUEST, 0, 0, identifier, sequence) + body)
    return _ECHO.pack(ECHO_REQUEST, 0, whole, identifier, sequence) + body


class Reply(NamedTuple):
    """An ICMP message about one of our requests; `error` is empty for an answer."""

    token: Token
    error: str


def icmp_reply(packet: bytes, version: int) -> Reply | None:
    """What a raw socket gave: for IPv4 with its IP header, for IPv6 without. None where it is not about us."""
    start = (packet[0] & 0x0F) * 4 if version == 4 and packet else 0
    if len(packet) < start + _ECHO.size:
        return None
    kind, code = packet[start], packet[start + 1]
    body = start + _ECHO.size
    if kind == (ECHO_REPLY if version == 4 else ECHO_REPLY_6):
        found = token(packet, body)
        return Reply(found, "") if found else None
    if kind == (UNREACHABLE if version == 4 else UNREACHABLE_6):
        return _quoted(packet, body, version, code)
    return None


def _quoted(packet: bytes, start: int, version: int, code: int) -> Reply | None:
    """Errors quote the packet that they are about: its IP header, our echo header, our token."""
    if len(packet) <= start:
        return None
    header = (packet[start] & 0x0F) * 4 if version == 4 else _IPV6_HEADER
    found = token(packet, start + header + _ECHO.size)
    return Reply(found, f"unreachable (ICMP code {code})") if found else None
