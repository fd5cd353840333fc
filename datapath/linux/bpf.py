"""eBPF without a compiler: a few instructions assembled here, and the one system call that loads them.

Enters: instructions as values. Leaves: their bytes (`assemble`, pure), and a descriptor of the program in the kernel
(`load`). Never: a program that anything runs (attaching it is `tc`'s), a map, a file in /sys/fs/bpf.

An instruction has 8 bytes (RFC 9669, section 3; struct bpf_insn): opcode, two registers of 4 bits, a 16-bit offset, a
32-bit immediate value. r1 to r5 are arguments and lost by a call, r6 to r9 stay, r0 is the result.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import platform
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from datapath.errors import MachineError

_LOAD_WORD, _AND, _MOVE, _MOVE_REGISTER = 0x61, 0x57, 0xB7, 0xBF
_IF_EQUAL, _UNLESS_EQUAL, _CALL, _EXIT = 0x15, 0x55, 0x85, 0x95
_INSTRUCTION: Final = struct.Struct("=BBhi")

_SYSCALL: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
"""Number of bpf(2)."""
_BPF_PROG_LOAD: Final = 5
_BPF_PROG_TYPE_SCHED_CLS: Final = 3
_ATTRIBUTES: Final = struct.Struct("=IIQQIIQII16s")
"""The head of union bpf_attr for BPF_PROG_LOAD: type, instructions, license, log, kernel version, flags, name."""
_LICENSE: Final = b"Apache-2.0\0"
_LOG_SIZE: Final = 1 << 16


class Instruction(NamedTuple):
    """One as written: a jump says in `to` where it goes, and `label` is a name for what follows, not an instruction."""

    opcode: int
    target: int = 0
    source: int = 0
    offset: int = 0
    value: int = 0
    to: str = ""
    label: str = ""


def move(register: int, value: int) -> Instruction:
    return Instruction(_MOVE, register, value=value)


def copy(register: int, source: int) -> Instruction:
    return Instruction(_MOVE_REGISTER, register, source)


def load_word(register: int, source: int, offset: int) -> Instruction:
    """The 32 bits at `offset` of what register `source` points to."""
    return Instruction(_LOAD_WORD, register, source, offset)


def mask(register: int, value: int) -> Instruction:
    return Instruction(_AND, register, value=value)


def if_equal(register: int, value: int, to: str) -> Instruction:
    return Instruction(_IF_EQUAL, register, value=value, to=to)


def unless_equal(register: int, value: int, to: str) -> Instruction:
    return Instruction(_UNLESS_EQUAL, register, value=value, to=to)


def call(helper: int) -> Instruction:
    """A function of the kernel by its number, BPF_FUNC_* of linux/bpf.h."""
    return Instruction(_CALL, value=helper)


def leave() -> Instruction:
    return Instruction(_EXIT)


def label(name: str) -> Instruction:
    return Instruction(0, label=name)


def assemble(listing: Sequence[Instruction]) -> bytes:
    """The bytes; a jump's offset counts from the instruction after it. Raises KeyError for an unknown label."""
    places: dict[str, int] = {}
    code: list[Instruction] = []
    for each in listing:
        if each.label:
            places[each.label] = len(code)
        else:
            code.append(each)
    return b"".join(_encode(each, places[each.to] - at - 1 if each.to else each.offset) for at, each in enumerate(code))


def _encode(each: Instruction, offset: int) -> bytes:
    registers = each.source << 4 | each.target if sys.byteorder == "little" else each.target << 4 | each.source
    return _INSTRUCTION.pack(each.opcode, registers, offset, each.value)


@dataclass(frozen=True, slots=True)
class Program:
    """For a tc hook. `name` has at most 15 letters, digits, '_' and '.', as `bpftool` shows it."""

    name: str
    code: bytes

    @property
    def digest(self) -> str:
        """Tells programs apart by what they do."""
        return hashlib.blake2b(self.code, digest_size=8).hexdigest()


def load(program: Program) -> int:
    """A descriptor of the program, for the caller to close. Raises MachineError with the verifier's reason."""
    descriptor = _load(program, None)
    if descriptor >= 0:
        return descriptor
    code = ctypes.get_errno()
    said = os.strerror(code)
    if code in (errno.EACCES, errno.EINVAL):  # the verifier's: asked again, it gives its reasons
        log = ctypes.create_string_buffer(_LOG_SIZE)
        descriptor = _load(program, log)
        if descriptor >= 0:
            return descriptor
        said = telling(log.value.decode(errors="replace")) or said
    raise MachineError("eBPF", f"eBPF program {program.name} refused: {said}")


def _load(program: Program, log: ctypes.Array[ctypes.c_char] | None) -> int:
    code = ctypes.create_string_buffer(program.code, len(program.code))
    license_ = ctypes.create_string_buffer(_LICENSE)
    attributes = _ATTRIBUTES.pack(
        _BPF_PROG_TYPE_SCHED_CLS,
        len(program.code) // _INSTRUCTION.size,
        ctypes.addressof(code),
        ctypes.addressof(license_),
        1 if log else 0,
        _LOG_SIZE if log else 0,
        ctypes.addressof(log) if log else 0,
        0,
        0,
        program.name.encode(),
    )
    return _bpf(_BPF_PROG_LOAD, attributes)


def _bpf(command: int, attributes: bytes) -> int:
    """bpf(2): a descriptor, or -1 with errno. The kernel makes descriptors of programs close-on-exec."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise MachineError("eBPF", f"the number of bpf(2) on {platform.machine()} is not known here")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(ctypes.c_long(number), ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes))))


def telling(log: str) -> str:
    """The line of the verifier's log that says why: the last one before its statistics."""
    statistics = ("processed ", "verification time", "stack depth", "max_states", "peak_states", "mark_read")
    lines = [line.strip() for line in log.splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith(statistics)), "")
