"""os-ken's codec, and what it must be kept from: the one module that imports os-ken.

Enters: message bytes, or os-ken message objects to send. Leaves: the other of the two, errors in words. Never: our
usual requests (`requests` has them), flow-mods and flow statistics (`datapath.openflow.codec` is faster by far),
multipart bodies and HELLO: os-ken's parsers of these do not come back from an element that says its length is 0.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from importlib import import_module
from struct import Struct, error
from typing import Any, Final

from sdn.southbound.transport import HEADER, MalformedError

VERSIONS: Final[dict[int, str]] = {4: "1.3", 5: "1.4"}
"""Wire versions that we speak. 1.5 brings nothing here, and Open vSwitch then dumps a `Load` as a `SetField`."""

_HELLO_ELEMENT: Final = Struct("!HH")
_VERSION_BITMAP: Final = 1
_EXPERIMENTER: Final = 0xFFFF


class Type(IntEnum):
    """Message types that matter here; the same numbers in 1.3 and 1.4 (section 7.1.1)."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    FEATURES_REPLY = 6
    PACKET_IN = 10
    FLOW_REMOVED = 11
    PORT_STATUS = 12
    MULTIPART_REPLY = 19
    LAST = 35


class Dialect:
    """One version's modules of os-ken, under the names that its message classes look for in a "datapath"."""

    def __init__(self, version: int) -> None:
        name = f"os_ken.ofproto.ofproto_v{VERSIONS[version].replace('.', '_')}"
        self.version = version
        self.ofproto: Any = import_module(name)
        self.ofproto_parser: Any = import_module(f"{name}_parser")

    def decode(self, data: bytes) -> Any:
        """os-ken's message object. Raises MalformedError, whatever os-ken trips over."""
        version, kind, length, xid = HEADER.unpack_from(data)
        try:
            return self.ofproto_parser.msg_parser(self, version, kind, length, xid, data)
        except Exception as cause:
            raise MalformedError(f"message of type {kind} ({type(cause).__name__}: {cause})", data) from cause

    def why(self, message: Any) -> str:
        """The reason in an OFPT_ERROR: `OFPBAC_BAD_OUT_PORT (OFPET_BAD_ACTION)`."""
        if message.type == _EXPERIMENTER:
            return f"error {message.exp_type} of experimenter {message.experimenter:#010x}"
        kind = self.ofproto.ofp_error_type_to_str(message.type).partition("(")
        code = self.ofproto.ofp_error_code_to_str(message.type, message.code).partition("(")
        kind_name, code_name = (name if name != "Unknown" else f"{name} {rest}" for name, _, rest in (kind, code))
        return f"{code_name.rstrip(')')} ({kind_name.rstrip(')')})"


@cache
def dialect(version: int) -> Dialect:
    """The codec of a wire version; the first one costs 150 ms of imports."""
    return Dialect(version)


def encode(message: Any, xid: int) -> bytes:
    """The bytes of an os-ken message object."""
    message.set_xid(xid)
    message.serialize()
    return bytes(message.buf)


def hello(versions: list[int]) -> bytes:
    """OFPT_HELLO with a bitmap of `versions` below 32 (OpenFlow 1.3.1 section 7.5.1); os-ken writes none."""
    bitmap = sum(1 << version for version in versions)
    return (
        HEADER.pack(max(versions), Type.HELLO, 16, 1)
        + _HELLO_ELEMENT.pack(_VERSION_BITMAP, 8)
        + bitmap.to_bytes(4, "big")
    )


def hello_failed(versions: list[int], text: str) -> bytes:
    """OFPT_ERROR that says no common version was found, in the lowest version of ours."""
    codec = dialect(min(versions))
    ofproto = codec.ofproto
    failed = codec.ofproto_parser.OFPErrorMsg(codec, ofproto.OFPET_HELLO_FAILED, ofproto.OFPHFC_INCOMPATIBLE)
    failed.data = text.encode()
    return encode(failed, 1)


def offered(data: bytes) -> set[int]:
    """The wire versions that a HELLO offers: its bitmap, or without one all up to the version in its header."""
    offset = HEADER.size
    while offset + _HELLO_ELEMENT.size <= len(data):
        kind, length = _HELLO_ELEMENT.unpack_from(data, offset)
        if length < _HELLO_ELEMENT.size or offset + length > len(data):
            raise MalformedError(f"HELLO with an element of {length} bytes", data)
        if kind == _VERSION_BITMAP:
            return _bits(data[offset + 4 : offset + length])
        offset += -(-length // 8) * 8
    return set(range(1, data[0] + 1))


def _bits(words: bytes) -> set[int]:
    """Version numbers of a bitmap: bit n of the 32-bit word w stands for 32w + n."""
    try:
        values = [value for (value,) in Struct("!I").iter_unpack(words)]
    except error as cause:
        raise MalformedError("HELLO with a version bitmap that is cut short", words) from cause
    return {32 * place + bit for place, value in enumerate(values) for bit in range(32) if value >> bit & 1}
