"""nftables of one namespace: our tables are replaced or changed in one transaction, and watched.

Enters: Rulesets. Leaves: the kernel so; `version` grows when somebody else changes a table of ours. Never: a process is
started, or a table without our mark is touched.

libnftables reads the text. What is there is asked by netlink, and never read back rule by rule: each transaction raises
the number of the ruleset's generation by one, and ours leaves a chain without rules whose name has the digest of what
we set and the generation that it made: as long as that is the generation, it is all as we left it. What others do is
told by the kernel. Our own transactions are not listened to: of a thousand ports they would say too much.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from datapath.drift import instead
from datapath.errors import ConflictError, MachineError, RefusedError, TransientError
from datapath.linux.netlink import (
    HEADER,
    NETLINK_ADD_MEMBERSHIP,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    RECEIVE_SIZE,
    SOL_NETLINK,
    attributes,
    open_socket,
    parts,
)
from datapath.linux.ruleset import NAME, Family, Ruleset, digest

_NETLINK_NETFILTER: Final = 12
_NETLINK_DROP_MEMBERSHIP: Final = 2
_GROUP_NFTABLES: Final = 7  # NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h

_TABLES: Final = 0
_KINDS: Final = {_TABLES: "tables", 3: "chains", 6: "rules", 9: "sets", 12: "elements of sets"}
"""NFT_MSG_NEW* of linux/netfilter/nf_tables.h."""
_GONE: Final = 2  # to the number of NFT_MSG_DEL*

_SUBSYSTEM: Final = 10 << 8
_GETTABLE, _GETCHAIN, _NEWGEN, _GETGEN = 1, 4, 15, 16
_BODY: Final = struct.Struct("=BBH")  # struct nfgenmsg: family, version, resource
_TABLE: Final = 1
"""The attribute with the name of the table, whatever a message is about."""
_TABLE_USERDATA, _CHAIN_NAME, _GENERATION = 6, 3, 1
_COMMENT: Final = 0
"""NFTNL_UDATA_TABLE_COMMENT: user data are octets of type and length, and the value (libnftnl, udata.h)."""
_FAMILIES: Final[dict[Family, int]] = {"ip": 2, "bridge": 7}
_RECORD: Final = "state"

_REMEDY: Final = "install nftables (Debian, Ubuntu: apt-get install nftables)"


class _Notice(NamedTuple):
    type: int
    family: int
    attributes: dict[int, bytes]

    @property
    def table(self) -> str:
        return _text(self.attributes.get(_TABLE, b""))


@cache
def _library() -> Any:
    """Raises MachineError where there is none."""
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise MachineError("nftables", f"no libnftables here: {error}", remedy=_REMEDY) from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    for function in ("free", "buffer_error", "buffer_output", "get_error_buffer"):
        getattr(library, f"nft_ctx_{function}").argtypes = [ctypes.c_void_p]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


class Tables:
    """Our tables in the namespace in which it was made, wherever it is used. `sent` counts transactions."""

    def __init__(self) -> None:
        """In a thread that is inside. Raises MachineError."""
        library = _library()
        self.version = 0
        self.changes: tuple[str, ...] = ()
        """What others have done last, in words."""
        self.sent = 0
        self._is: tuple[Ruleset, ...] = ()
        self._record = ""
        self._questions, self._news = _open(), _open()
        try:
            self._listen()
            self._generation()
        except OSError as error:
            raise MachineError("nf_tables", f"the kernel has no nftables: {error.strerror}") from error
        self._context = library.nft_ctx_new(0)
        library.nft_ctx_buffer_error(self._context)
        library.nft_ctx_buffer_output(self._context)

    def fileno(self) -> int:
        """Readable when there is something to `hear()`."""
        return self._news.fileno()

    def close(self) -> None:
        """The tables stay."""
        self._questions.close()
        self._news.close()
        _library().nft_ctx_free(self._context)

    def hear(self) -> None:
        """Takes in what others have done, without waiting."""
        ours = {(_FAMILIES[each.family], NAME) for each in self._is}
        told = [notice for notice in self._notices() if (notice.family, notice.table) in ours]
        if told:
            self.changes = tuple(_changes(told))
            self._is = ()
            self.version += 1

    def put(self, *wanted: Ruleset) -> bool:
        """Makes the tables so, all in one transaction; whether anything had to be done.

        Raises ConflictError where somebody else has a table of that name, RefusedError with what the kernel says.
        """
        self.hear()
        if self._is == wanted:
            return False
        if not self._is and self._adopt(wanted):
            self._is = wanted
            return False
        refusal = self._change(wanted) if self._is else self._replace(wanted)
        if refusal:
            raise RefusedError(f"nftables: {refusal}")
        return True

    # what is there

    def _adopt(self, wanted: Sequence[Ruleset]) -> bool:
        """Whether an earlier one of us has left the tables as they shall be. A foreign one is refused."""
        comments = self._comments()
        for each in wanted:
            comment = comments.get(_FAMILIES[each.family])
            if comment not in (None, each.mark):
                raise ConflictError(
                    f"there is an nftables table `{each.table}` that is not ours; it was left alone",
                    remedy=f"nft delete table {each.table}",
                )
        if len(comments) != len(wanted):
            return False
        record = _record(wanted, self._generation())
        if record not in self._chains(wanted[0]):
            return False
        self._record = record
        return True

    def _comments(self) -> dict[int, str]:
        """Of the tables with our name, by family; '' where one has none."""
        tables = [table for table in self._ask(_GETTABLE, 0) if table.table == NAME]
        return {table.family: _comment(table.attributes.get(_TABLE_USERDATA, b"")) for table in tables}

    def _chains(self, ruleset: Ruleset) -> set[str]:
        chains = self._ask(_GETCHAIN, _FAMILIES[ruleset.family])
        return {_text(chain.attributes[_CHAIN_NAME]) for chain in chains if chain.table == NAME}

    def _generation(self) -> int:
        (answer,) = self._ask(_GETGEN, 0, dump=False)
        return int.from_bytes(answer.attributes[_GENERATION], "big")

    # what is done

    def _change(self, wanted: tuple[Ruleset, ...]) -> str:
        """Of each table the elements that differ, or all of it; all of all if that is refused."""
        commands, holder = [], wanted[0]
        if self._record:
            commands.append(f"delete chain {holder.table} {self._record}\n")
        for old, new in zip(self._is, wanted, strict=True):
            changes = new.changes(old)
            commands.append(new.replacement() if changes is None else changes)
        return self._run(wanted, "".join(commands)) and self._replace(wanted)

    def _replace(self, wanted: tuple[Ruleset, ...]) -> str:
        return self._run(wanted, "".join(each.replacement() for each in wanted))

    def _run(self, wanted: tuple[Ruleset, ...], commands: str) -> str:
        """Why it was refused, or ''. Where others came in between it is not known what is there: it is set again."""
        library, before = _library(), self._generation()
        record = _record(wanted, before + 1)
        self._listen(False)
        text = f"{commands}add chain {wanted[0].table} {record}\n"
        failed = library.nft_run_cmd_from_buffer(self._context, text.encode())
        self._listen()
        self.sent += 1
        if failed:
            self._is = ()
            return _telling(library.nft_ctx_get_error_buffer(self._context))
        alone = self._generation() == before + 1
        self._is, self._record = (wanted, record) if alone else ((), "")
        self.version += not alone
        return ""

    # netlink

    def _listen(self, on: bool = True) -> None:
        option = NETLINK_ADD_MEMBERSHIP if on else _NETLINK_DROP_MEMBERSHIP
        self._news.setsockopt(SOL_NETLINK, option, _GROUP_NFTABLES)

    def _ask(self, kind: int, family: int, dump: bool = True) -> list[_Notice]:
        """Raises OSError with what the kernel refuses it for."""
        flags = NLM_F_REQUEST | (NLM_F_DUMP if dump else 0)
        self._questions.send(HEADER.pack(20, _SUBSYSTEM | kind, flags, 0, 0) + _BODY.pack(family, 0, 0))
        found: list[_Notice] = []
        while True:
            for message, _, _, payload in parts(self._questions.recv(RECEIVE_SIZE)):
                if message == NLMSG_DONE:
                    return found
                if message == NLMSG_ERROR:
                    _raise(payload)
                found.append(_notice(message, payload))
            if not dump:
                return found

    def _notices(self) -> Iterator[_Notice]:
        """What was told. Where too much was told, a notice of each table of ours stands for what was lost."""
        while True:
            try:
                data = self._news.recv(RECEIVE_SIZE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield from (_Notice(-1, _FAMILIES[each.family], {_TABLE: NAME.encode()}) for each in self._is)
                continue
            for message, _, _, payload in parts(data):
                yield _notice(message, payload)


def _changes(told: Sequence[_Notice]) -> Iterator[str]:
    """How many of each kind there are now instead of ours: of all those that were touched. What is in a table comes
    and goes with it."""
    count = Counter(notice.type for notice in told)
    touched = [kind for kind in _KINDS if count[kind] or count[kind + _GONE]]
    for kind in touched[:1] if _TABLES in touched else touched:
        come, gone = count[kind], count[kind + _GONE]
        yield instead(_KINDS[kind], f"{come} of others" if come else None, gone or None)
    if not touched:
        yield instead("ruleset", "another", "ours")


def _record(rulesets: Sequence[Ruleset], generation: int) -> str:
    """Name of the chain that says what we set, and when."""
    return f"{_RECORD}_{digest(rulesets)}_{generation & 0xFFFFFFFF}"


def _open() -> socket.socket:
    opened = open_socket(_NETLINK_NETFILTER)
    opened.connect((0, 0))
    return opened


def _notice(kind: int, payload: bytes) -> _Notice:
    family, _, _ = _BODY.unpack_from(payload)
    kind &= 0xFF
    return _Notice(kind, family, dict(attributes(payload, _BODY.size)))


def _raise(payload: bytes) -> None:
    (code,) = struct.unpack_from("=i", payload)
    if code == -errno.EINTR:
        raise TransientError("somebody changes nftables just now")
    raise OSError(-code, os.strerror(-code))


def _comment(userdata: bytes) -> str:
    while len(userdata) > 2:
        kind, length = userdata[0], userdata[1]
        if kind == _COMMENT:
            return _text(userdata[2 : 2 + length])
        userdata = userdata[2 + length :]
    return ""


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _telling(message: bytes | None) -> str:
    """The first line of what libnftables says, without the text that it is about."""
    lines = (message or b"it said nothing").decode(errors="replace").splitlines()
    return next((line.partition("Error: ")[2] or line for line in lines if "Error" in line), lines[0])
