"""The inside of the built-in guest, in a QEMU of the test's own: its network, console, agent, power, and what is in it.

Under TCG a boot takes two seconds of a core.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_interface
from pathlib import Path

import pytest

from datapath import probe
from datapath.errors import RefusedError, TransientError
from datapath.guest import builtin, qga
from datapath.guest.qemu import command
from datapath.linux import taps
from datapath.probe import Probe
from datapath.spec import Interface, Vlan
from tests.lab.booted import MIB, Booted, interface
from tests.lab.capture import Capture, send

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

HOST: dict[str, tuple[str, ...]] = {"eth0": ("10.9.0.1/24", "fd09::1/64")}


def shell(guest: Booted, script: str) -> str:
    done = qga.execute(guest.agent, ["sh", "-c", script], timeout=60)
    assert done.code == 0, done
    return done.out.decode()


def addresses(guest: Booted, name: str) -> set[str]:
    found = {each.name: each.addresses for each in qga.interfaces(guest.agent)}
    return {str(address) for address in found[name] if not address.ip.is_link_local}


def settle(guest: Booted, *interfaces: Interface) -> None:
    wish = builtin.configuration(replace(guest.guest, interfaces=interfaces))
    done = qga.execute(guest.agent, ["/sbin/sdn-net"], wish)
    assert (done.code, done.err) == (0, b"")


@pytest.fixture(scope="module")
def guest() -> Iterator[Booted]:
    """Two interfaces; the first is a trunk with a tagged network."""
    vlan = Vlan(20, 1400, (ip_interface("10.20.0.2/24"), ip_interface("fd20::2/64")))
    trunk = interface(0, "10.9.0.2/24", "fd09::2/64", gateway="10.9.0.254/24", vlans=(vlan,))
    with Booted(trunk, interface(1, "10.8.0.2/24", mtu=1300), host={**HOST, "eth1": ("10.8.0.1/24",)}) as made:
        made.await_ping("10.9.0.2")
        yield made


class TestNetwork:
    @pytest.mark.parametrize("address", ["10.9.0.2", "fd09::2", "10.8.0.2"])
    def test_it_answers(self, guest: Booted, address: str) -> None:
        guest.await_ping(address, 60)

    def test_it_answers_tagged_where_it_is_asked_tagged(self, guest: Booted) -> None:
        from scapy.layers.l2 import ARP, Dot1Q, Ether

        question = ARP(hwsrc="52:54:00:00:00:99", psrc="10.20.0.1", pdst="10.20.0.2")
        asked = Ether(src="52:54:00:00:00:99", dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=20) / question
        wire = Capture(guest.namespace, "tap0")
        try:
            send(guest.namespace, "tap0", [asked])
            (answer, *_) = wire.wait(lambda frame: ARP in frame and frame[ARP].op == 2)
        finally:
            wire.close()
        assert answer[Dot1Q].vlan == 20
        assert answer[ARP].psrc == "10.20.0.2"

    def test_its_interfaces_are_named_by_their_macs(self, guest: Booted) -> None:
        macs = {each.name: each.mac for each in qga.interfaces(guest.agent)}
        assert {name: macs[name] for name in ("eth0", "eth1")} == {i.name: i.mac for i in guest.guest.interfaces}

    def test_addresses_mtus_and_gateway_are_as_told(self, guest: Booted) -> None:
        assert addresses(guest, "eth0") == {"10.9.0.2/24", "fd09::2/64"}
        assert addresses(guest, "eth0.20") == {"10.20.0.2/24", "fd20::2/64"}
        mtus = shell(guest, "cat /sys/class/net/eth0/mtu /sys/class/net/eth1/mtu /sys/class/net/eth0.20/mtu")
        assert mtus.split() == ["1450", "1300", "1400"]
        assert "default via 10.9.0.254 dev eth0" in shell(guest, "ip route")

    def test_its_name_is_its_hosts_name(self, guest: Booted) -> None:
        assert shell(guest, "hostname").strip() == "g1"
        assert "1 packets received" in shell(guest, "ping -c 1 g1")

    def test_other_settings_change_only_what_differs(self, guest: Booted) -> None:
        before = guest.guest
        eth0, eth1 = before.interfaces
        other = replace(eth1, addresses=(ip_interface("10.8.0.3/24"),), mtu=1280, vlans=())
        shell(guest, "ip address add 10.9.0.77/24 dev eth0")
        try:
            for wish in (replace(before, interfaces=(eth0, other)), before):
                done = qga.execute(guest.agent, ["/sbin/sdn-net"], builtin.configuration(wish))
                assert done.code == 0, done
                assert addresses(guest, "eth1") == {str(each) for each in wish.interfaces[1].addresses}
            assert "10.9.0.77/24" in addresses(guest, "eth0"), "eth0 was not to be touched"
        finally:
            shell(guest, "ip address del 10.9.0.77/24 dev eth0")

    def test_a_tag_that_comes_or_goes_leaves_the_other_ones(self, guest: Booted) -> None:
        trunk, other = guest.guest.interfaces
        (kept,) = trunk.vlans
        more = Vlan(2, 1300, (ip_interface("10.2.0.2/24"),))
        index = shell(guest, "cat /sys/class/net/eth0.20/ifindex")
        settle(guest, replace(trunk, vlans=(more, kept)), other)
        assert addresses(guest, "eth0.2") == {"10.2.0.2/24"}
        moved = replace(kept, addresses=(ip_interface("10.20.0.3/24"), kept.addresses[1]), mtu=1390)
        settle(guest, replace(trunk, vlans=(more, moved)), other)
        assert addresses(guest, "eth0.20") == {"10.20.0.3/24", "fd20::2/64"}
        assert shell(guest, "cat /sys/class/net/eth0.20/mtu").strip() == "1390"
        settle(guest, trunk, other)
        assert addresses(guest, "eth0.20") == {"10.20.0.2/24", "fd20::2/64"}
        assert shell(guest, "cat /sys/class/net/eth0.20/ifindex") == index
        assert "eth0.2\n" not in shell(guest, "ls -1 /sys/class/net")

    def test_addresses_and_gateway_change_by_what_differs(self, guest: Booted) -> None:
        trunk, other = guest.guest.interfaces
        first, second = trunk.addresses
        one_more = ip_interface("10.9.0.3/24")
        shell(guest, "ip address add 10.9.0.77/24 dev eth0; ip route add 10.99.0.0/24 via 10.9.0.1")
        try:
            for wished in ((first, second, one_more), (one_more,), (one_more, second), (first, second)):
                settle(guest, replace(trunk, addresses=wished), other)
                expected = {str(each) for each in wished} | {"10.9.0.77/24"}
                assert addresses(guest, "eth0") == expected, "what somebody in the guest has added stays"
                assert shell(guest, "ip route | grep -c '^default'").strip() == "1"
                assert "10.99.0.0/24 via 10.9.0.1" in shell(guest, "ip route")
            settle(guest, replace(trunk, gateway=IPv4Address("10.9.0.253")), other)
            assert "default via 10.9.0.253 dev eth0" in shell(guest, "ip route")
            settle(guest, replace(trunk, gateway=None), other)
            assert "default" not in shell(guest, "ip route")
        finally:
            shell(guest, "ip address del 10.9.0.77/24 dev eth0; ip route del 10.99.0.0/24")
            settle(guest, trunk, other)
        assert "default via 10.9.0.254 dev eth0" in shell(guest, "ip route")

    def test_its_link_local_addresses_stay(self, guest: Booted) -> None:
        trunk, other = guest.guest.interfaces
        local = "fe80::5054:ff:fe00:10/64"
        try:
            settle(guest, replace(trunk, mtu=1400, addresses=(ip_interface("10.9.0.9/24"),), vlans=()), other)
            assert local in shell(guest, "ip -6 address show dev eth0")
            assert "fe80::/64 dev eth0" in shell(guest, "ip -6 route")
        finally:
            settle(guest, trunk, other)
        assert local in shell(guest, "ip -6 address show dev eth0")

    def test_settings_that_failed_are_tried_again(self, guest: Booted) -> None:
        """By what they had come to: the kernel has no VLAN 4095, but the address before it is there."""
        trunk, other = guest.guest.interfaces
        wrong = replace(trunk, addresses=(*trunk.addresses, ip_interface("10.9.0.5/24")))
        wish = replace(guest.guest, interfaces=(replace(wrong, vlans=(*trunk.vlans, Vlan(4095, 1400, ()))), other))
        index = shell(guest, "cat /sys/class/net/eth0.20/ifindex")
        for _ in range(2):
            assert qga.execute(guest.agent, ["/sbin/sdn-net"], builtin.configuration(wish)).code == 1
        settle(guest, trunk, other)
        assert addresses(guest, "eth0") == {"10.9.0.2/24", "fd09::2/64"}
        assert shell(guest, "cat /sys/class/net/eth0.20/ifindex") == index

    def test_dhcp_comes_and_goes(self, guest: Booted) -> None:
        trunk, other = guest.guest.interfaces
        settle(guest, trunk, replace(other, dhcp=True))
        client = shell(guest, "cat /run/sdn-net/eth1.dhcp")
        settle(guest, trunk, replace(other, dhcp=True, mtu=1290))
        assert shell(guest, "cat /run/sdn-net/eth1.dhcp") == client, "it has nothing to do with the MTU"
        settle(guest, trunk, other)
        assert addresses(guest, "eth1") == {"10.8.0.2/24"}
        assert "udhcpc" not in shell(guest, "ps | grep -v grep")

    def test_an_interface_that_is_not_there_is_told(self, guest: Booted) -> None:
        wish = replace(guest.guest, interfaces=(*guest.guest.interfaces, interface(7, "10.7.0.2/24")))
        done = qga.execute(guest.agent, ["/sbin/sdn-net"], builtin.configuration(wish))
        assert done.code == 1
        assert b"eth7: no device has the address 52:54:00:00:00:17" in done.err

    def test_iperf3_measures(self, guest: Booted) -> None:
        server = guest.begin("iperf3", "--server", "--one-off")
        try:
            said = shell(guest, "until iperf3 -c 10.9.0.1 -t 2 --json; do usleep 100000; done")
        finally:
            server.kill()
            server.wait()
        bits = json.loads(said[said.rindex('{\n\t"start"') :])["end"]["sum_received"]["bits_per_second"]
        print(f"iperf3 out of the guest: {bits / 1e6:.0f} Mbit/s")
        assert bits > 50e6


class TestAgent:
    def test_a_command_has_input_output_and_an_exit_code(self, guest: Booted) -> None:
        done = qga.execute(guest.agent, ["sh", "-c", "cat; echo no >&2; exit 3"], b"yes\n")
        assert (done.code, done.out, done.err) == (3, b"yes\n", b"no\n")

    def test_a_signal_is_told_as_shells_do(self, guest: Booted) -> None:
        assert qga.execute(guest.agent, ["sh", "-c", "kill -9 $$"]).code == 137

    def test_what_is_not_there_is_refused_with_the_reason(self, guest: Booted) -> None:
        with pytest.raises(RefusedError, match="No such file"):
            qga.execute(guest.agent, ["nonesuch"])

    def test_much_output_comes_whole(self, guest: Booted) -> None:
        assert len(qga.execute(guest.agent, ["seq", "100000"]).out.splitlines()) == 100_000

    def test_another_client_is_served_while_a_command_runs(self, guest: Booted) -> None:
        """It lasts until somebody writes into a pipe."""
        reading, other = qga.Agent(guest.agent), qga.Agent(guest.agent)
        shell(guest, "mkfifo /tmp/turn")

        async def both() -> float:
            begun = asyncio.Event()
            task = asyncio.create_task(reading.run(["cat", "/tmp/turn"], on_begin=lambda _: begun.set()))
            await begun.wait()
            began = time.monotonic()
            assert (await other.run(["echo", "here"])).out == b"here\n"
            took = time.monotonic() - began
            assert not task.done()
            await other.run(["sh", "-c", "echo go >/tmp/turn"])
            assert (await task).out == b"go\n"
            return took

        assert asyncio.run(both()) < 3

    def test_one_that_lasts_too_long_is_left(self, guest: Booted) -> None:
        with pytest.raises(TransientError, match="not ended"):
            qga.execute(guest.agent, ["sleep", "3"], timeout=0.5)


class TestProbes:
    """`sdn test`, with the guest at either end."""

    @pytest.mark.parametrize("kind", ["ping", "tcp", "udp"])
    def test_from_and_to_the_guest(self, guest: Booted, kind: probe.Kind) -> None:
        pairs = (("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2"))
        wanted = []
        for host, inside in ((ip_address(a), ip_address(b)) for a, b in pairs):
            wanted.append(Probe(guest.namespace, host, None, inside, kind, 7001, within=20, target_guest=guest.agent))
            wanted.append(Probe("", inside, guest.namespace, host, kind, 7002, within=20, source_guest=guest.agent))
        assert [(o.passed, o.detail) for o in probe.run(wanted)] == [(True, "")] * 4
        assert "perl -\n" not in shell(guest, "ps"), "what listened has gone"

    def test_what_is_denied_is_proven(self, guest: Booted) -> None:
        here, agent = ip_address("10.9.0.2"), guest.agent
        outcomes = probe.run(
            [
                Probe("", here, None, ip_address("10.9.0.99"), "ping", expect="fail", source_guest=agent),
                Probe("", here, None, ip_address("10.9.0.1"), "tcp", 9, expect="fail", source_guest=agent),
                Probe("", here, None, ip_address("10.9.0.1"), "ping", expect="fail", within=1, source_guest=agent),
                Probe("", ip_address("10.9.0.55"), None, ip_address("10.9.0.1"), within=1, source_guest=agent),
            ]
        )
        assert [(o.passed, o.detail) for o in outcomes] == [
            (True, "no answer"),
            (True, "connection refused"),
            (False, "was answered"),
            (False, "the sender does not have the address 10.9.0.55"),
        ]

    def test_a_guest_without_an_agent_is_said_to_have_none(self, guest: Booted) -> None:
        nobody = guest.directory / "nobody" / "agent.sock"
        (outcome,) = probe.run(
            [Probe("", ip_address("10.9.0.2"), None, ip_address("10.9.0.1"), within=0.5, source_guest=nobody)]
        )
        assert not outcome.passed
        assert "guest nobody does not run" in outcome.detail


class TestMemory:
    def test_it_is_written_and_checked(self, guest: Booted) -> None:
        shell(guest, "sdn-memory start 20000")
        try:
            first, second = (shell(guest, "sdn-memory check") for _ in range(2))
            assert int(first.split()[1]) < int(second.split()[1])
        finally:
            shell(guest, "sdn-memory stop")
        assert qga.execute(guest.agent, ["sdn-memory", "check"]).code == 1


class TestConsole:
    def test_it_has_a_shell_with_job_control_which_comes_again(self, guest: Booted) -> None:
        with guest.serial() as line:
            heard = b""

            def until(wanted: bytes) -> None:
                nonlocal heard
                while wanted not in heard:
                    heard += line.recv(4096)
                heard = heard[heard.index(wanted) + len(wanted) :]

            line.sendall(b"\n")
            until(b"g1:~# ")
            line.sendall(b"sh -c 'echo be\"\"gun; exec sleep 100'\n")  # what is typed does not say begun
            until(b"begun")
            line.sendall(b"\x1a")
            until(b"Stopped")
            line.sendall(b"exit; exit\n")
            until(b"built-in shell")


def test_a_nic_that_is_plugged_gets_its_settings(guest: Booted) -> None:
    """As the agent on the host does it: tap, device, then sdn-net with all that is wished now."""
    extra = interface(2, "10.7.0.2/24")
    guest.tap(extra, "10.7.0.1/24")
    (queue,) = taps.open_queues(guest.namespace, extra.bridge_port, 1, True)
    guest.hand_over("queue", queue)
    guest.qmp("netdev_add", **command.netdev(extra, ["queue"], False))
    guest.qmp("device_add", **command.nic(extra, 2, 1))
    wish = replace(guest.guest, interfaces=(*guest.guest.interfaces, extra))
    began = time.monotonic()
    done = qga.execute(guest.agent, ["/sbin/sdn-net"], builtin.configuration(wish))
    assert done.code == 0, done
    guest.await_ping("10.7.0.2", 120)
    print(f"plugged and reachable after {time.monotonic() - began:.2f} s")
    guest.qmp("device_del", id=command.nic_id(extra.name))
    guest.await_event("DEVICE_DELETED")
    assert "eth2" not in shell(guest, "ls /sys/class/net")


def test_a_volume_is_found_by_its_name(tmp_path: Path) -> None:
    """As the agent on the host plugs it; when it goes its link goes, and after a start it is there too."""
    image = tmp_path / "data1"
    partition = bytes.fromhex("00 000000 83 000000") + (1).to_bytes(4, "little") + (100).to_bytes(4, "little")
    image.write_bytes((bytes(446) + partition + bytes(48) + b"\x55\xaa").ljust(MIB, b"\0"))
    disk = command.Disk("data1", image, "raw")
    link = "/dev/disk/by-id/virtio-data1"
    with Booted(interface(0, "10.9.0.2/24"), host=HOST) as guest:
        guest.await_ping("10.9.0.2")
        shell(guest, "true")
        guest.qmp("blockdev-add", **command.blockdev(disk, "node0"))
        for start in ("plugged", "again"):
            guest.qmp("device_add", **{**command.disk(disk, 0), "drive": "node0"})
            shell(guest, f"until [ -b {link} ]; do usleep 20000; done; [ $(readlink {link}) = ../../vda ]")
            shell(guest, f"until [ -b {link}-part1 ]; do usleep 20000; done")
            if start == "plugged":
                guest.qmp("device_del", id=command.disk_id("data1"))
                guest.await_event("DEVICE_DELETED")
                shell(guest, f"while [ -L {link} ] || [ -L {link}-part1 ]; do usleep 20000; done")
        qga.shutdown(guest.agent, "reboot")
        guest.await_event("RESET")
        guest.await_ping("10.9.0.2", 60)
        shell(guest, f"until [ -b {link} ]; do usleep 20000; done")


def test_dhcp_gives_addresses_routes_and_names(tmp_path: Path) -> None:
    leases = tmp_path / "leases"
    leases.touch()
    settings = tmp_path / "udhcpd.conf"
    options = "option subnet 255.255.255.0\noption router 10.9.0.1\noption dns 10.9.0.53\noption domain lab\n"
    settings.write_text(
        f"start 10.9.0.50\nend 10.9.0.60\ninterface tap0\nlease_file {leases}\npidfile {tmp_path}/pid\n{options}"
    )
    with Booted(interface(0, dhcp=True), host=HOST) as guest:
        server = guest.begin("busybox", "udhcpd", "-f", str(settings))
        try:
            until = time.monotonic() + 30
            while not (given := {a for a in addresses(guest, "eth0") if a.startswith("10.9.0.")}):
                assert time.monotonic() < until, guest.console
            (address,) = given
            guest.await_ping(address.partition("/")[0], 60)
            assert "default via 10.9.0.1" in shell(guest, "ip route")
            assert shell(guest, "cat /etc/resolv.conf").split() == ["nameserver", "10.9.0.53", "search", "lab"]
        finally:
            server.kill()
            server.wait()


def test_it_boots_reboots_and_goes_off() -> None:
    with Booted(interface(0, "10.9.0.2/24"), host=HOST) as guest:
        seconds = guest.await_ping("10.9.0.2")
        assert guest.process is not None
        resident = Path(f"/proc/{guest.process.pid}/status").read_text().split("VmRSS:")[1].split("kB")[0]
        print(f"first ping after {seconds:.2f} s, QEMU has {int(resident) // 1024} MiB")
        qga.execute(guest.agent, ["touch", "/run/before"])
        qga.shutdown(guest.agent, "reboot")
        guest.await_event("RESET")
        guest.await_ping("10.9.0.2", 60)
        assert qga.execute(guest.agent, ["ls", "/run/before"]).code == 1
        guest.qmp("system_powerdown")
        guest.await_event("SHUTDOWN")
        with pytest.raises(TransientError):
            qga.execute(guest.agent, ["true"])


def test_it_boots_with_little_memory() -> None:
    with Booted(interface(0, "10.9.0.2/24"), host=HOST, memory=112 * MIB) as guest:
        guest.await_ping("10.9.0.2")
        assert qga.execute(guest.agent, ["true"]).code == 0


def test_it_goes_off_as_told_at_its_console() -> None:
    with Booted(interface(0, "10.9.0.2/24"), host=HOST) as guest:
        guest.await_ping("10.9.0.2")
        with guest.serial() as line:
            line.sendall(b"poweroff\n")
            guest.await_event("SHUTDOWN")
