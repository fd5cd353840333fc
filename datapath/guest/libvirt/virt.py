"""libvirt's C library, as far as we use it: connections, domains and what happens to them.

Enters: a URI, XML. Leaves: a Connection; events, called in a thread of the library's. Never: waiting in an event.

Every function of a Connection waits for libvirtd, and may be called in any thread. Domains are looked up by UUID each
time (0.1 ms), so that no pointer outlives a connection. Numbers are those of libvirt's headers, version 9.0.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_longlong, c_uint, c_void_p
from typing import Any, Final, Literal, NamedTuple

from datapath.errors import RefusedError, SdnError, TransientError
from datapath.guest.libvirt.virt_library import check, failure, free, library, qemu, taken

_UUID_BUFFER: Final = 37

DEFINE_VALIDATE: Final = 1
START_PAUSED: Final = 1
AFFECT_LIVE: Final = 1

State = Literal["running", "paused", "off"]
_OFF, _BY_ITSELF = 5, 1
"""VIR_DOMAIN_SHUTOFF, and the reason for it that is the guest's own shutdown."""
_STATES: Final[dict[int, State]] = {1: "running", 2: "running", 3: "paused", 4: "running", 7: "paused"}

_LIFECYCLE, _REBOOT = 0, 1
_LIFECYCLE_NAMES: Final = {2: "started", 3: "suspended", 4: "resumed", 5: "stopped", 6: "shutdown", 8: "crashed"}


BY_HOST: Final = "2"
"""Detail of a `shutdown` that is not the guest's own doing."""


class Event(NamedTuple):
    """`kind`: those above with a number as `detail`; `reboot`; `disconnected`, of no domain; or the name of an event of
    QMP, whose data is `detail` as JSON."""

    domain: str
    kind: str
    detail: str = ""


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_listeners: Final[dict[int, Callable[[Event], None]]] = {}
"""By the number that the library is given as the callbacks' `opaque`. It is never reused, so that an event that is on
its way when a connection closes finds nobody, instead of somebody else."""
_numbers = itertools.count(1)


def _tell(opaque: int | None, domain: int | None, kind: str, detail: str = "") -> None:
    listener = _listeners.get(opaque or 0)
    if listener is not None:
        listener(Event(_uuid(domain) if domain else "", kind, detail))


def _uuid(domain: int) -> str:
    buffer = ctypes.create_string_buffer(_UUID_BUFFER)
    library().virDomainGetUUIDString(domain, buffer)
    return buffer.value.decode()


def _lifecycle(_connection: int, domain: int, event: int, detail: int, opaque: int) -> int:
    if event in _LIFECYCLE_NAMES:
        _tell(opaque, domain, _LIFECYCLE_NAMES[event], str(detail))
    return 0


def _reboot(_connection: int, domain: int, opaque: int) -> None:
    _tell(opaque, domain, "reboot")


def _monitored(
    _connection: int, domain: int, event: bytes, _seconds: int, _micros: int, details: bytes | None, opaque: int
) -> None:
    _tell(opaque, domain, event.decode(), (details or b"{}").decode())


def _closed(_connection: int, _reason: int, opaque: int) -> None:
    _tell(opaque, None, "disconnected")


# As long as the process: the library may still hold them when their connection is closed.
_ON_LIFECYCLE: Final = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int, c_void_p)(_lifecycle)
_ON_REBOOT: Final = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)(_reboot)
_ON_MONITOR: Final = CFUNCTYPE(None, c_void_p, c_void_p, c_char_p, c_longlong, c_uint, c_char_p, c_void_p)(_monitored)
_ON_CLOSE: Final = CFUNCTYPE(None, c_void_p, c_int, c_void_p)(_closed)


# ── connections ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _pointer(callback: Any) -> c_void_p:
    return ctypes.cast(callback, c_void_p)


