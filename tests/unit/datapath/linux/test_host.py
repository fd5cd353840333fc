"""What is known of devices, beyond what the kernel says of each."""

from __future__ import annotations

from datapath.linux.devices import Devices
from datapath.linux.host import Namespace
from tests.unit.datapath.linux.test_devices import link


def namespace(cookie: int) -> Namespace:
    """Without its Channel."""
    found = Namespace.__new__(Namespace)
    found.devices, found._cookie = Devices(), cookie
    found.devices.fold(link("tap", 5))
    return found


def test_a_device_is_not_its_like_in_another_namespace() -> None:
    assert namespace(1).identity("tap") == namespace(1).identity("tap") != namespace(2).identity("tap")
    assert namespace(1).identity("gone") == 0
    assert namespace(0).identity("tap") == 5, "of a kernel without cookies"
