"""A guest of a few instructions in KVM, to see whether it runs them: the program that `accel` starts as a child.

Enters: /dev/kvm. Leaves: on standard output one line of JSON, the exits of the guest and its milliseconds. Never: a
module of ours is imported; it is a script, so that a KVM that hangs or crashes takes only this process.

A KVM may exist and start SeaBIOS and still not run an ordinary kernel (nested, paravirtual), so the guest does what a
kernel does early: long mode with paging, rdmsr, a write to CR3, interrupts through an IDT, a loop, port I/O, hlt.
Numbers are those of the kernel's Documentation/virt/kvm/api.rst and of the Intel manual, volume 3.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import struct
import time

API_VERSION = 12
GET_API_VERSION, CREATE_VM, GET_VCPU_MMAP_SIZE, GET_SUPPORTED_CPUID = 0xAE00, 0xAE01, 0xAE04, 0xC008AE05
SET_USER_MEMORY_REGION, SET_TSS_ADDR, CREATE_VCPU, RUN = 0x4020AE46, 0xAE47, 0xAE41, 0xAE80
SET_REGS, GET_SREGS, SET_SREGS, SET_CPUID2 = 0x4090AE82, 0x8138AE83, 0x4138AE84, 0x4008AE90
EXIT_IO, EXIT_HLT = 2, 5
EXITS = {
    0: "was left for a reason that KVM does not know",
    1: "met an exception",
    2: "did not halt",
    5: "halted before it had done anything",
    6: "used memory that it does not have",
    8: "failed so badly that a processor resets itself (a triple fault)",
    9: "was refused by the processor",
    17: "ran into an error of KVM's own",
}
"""What the guest did, where it should not come out so."""

LOOPS = 2_000_000
CODE, HANDLER, PAGES, IDT, GDT, STACK = 0x1000, 0x1800, 0x2000, 0x5000, 0x6000, 0x8000
PROGRAM = (
    b"\x0f\x20\xd8\x0f\x22\xd8"  # mov rax, cr3; mov cr3, rax
    b"\xb9\x80\x00\x00\xc0\x0f\x32"  # mov ecx, EFER; rdmsr
    b"\x31\xdb\xcc\xcc\xcc"  # xor ebx, ebx; int3 three times
    b"\xb9" + struct.pack("I", LOOPS) + b"\xff\xc9\x75\xfc"  # mov ecx, LOOPS; dec ecx; jnz
    b"\x88\xd8\xe6\x10\xf4"  # mov al, bl; out 0x10, al; hlt
)
INTERRUPT = b"\x83\xc3\x01\x48\xcf"  # add ebx, 1; iretq
EXPECTED = [[EXIT_IO, 16, 3], [EXIT_HLT]]


def segment(selector: int, kind: int, long_mode: int) -> bytes:
    """struct kvm_segment, flat: base 0, limit 4 GiB, present, code and data."""
    return struct.pack("QIHBBBBBBBBBB", 0, 0xFFFFFFFF, selector, kind, 1, 0, 1 - long_mode, 1, long_mode, 1, 0, 0, 0)


def memory() -> mmap.mmap:
    """1 MiB: page tables that map the first 2 MiB onto themselves, an IDT with one gate, a GDT, the program."""
    made = mmap.mmap(-1, 1 << 20)
    for at, entry in ((PAGES, PAGES + 0x1003), (PAGES + 0x1000, PAGES + 0x2003), (PAGES + 0x2000, 0x83)):
        made[at : at + 8] = struct.pack("Q", entry)
    made[IDT + 48 : IDT + 64] = struct.pack("HHBBHII", HANDLER, 8, 0, 0x8E, 0, 0, 0)
    made[GDT + 8 : GDT + 24] = struct.pack("QQ", 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
    made[HANDLER : HANDLER + len(INTERRUPT)] = INTERRUPT
    made[CODE : CODE + len(PROGRAM)] = PROGRAM
    return made


def registers(vcpu: int) -> None:
    special = bytearray(312)
    fcntl.ioctl(vcpu, GET_SREGS, special)
    special[0:144] = segment(8, 11, 1) + segment(16, 3, 0) * 5
    special[192:208] = struct.pack("QH6x", GDT, 0x17)
    special[208:224] = struct.pack("QH6x", IDT, 0xFFF)
    # CR0 with paging and protection, CR3, CR4 with PAE, EFER with long mode enabled and active
    special[224:272] = struct.pack("6Q", 0x80050033, 0, PAGES, 0x20, 0, 0x500)
    fcntl.ioctl(vcpu, SET_SREGS, bytes(special))
    general = [0] * 18
    general[6], general[16], general[17] = STACK, CODE, 2  # rsp, rip, rflags
    fcntl.ioctl(vcpu, SET_REGS, struct.pack("18Q", *general))


def run() -> dict[str, object]:
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    version = fcntl.ioctl(kvm, GET_API_VERSION)
    if version != API_VERSION:
        return {"error": f"KVM's API has version {version}, not {API_VERSION}"}
    machine = fcntl.ioctl(kvm, CREATE_VM, 0)
    # An Intel CPU without unrestricted guests wants three pages of its own there.
    ctypes.CDLL(None).ioctl(machine, ctypes.c_ulong(SET_TSS_ADDR), ctypes.c_ulong(0xFFFBD000))
    ram = memory()
    address = ctypes.addressof(ctypes.c_char.from_buffer(ram))
    fcntl.ioctl(machine, SET_USER_MEMORY_REGION, struct.pack("IIQQQ", 0, 0, 0, len(ram), address))
    vcpu = fcntl.ioctl(machine, CREATE_VCPU, 0)
    state = mmap.mmap(vcpu, fcntl.ioctl(kvm, GET_VCPU_MMAP_SIZE))
    cpuid = bytearray(struct.pack("II", 100, 0) + bytes(40 * 100))
    fcntl.ioctl(kvm, GET_SUPPORTED_CPUID, cpuid, True)
    fcntl.ioctl(vcpu, SET_CPUID2, cpuid)
    registers(vcpu)
    return exits(vcpu, state)


def exits(vcpu: int, state: mmap.mmap) -> dict[str, object]:
    """Why the guest came out, as often as it did; struct kvm_run has the reason at 8 and the I/O at 32."""
    began, seen = time.perf_counter(), []
    for _ in range(len(EXPECTED) + 1):
        fcntl.ioctl(vcpu, RUN, 0)
        (reason,) = struct.unpack_from("I", state, 8)
        if reason != EXIT_IO:
            seen.append([reason])
            break
        _, _, port, _, offset = struct.unpack_from("BBHIQ", state, 32)
        seen.append([reason, port, state[offset]])
    return {"exits": seen, "ms": (time.perf_counter() - began) * 1000}


if __name__ == "__main__":
    try:
        print(json.dumps(run()))
    except OSError as error:
        print(json.dumps({"error": str(error)}))
