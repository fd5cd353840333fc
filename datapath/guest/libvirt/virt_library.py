"""libvirt's C library, loaded: its functions with their types, its errors as ours, its event loop.

Enters: nothing. Leaves: the two libraries, or a MachineError that names the package. Never: text on standard error.

Numbers are those of libvirt's headers, version 9.0.
"""

from __future__ import annotations

import ctypes
import threading
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_uint, c_void_p
from functools import cache
from typing import Any, Final

from datapath.errors import MachineError, RefusedError, SdnError, TransientError

_REMEDY: Final = "install libvirt's library (Debian, Ubuntu: apt-get install libvirt0; or the package libvirt-daemon)"

_NO_DOMAIN: Final = 42
_FROM_RPC: Final = 7
_PASSING: Final = {38, 39, 45, 55, 68}
"""Errors of virErrorNumber that another try may not meet: of the system, of RPC, of the way in, operation invalid in
this state, time-out."""

_HELD: Final = '" lock'
"""What QEMU says of a disk that another guest has, which may be about to let go of it."""

_HANDLE, _TEXT, _FLAGS = c_void_p, c_char_p, c_uint
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "virInitialize": (c_int, ()),
    "virEventRegisterDefaultImpl": (c_int, ()),
    "virEventRunDefaultImpl": (c_int, ()),
    "virGetLastErrorCode": (c_int, ()),
    "virGetLastErrorDomain": (c_int, ()),
    "virGetLastErrorMessage": (_TEXT, ()),
    "virSetErrorFunc": (None, (c_void_p, c_void_p)),
    "virConnectOpen": (_HANDLE, (_TEXT,)),
    "virConnectRef": (c_int, (_HANDLE,)),
    "virConnectIsAlive": (c_int, (_HANDLE,)),
    "virConnectClose": (c_int, (_HANDLE,)),
    "virConnectRegisterCloseCallback": (c_int, (_HANDLE, c_void_p, c_void_p, c_void_p)),
    "virConnectUnregisterCloseCallback": (c_int, (_HANDLE, c_void_p)),
    "virConnectDomainEventRegisterAny": (c_int, (_HANDLE, c_void_p, c_int, c_void_p, c_void_p, c_void_p)),
    "virConnectDomainEventDeregisterAny": (c_int, (_HANDLE, c_int)),
    "virConnectListAllDomains": (c_int, (_HANDLE, POINTER(POINTER(c_void_p)), _FLAGS)),
    "virDomainDefineXMLFlags": (_HANDLE, (_HANDLE, _TEXT, _FLAGS)),
    "virDomainLookupByUUIDString": (_HANDLE, (_HANDLE, _TEXT)),
    "virDomainLookupByName": (_HANDLE, (_HANDLE, _TEXT)),
    "virDomainGetUUIDString": (c_int, (_HANDLE, c_char_p)),
    "virDomainFree": (c_int, (_HANDLE,)),
    "virDomainGetState": (c_int, (_HANDLE, POINTER(c_int), POINTER(c_int), _FLAGS)),
    "virDomainGetXMLDesc": (c_void_p, (_HANDLE, _FLAGS)),
    "virDomainCreateWithFlags": (c_int, (_HANDLE, _FLAGS)),
    "virDomainSuspend": (c_int, (_HANDLE,)),
    "virDomainResume": (c_int, (_HANDLE,)),
    "virDomainShutdown": (c_int, (_HANDLE,)),
    "virDomainReset": (c_int, (_HANDLE, _FLAGS)),
    "virDomainDestroy": (c_int, (_HANDLE,)),
    "virDomainUndefineFlags": (c_int, (_HANDLE, _FLAGS)),
    "virDomainAttachDeviceFlags": (c_int, (_HANDLE, _TEXT, _FLAGS)),
    "virDomainDetachDeviceFlags": (c_int, (_HANDLE, _TEXT, _FLAGS)),
}
_QEMU_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "virDomainQemuMonitorCommand": (c_int, (_HANDLE, _TEXT, POINTER(c_void_p), _FLAGS)),
    "virConnectDomainQemuMonitorEventRegister": (c_int, (_HANDLE, c_void_p, _TEXT, *(c_void_p,) * 3, _FLAGS)),
    "virConnectDomainQemuMonitorEventDeregister": (c_int, (_HANDLE, c_int)),
}


def _bound(name: str, functions: dict[str, tuple[Any, tuple[Any, ...]]]) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(name)
        for function, (result, arguments) in functions.items():
            bound = getattr(library, function)
            bound.restype, bound.argtypes = result, list(arguments)
    except (OSError, AttributeError) as error:
        raise MachineError("libvirt", f"libvirt is not usable here: {error}", remedy=_REMEDY) from error
    return library


def _say_nothing(_data: int, _error: int) -> None:
    """Else the library prints each error on standard error."""


_SILENT: Final = CFUNCTYPE(None, c_void_p, c_void_p)(_say_nothing)


@cache
def library() -> ctypes.CDLL:
    """With its event loop in a thread that lasts as long as the process. Raises MachineError."""
    loaded = _bound("libvirt.so.0", _FUNCTIONS)
    loaded.virInitialize()
    loaded.virSetErrorFunc(None, ctypes.cast(_SILENT, c_void_p))
    loaded.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, args=(loaded,), name="libvirt-events", daemon=True).start()
    return loaded


def _run_events(loaded: ctypes.CDLL) -> None:
    while loaded.virEventRunDefaultImpl() == 0:
        pass


@cache
def qemu() -> ctypes.CDLL:
    return _bound("libvirt-qemu.so.0", _QEMU_FUNCTIONS)


def failure() -> SdnError | None:
    """What failed last in this thread; None for a domain that is not there."""
    loaded = library()
    code = loaded.virGetLastErrorCode()
    text = f"libvirt: {(loaded.virGetLastErrorMessage() or b'it does not say why').decode(errors='replace')}"
    if code == _NO_DOMAIN:
        return None
    passing = code in _PASSING or _HELD in text or loaded.virGetLastErrorDomain() == _FROM_RPC
    return TransientError(text) if passing else RefusedError(text)


def check(result: int) -> int:
    """What a function returned, where that is no failure."""
    if result < 0:
        raise failure() or RefusedError("libvirt: there is no such domain")
    return result


def taken(pointer: int | None) -> str:
    """A text that we are to free."""
    text = ctypes.string_at(pointer) if pointer else b""
    free(pointer)
    return text.decode()


def free(pointer: int | None) -> None:
    _libc.free(pointer)


_libc: Final = ctypes.CDLL(None)
_libc.free.argtypes = [c_void_p]
_libc.free.restype = None