class Connection:
    """To one libvirtd. `on_event` is called in another thread, with `disconnected` when the daemon has gone.

    It may be closed in one thread while it is used in another: each use has a reference of its own.
    """

    def __init__(self, uri: str, on_event: Callable[[Event], None], monitored: tuple[str, ...] = ()) -> None:
        """`monitored` are the events of QMP to hear of. Raises MachineError, TransientError."""
        handle = library().virConnectOpen(uri.encode())
        if not handle:
            raise TransientError(f"{uri}: {failure()}")
        self._handle: int | None = handle
        self._lock = threading.Lock()
        self._number = next(_numbers)
        _listeners[self._number] = on_event
        self._callbacks: list[int] = []
        self._monitor_callbacks: list[int] = []
        try:
            self._listen(handle, monitored)
        except SdnError:
            self.close()
            raise

    def _listen(self, handle: int, monitored: tuple[str, ...]) -> None:
        register = library().virConnectDomainEventRegisterAny
        for event, callback in ((_LIFECYCLE, _ON_LIFECYCLE), (_REBOOT, _ON_REBOOT)):
            self._callbacks.append(check(register(handle, None, event, _pointer(callback), self._number, None)))
        register = qemu().virConnectDomainQemuMonitorEventRegister
        on_monitor = _pointer(_ON_MONITOR)
        for name in monitored:
            number = register(handle, None, name.encode(), on_monitor, self._number, None, 0)
            self._monitor_callbacks.append(check(number))
        check(library().virConnectRegisterCloseCallback(handle, _pointer(_ON_CLOSE), self._number, None))

    def close(self) -> None:
        """The callbacks hold the connection open, so they go first; that a daemon which is gone does not answer to
        that is all right."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is None:
            return
        _listeners.pop(self._number, None)
        for number in self._callbacks:
            library().virConnectDomainEventDeregisterAny(handle, number)
        for number in self._monitor_callbacks:
            qemu().virConnectDomainQemuMonitorEventDeregister(handle, number)
        library().virConnectUnregisterCloseCallback(handle, _pointer(_ON_CLOSE))
        library().virConnectClose(handle)

    @contextmanager
    def _used(self) -> Iterator[int]:
        with self._lock:
            handle = self._handle
            if handle is None:
                raise TransientError("the connection to libvirtd has been closed")
            library().virConnectRef(handle)
        try:
            yield handle
        finally:
            library().virConnectClose(handle)

    def is_alive(self) -> bool:
        try:
            with self._used() as handle:
                return bool(library().virConnectIsAlive(handle) == 1)
        except TransientError:
            return False

    @contextmanager
    def _found(self, function: str, key: str) -> Iterator[int | None]:
        """A domain; None where there is none."""
        with self._used() as handle:
            pointer = getattr(library(), function)(handle, key.encode())
            if not pointer:
                obstacle = failure()
                if obstacle is not None:
                    raise obstacle
                yield None
                return
            try:
                yield pointer
            finally:
                library().virDomainFree(pointer)

    @contextmanager
    def _domain(self, uuid: str) -> Iterator[int]:
        """Raises RefusedError where there is none."""
        with self._found("virDomainLookupByUUIDString", uuid) as domain:
            if domain is None:
                raise RefusedError(f"libvirt has no domain {uuid}")
            yield domain

    def _do(self, uuid: str, function: str, *arguments: Any) -> None:
        with self._domain(uuid) as domain:
            check(getattr(library(), function)(domain, *arguments))

    # What there is

    def domains(self) -> list[str]:
        """The UUIDs of all, also of those that do not run."""
        array = POINTER(c_void_p)()
        with self._used() as handle:
            count = check(library().virConnectListAllDomains(handle, byref(array), 0))
        found = []
        for pointer in array[:count]:
            found.append(_uuid(pointer))
            library().virDomainFree(pointer)
        free(ctypes.cast(array, c_void_p).value)
        return found

    def uuid_of(self, name: str) -> str | None:
        """Of the domain of that name."""
        with self._found("virDomainLookupByName", name) as domain:
            return None if domain is None else _uuid(domain)

    def state(self, uuid: str) -> State | None:
        """None where it is not defined."""
        number, _ = self._state(uuid)
        return None if number is None else _STATES.get(number, "off")

    def has_switched_off(self, uuid: str) -> bool:
        """Whether it is off, and by its own doing; of one that was killed and of one that panicked libvirt says the
        same, crashed."""
        return self._state(uuid) == (_OFF, _BY_ITSELF)

    def _state(self, uuid: str) -> tuple[int | None, int]:
        """With the reason for it."""
        number, reason = c_int(), c_int()
        with self._found("virDomainLookupByUUIDString", uuid) as domain:
            if domain is None:
                return None, 0
            check(library().virDomainGetState(domain, byref(number), byref(reason), 0))
        return number.value, reason.value

    def xml(self, uuid: str) -> str | None:
        """As it runs now; None where it is not defined."""
        with self._found("virDomainLookupByUUIDString", uuid) as domain:
            if domain is None:
                return None
            pointer = library().virDomainGetXMLDesc(domain, 0)
            if not pointer:
                raise failure() or RefusedError("libvirt: it does not describe a domain")
            return taken(pointer)

    def monitor(self, uuid: str, command: str) -> str:
        """A command of QMP, and the answer, both JSON."""
        with self._domain(uuid) as domain:
            answer = c_void_p()
            check(qemu().virDomainQemuMonitorCommand(domain, command.encode(), byref(answer), 0))
            return taken(answer.value)

    # What is done

    def define(self, xml: str) -> None:
        """Also checked against libvirt's schema. Replaces what a domain of the same UUID and name is."""
        with self._used() as handle:
            domain = library().virDomainDefineXMLFlags(handle, xml.encode(), DEFINE_VALIDATE)
            if not domain:
                raise failure() or RefusedError("libvirt: it refused a domain")
            library().virDomainFree(domain)

    def create_paused(self, uuid: str) -> None:
        self._do(uuid, "virDomainCreateWithFlags", START_PAUSED)

    def suspend(self, uuid: str) -> None:
        self._do(uuid, "virDomainSuspend")

    def resume(self, uuid: str) -> None:
        self._do(uuid, "virDomainResume")

    def shutdown(self, uuid: str) -> None:
        self._do(uuid, "virDomainShutdown")

    def reset(self, uuid: str) -> None:
        self._do(uuid, "virDomainReset", 0)

    def destroy(self, uuid: str) -> None:
        self._do(uuid, "virDomainDestroy")

    def undefine(self, uuid: str) -> None:
        self._do(uuid, "virDomainUndefineFlags", 0)

    def attach(self, uuid: str, device: str) -> None:
        self._do(uuid, "virDomainAttachDeviceFlags", device.encode(), AFFECT_LIVE)

    def detach(self, uuid: str, device: str) -> None:
        """Returns when the guest has let go of it, or after 5 s."""
        self._do(uuid, "virDomainDetachDeviceFlags", device.encode(), AFFECT_LIVE)
