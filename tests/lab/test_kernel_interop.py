"""Our VXLAN and NVGRE beside the kernel's own `vxlan` and `gretap` devices, set up with `ip` as an operator would.

The other chassis is `tor`: a machine on the underlay with one port of the network on itself. Our side is Open vSwitch
with the kernel's datapath and, in a kernel from which that is kept away, with its own in userspace.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from datapath.spec import LAB_UNDERLAY
from tests.lab.conftest import Labs
from tests.lab.external import Machine, machine
from tests.lab.frames import carries, group, opened, received, token
from tests.lab.labs import Lab, run
from tests.lab.processes import eventually
from tests.lab.test_interop import (
    INTEROP,
    NODES,
    VNI,
    VTEP,
    VTEP_MAC,
    fdb,
    kernel_vtep,
    test_full_size,
    test_reach_both_ways,
    vtep,
)
from tests.machine.pace import PATIENCE

__all__ = ["test_full_size", "test_reach_both_ways"]

pytestmark = pytest.mark.machine

MODULES = ("vport_vxlan", "vport_gre", "vport_geneve", "openvswitch")
BLOCKED = Path("/run/modprobe.d/sdn-tests.conf")
INSIDE = {"vxlan": "vx0", "nvgre": "br0"}
"""The device that carries the server's addresses."""


@pytest.fixture(scope="module", params=["system", "netdev"])
def datapath(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which one our chassis have."""
    if request.param == "system":
        yield "system"
        return
    if not request.config.pluginmanager.hasplugin("machine-inside"):
        pytest.skip("only in a machine of its own is the kernel's module taken away")
    BLOCKED.parent.mkdir(exist_ok=True)
    BLOCKED.write_text("install openvswitch /bin/false\n")
    try:
        eventually(_unloaded, within=10 * PATIENCE)
        yield "netdev"
    finally:
        BLOCKED.unlink()


def _unloaded() -> bool:
    """The kernel takes a namespace down some time after its last process: until then its datapath holds the module."""
    return subprocess.run(["modprobe", "-r", *MODULES], check=False, capture_output=True).returncode == 0


@pytest.fixture(scope="module", params=["vxlan", "nvgre"])
def tunnel(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def interop(datapath: str, tunnel: str, shared_lab: Labs) -> Iterator[Lab]:
    made = shared_lab(INTEROP.replace("vxlan:", f"{tunnel}:"))
    assert {host.datapath_type for name, host in made.facts.hosts.items() if name != "tor"} == {datapath}
    yield made
    made.down()  # the next one may have another datapath


@pytest.fixture(scope="module")
def tor(interop: Lab, tunnel: str) -> Iterator[Machine]:
    with kernel_vtep(interop, "learning") if tunnel == "vxlan" else kernel_gre(interop) as made:
        if tunnel == "vxlan":
            for name in ("hv1", "hv2"):
                fdb(made, "append", "00:00:00:00:00:00", "dev", "vx0", "dst", vtep(interop, name))
        yield made


@contextmanager
def kernel_gre(lab: Lab) -> Iterator[Machine]:
    """A bridge with a gretap device for each chassis; its key is the VSID and a FlowID of 0 (RFC 7637 section 3.2).

    The chassis replicate to all themselves: what comes from one of them is not for the other (`isolated`).
    """
    with machine(lab, LAB_UNDERLAY, VTEP_MAC, [f"{VTEP}/24"]) as made:
        server = lab.port("server")
        made.ip("link", "add", "br0", "address", str(server.mac), "type", "bridge")
        for name in ("hv1", "hv2"):
            ends = ("remote", vtep(lab, name), "local", VTEP)
            made.ip("link", "add", f"gre-{name}", "type", "gretap", *ends, "key", str(VNI << 8))
            made.ip("link", "set", f"gre-{name}", "master", "br0", "up")
            run("bridge", "-n", made.namespace, "link", "set", "dev", f"gre-{name}", "isolated", "on")
        for address in server.addresses:
            made.ip("address", "add", str(address), "dev", "br0", *(["nodad"] if address.version == 6 else []))
        made.ip("link", "set", "br0", "up")
        yield made


def test_its_devices_are_the_kernels(interop: Lab, tor: Machine, tunnel: str) -> None:
    devices = tor.ip("-details", "link", "show")
    assert ("vxlan id 10010" if tunnel == "vxlan" else "gretap remote") in devices


def test_broadcast_reaches_it_once(interop: Lab, tor: Machine, tunnel: str) -> None:
    """As the bytes of the standard: RFC 7348 section 5, RFC 7637 section 3.2."""
    source, mark, end = interop.port("red1"), token(), token()
    with tor.capture(INSIDE[tunnel]) as inside, tor.capture() as wire:
        interop.send("red1", group(source, mark), group(source, end))
        inside.wait(received(end))
        assert [bytes(packet) for packet in inside.matching(carries(mark))] == [bytes(group(source, mark))]
        (outer,) = opened(wire.matching(carries(mark)))
        assert outer.id == VNI
        assert bytes(outer.frame) == bytes(group(source, mark))
        assert tunnel == "vxlan" or outer.entropy == 0


def test_its_broadcast_reaches_each_node_once(interop: Lab, tor: Machine, tunnel: str) -> None:
    server, mark, end = interop.port("server"), token(), token()
    with interop.capture_all(*NODES, "pink1", "pink2") as nodes:
        for payload in (mark, end):
            tor.send(group(server, payload), device=INSIDE[tunnel])
        for node in nodes[:2]:
            node.wait(received(end))
        assert [len(node.matching(received(mark))) for node in nodes] == [1, 1, 0, 0]
