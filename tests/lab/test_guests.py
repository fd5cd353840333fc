"""Labs with real guests, under TCG where KVM does not run them: what the issue promises, on both datapaths.

The guest is the built-in one, with Debian's kernel; what is asked of its inside goes through its guest agent.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import sdn.lab
from datapath.errors import SdnError
from datapath.spec import device_name
from sdn.store import Store
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.processes import FORKED, PAIR, SUPERVISED, await_end, daemon, eventually, kill, pid_of, stopped
from tests.machine.pace import PATIENCE

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

DATAPATHS = ("ovs", "linux")


def topology(datapath: str, **guests: dict[str, Any]) -> dict[str, Any]:
    """Two chassis, a VXLAN and an NVGRE network, a node. The kernel here has no GRE for the Linux datapath."""
    other = {"nvgre": 5000} if datapath == "ovs" else {"vxlan": 101}
    return {
        "chassis": {"hv[1-2]": {"datapath": datapath}},
        "networks": {
            "web": {"segment": {"vxlan": 100}, "subnets": ["10.50.0.0/24", "fd00:50::/64"]},
            "db": {"segment": other, "subnet": "10.51.0.0/24", "mtu": 1450},
        },
        "nodes": {"n1": {"chassis": "hv1", "network": "web"}},
        "guests": guests,
    }


def address(lab: Lab, port: str, version: int = 4) -> str:
    return next(str(ip) for ip in lab.model.ports[port].ips if ip.version == version)


def expect_ping(lab: Lab, source: str, target: str, *options: str) -> str:
    """From within a guest, three times at the most; raises where there is no answer."""
    thrice = 'for _ in 1 2 3; do ping -c 1 -W 3 "$@" && exit; done; exit 1'
    return lab.execute(source, "sh", "-c", thrice, "ping", *options, target)


def pid(lab: Lab, guest: str) -> int:
    return lab.facts.guests[guest].pid


def phase(lab: Lab, guest: str) -> str:
    return lab.facts.guests[guest].phase


@pytest.fixture(scope="module", params=DATAPATHS)
def pair(request: pytest.FixtureRequest, shared_lab: Labs) -> Lab:
    nics = [{"network": "web"}, {"network": "db"}]
    each = {f"g{number}": {"chassis": f"hv{number}", "nics": nics} for number in (1, 2)}
    return shared_lab(topology(request.param, **each))


class TestTwoGuests:
    @pytest.mark.parametrize("interface", ["eth0", "eth1"])
    def test_they_ping_each_other(self, pair: Lab, interface: str) -> None:
        expect_ping(pair, "g1", address(pair, f"g2:{interface}"))
        expect_ping(pair, "g2", address(pair, f"g1:{interface}"))

    def test_they_speak_ipv6(self, pair: Lab) -> None:
        expect_ping(pair, "g1", address(pair, "g2:eth0", 6))

    @pytest.mark.parametrize("interface", ["eth0", "eth1"])
    def test_tcp_gets_through_the_tunnel(self, pair: Lab, interface: str) -> None:
        """Full segments with checksums and all, which a userspace datapath would not complete for a guest."""
        pair.execute("g2", "iperf3", "--server", "--daemon", "--one-off")
        said = pair.execute("g1", "iperf3", "--client", address(pair, f"g2:{interface}"), "--time", "2", "--json")
        assert json.loads(said)["end"]["sum_received"]["bits_per_second"] > 1e6

    def test_a_node_and_a_guest_reach_each_other(self, pair: Lab) -> None:
        pair.ping("n1", "g2")
        expect_ping(pair, "g2", address(pair, "n1:eth0"))

    def test_it_cannot_pretend_to_be_another(self, pair: Lab) -> None:
        pair.execute("g1", "ip", "address", "add", "10.50.0.250/24", "dev", "eth0")
        with pytest.raises(subprocess.CalledProcessError):
            expect_ping(pair, "g1", address(pair, "g2:eth0"), "-I", "10.50.0.250", "-W", "2")
        pair.execute("g1", "ip", "address", "del", "10.50.0.250/24", "dev", "eth0")

    def test_it_has_the_mtu_of_its_network(self, pair: Lab) -> None:
        mtus = {name: pair.execute("g1", "cat", f"/sys/class/net/{name}/mtu").strip() for name in ("eth0", "eth1")}
        assert mtus == {"eth0": str(pair.model.networks["web"].mtu), "eth1": str(pair.model.networks["db"].mtu)}

    @pytest.mark.parametrize("pair", ["ovs"], indirect=True)
    def test_the_switch_says_whose_port_it_is(self, pair: Lab) -> None:
        """The four keys of libvirt's, by which others know a machine's port."""
        port = device_name("p", "g1", "eth0")
        keys = ("iface-id", "attached-mac", "vm-id", "iface-status")
        found = {key: pair.vsctl("hv1", "get", "interface", port, f"external_ids:{key}").strip('"\n') for key in keys}
        assert found["iface-id"] == "g1:eth0"
        assert found["attached-mac"] == str(pair.model.ports["g1:eth0"].mac)
        assert found["iface-status"] == "active"
        assert found["vm-id"] in _command(pid(pair, "g1"))


def _command(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_a_trunk_guest_sees_its_tags(lab: Labs, datapath: str) -> None:
    wish = topology(
        datapath,
        fw={"chassis": "hv1", "nics": [{"trunk": {"native": "web", 20: "db"}}]},
        g2={"chassis": "hv2", "network": "db"},
    )
    running = lab(wish)
    expect_ping(running, "fw", address(running, "g2:eth0"))
    expect_ping(running, "fw", address(running, "n1:eth0"))
    assert "VID: 20" in running.execute("fw", "cat", "/proc/net/vlan/eth0.20")
    with running.listen("hv1", device_name("p", "fw", "eth0")) as wire:
        expect_ping(running, "fw", address(running, "g2:eth0"))
        assert wire.wait(lambda frame: frame.haslayer("Dot1Q") and frame["Dot1Q"].vlan == 20, count=2)


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_a_nic_is_plugged_and_unplugged_while_the_guest_runs(lab: Labs, datapath: str) -> None:
    one = topology(datapath, g1={"chassis": "hv2", "nics": [{"network": "web"}]})
    two = topology(datapath, g1={"chassis": "hv2", "nics": [{"network": "web"}, {"network": "db"}]})
    for wish in (one, two):
        wish["nodes"]["n2"] = {"chassis": "hv1", "network": "db"}
    running = lab(one)
    before = pid(running, "g1")
    running.apply(two)
    running.ping("n2", "g1")
    running.apply(one)
    assert "eth1" not in running.execute("g1", "ls", "/sys/class/net")
    running.apply(two)
    running.ping("n2", "g1")
    assert pid(running, "g1") == before


def _index(lab: Lab, tap: str) -> int:
    """0 while there is none."""
    links = json.loads(lab.execute("hv2", "ip", "-j", "link"))
    return next((int(link["ifindex"]) for link in links if link["ifname"] == tap), 0)


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_a_guest_whose_tap_somebody_deletes_gets_another(lab: Labs, datapath: str) -> None:
    """Nobody asks for it; what QEMU has of the old one leads nowhere, so its port is down until it has the new one."""
    running = lab(topology(datapath, g1={"chassis": "hv2", "network": "web"}))
    before, tap = pid(running, "g1"), device_name("p", "g1", "eth0")
    for _ in range(2):
        old = _index(running, tap)
        running.execute("hv2", "ip", "link", "delete", tap)
        eventually(lambda: _index(running, tap) not in (0, old), 10 * PATIENCE)  # noqa: B023
        eventually(lambda: running.facts.ports["g1:eth0"].up, 20 * PATIENCE)
        expect_ping(running, "g1", address(running, "n1:eth0"))
        running.ping("n1", "g1")
    assert pid(running, "g1") == before
    assert running.facts.guests["g1"].restarts == 0


def test_a_killed_guest_is_started_again_and_says_why(lab: Labs) -> None:
    running = lab(topology("ovs", g1={"chassis": "hv1", "network": "web"}))
    before = pid(running, "g1")
    kill(before)
    eventually(lambda: pid(running, "g1") not in (0, before) and phase(running, "g1") == "running")
    assert running.facts.guests["g1"].restarts == 1
    running.ping("n1", "g1")


def test_probes_to_a_guest_that_is_just_coming_back_pass_when_it_is_there(lab: Labs) -> None:
    running = lab(topology("ovs", g1={"chassis": "hv1", "network": "web"}))
    kill(pid(running, "g1"))
    for kind, port in (("tcp", 8080), ("udp", 5353)):
        outcomes = running.probe("n1", "g1", kind, port, within=20.0 * PATIENCE)  # type: ignore[arg-type]
        assert [(each.passed, each.detail) for each in outcomes] == 2 * [(True, "")]


def test_a_guest_that_is_not_to_restart_stays_dead_with_its_last_words(lab: Labs) -> None:
    running = lab(topology("ovs", g1={"chassis": "hv1", "network": "web", "restart": "never"}))
    running.execute("g1", "sh", "-c", "echo famous last words > /dev/ttyS0")
    kill(pid(running, "g1"))
    eventually(lambda: phase(running, "g1") == "failed")
    assert "famous last words" in running.facts.guests["g1"].error


def test_a_guest_whose_chassis_is_made_anew_gets_another_tap(lab: Labs) -> None:
    """Another kind of switch has another namespace, where indexes begin anew: its tap has the index of the old one."""
    wish = topology("ovs", g1={"chassis": "hv2", "network": "web"}) | {"networks": {}}
    wish["networks"]["web"] = {"segment": {"vxlan": 100}, "subnet": "10.50.0.0/24"}
    more = {f"m{number}": {"chassis": "hv2", "network": "web"} for number in range(2)}
    running = lab(wish | {"nodes": wish["nodes"] | more})
    before, tap = pid(running, "g1"), device_name("p", "g1", "eth0")
    old = _index(running, tap)
    running.apply(wish | {"chassis": {"hv1": {"datapath": "ovs"}, "hv2": {"datapath": "linux"}}})
    assert _index(running, tap) == old, "else this is no test of that"
    assert pid(running, "g1") == before
    running.ping("n1", "g1")


def test_a_kernel_that_panics_is_a_death(lab: Labs) -> None:
    wish = topology(
        "ovs",
        g1={"chassis": "hv1", "network": "web", "restart": "on-failure"},
        g2={"chassis": "hv2", "network": "web", "restart": "never"},
    )
    running = lab(wish)
    before = pid(running, "g1")
    for name in ("g1", "g2"):
        with suppress(subprocess.CalledProcessError, SdnError):  # nobody is left to answer
            running.execute(name, "sh", "-c", "echo c > /proc/sysrq-trigger &")
    eventually(lambda: running.facts.guests["g1"].restarts == 1 and running.facts.guests["g1"].answers, 20 * PATIENCE)
    eventually(lambda: phase(running, "g2") == "failed")
    again, rests = running.facts.guests["g1"], running.facts.guests["g2"]
    assert (again.phase, again.pid != before, again.error) == ("running", True, "")
    assert again.note == "started again: it died: its kernel panicked"
    assert rests.restarts == 0
    assert rests.error.splitlines()[0] == "it died: its kernel panicked"
    assert rests.error.endswith("Kernel panic - not syncing: sysrq triggered crash")
    running.ping("n1", "g1")


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_guests_go_on_without_the_agent_and_are_adopted(lab: Labs, datapath: str) -> None:
    running = lab(topology(datapath, g1={"chassis": "hv2", "network": "web"}))
    before, agent = pid(running, "g1"), pid_of(running, "agent")
    running.execute("g1", "touch", "/tmp/still-here")
    kill(agent)
    running.ping("n1", "g1")
    eventually(lambda: pid_of(running, "agent") != agent)
    running.apply(topology(datapath, g1={"chassis": "hv2", "nics": [{"network": "web"}, {"network": "db"}]}))
    assert pid(running, "g1") == before
    running.execute("g1", "ls", "/tmp/still-here")
    assert "eth1" in running.execute("g1", "ls", "/sys/class/net")


async def _ups(lab: Lab, port: str, damage: Callable[[], object]) -> set[bool]:
    """What the store says of a port, as long as something is done."""
    store = Store.open(lab.run.store_socket)
    try:
        updates, told = store.watch(asyncio.get_running_loop()), set()
        doing = asyncio.create_task(asyncio.to_thread(damage))
        while not doing.done() or not updates.empty():
            with suppress(TimeoutError):
                told.add((await asyncio.wait_for(updates.get(), 0.5)).facts.ports[port].up)
        await doing
        return told
    finally:
        store.close()


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_a_port_stays_up_while_the_agent_is_another(lab: Labs, datapath: str) -> None:
    wish = topology(datapath, g1={"chassis": "hv2", "network": "web"})
    running = lab(wish)

    def restart() -> None:
        agent = kill(pid_of(running, "agent"))
        eventually(lambda: pid_of(running, "agent") not in (0, agent))
        running.up(wish)
        running.up({**wish, "nodes": {**wish["nodes"], "n2": {"chassis": "hv2", "network": "web"}}})

    assert asyncio.run(_ups(running, "g1:eth0", restart)) == {True}
    guest = pid(running, "g1")
    with stopped(pid_of(running, "supervisor")):  # one that ended meanwhile is told of
        kill(pid_of(running, "agent"), guest)
    eventually(lambda: not running.facts.ports["g1:eth0"].up)


@pytest.mark.parametrize(("datapath", "driver"), [("ovs", "qemu"), ("linux", "qemu"), ("ovs", "libvirt")])
def test_up_completes_a_lab_of_which_everything_was_killed(lab: Labs, datapath: str, driver: str) -> None:
    """It returns when the guests run again, and answer."""
    each = {"network": "web", "driver": driver}
    wish = topology(datapath, g1={"chassis": "hv1", **each}, g2={"chassis": "hv2", **each})
    running = lab(wish)
    guests = [pid(running, name) for name in ("g1", "g2")]
    switches = [daemon(running, chassis, name) for chassis in ("hv1", "hv2") for name in PAIR if datapath == "ovs"]
    kill(*(pid_of(running, name) for name in ("supervisor", *SUPERVISED)), *switches, *guests)
    running.up(wish)
    assert sdn.lab.status(running.name).troubles == ()
    for name in ("g1", "g2"):
        assert running.facts.guests[name].note == "started again: it died: while nobody watched"
        running.ping("n1", name)
    expect_ping(running, "g1", address(running, "g2:eth0"))


def test_down_leaves_nothing_though_everything_was_killed(lab: Labs) -> None:
    running = lab(topology("ovs", g1={"chassis": "hv1", "network": "web"}, g2={"chassis": "hv2", "network": "web"}))
    guests = [pid(running, name) for name in ("g1", "g2")]
    kill(*(pid_of(running, name) for name in ("supervisor", *FORKED)))
    running.down()
    assert running.leftovers() == []
    for guest in guests:
        await_end(guest)


def test_power_is_a_wish(lab: Labs) -> None:
    def wish(power: str) -> dict[str, Any]:
        return topology("ovs", g1={"chassis": "hv1", "network": "web", "power": power})

    running = lab(wish("off"))
    assert (phase(running, "g1"), pid(running, "g1")) == ("off", 0)
    running.apply(wish("on"))
    running.ping("n1", "g1")
    running.apply(wish("paused"))
    assert phase(running, "g1") == "paused"
    running.ping("n1", "g1", expect="fail")
    running.apply(wish("on"))
    running.ping("n1", "g1")
    running.apply(wish("off"))
    assert (phase(running, "g1"), pid(running, "g1")) == ("off", 0)
