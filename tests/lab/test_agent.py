"""The agent with real namespaces, veths and switches: from nothing, changed, killed, and gone again."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from pathlib import Path

import pytest

from datapath.addr import Mac
from datapath.agent import Agent
from datapath.chassis import LATE
from datapath.destroy import destroy
from datapath.events import ChassisState, Event, PortState
from datapath.spec import (
    TUNNEL_OFPORT,
    HostSpec,
    Interface,
    Node,
    Tunnel,
    TunnelKind,
    Underlay,
    Uplink,
    Vlan,
    device_name,
    namespace,
)

pytestmark = pytest.mark.lab
HANGS = "ovs-vswitchd has not taken up its configuration within 0 s"

KINDS: tuple[TunnelKind, ...] = ("vxlan", "nvgre", "geneve")


def interface(number: int, ofport: int, ready: bool = True) -> Interface:
    name = f"n{number}"
    addresses = (IPv4Interface(f"10.0.{number >> 8}.{number & 255}/16"), IPv6Interface(f"fd00::{number:x}/64"))
    device = device_name("p", name, "eth0")
    return Interface(name, "eth0", device, ofport, Mac(2 << 40 | number), 1450, addresses, ready=ready)


def host(lab: str, index: int, numbers: list[int], chassis: int, *, ready: bool = True, physnet: str = "") -> HostSpec:
    vteps = [(IPv4Address(f"172.31.0.{i + 1}"), Mac(0x02AA << 32 | i + 1)) for i in range(chassis)]
    address, mac = vteps[index]
    neighbours = tuple(vtep for vtep in vteps if vtep[0] != address)
    nodes = [
        Node(f"n{number}", namespace(lab, f"n{number}"), (interface(number, 64 + i, ready),))
        for i, number in enumerate(numbers)
    ]
    name = f"hv{index + 1}"
    uplink = Uplink(physnet, device_name("u", physnet), 16, 1500, physnet)
    return HostSpec(
        lab,
        name,
        namespace(lab, name),
        0x1000 + index,
        Underlay(IPv4Interface(f"{address}/24"), mac, 1500, neighbours),
        tuple(Tunnel(kind, kind, TUNNEL_OFPORT[kind]) for kind in KINDS),
        (uplink,) if physnet else (),
        tuple(nodes),
    )


def hosts(lab: str, chassis: int, nodes: int, **options: object) -> dict[str, HostSpec]:
    """`nodes` on each chassis: n1 … on hv1, then hv2."""
    found = [host(lab, i, list(range(i * nodes + 1, (i + 1) * nodes + 1)), chassis, **options) for i in range(chassis)]  # type: ignore[arg-type]
    return {spec.chassis: spec for spec in found}


def without(spec: HostSpec, *nodes: str) -> HostSpec:
    return replace(spec, nodes=tuple(node for node in spec.nodes if node.name not in nodes))


def changed(spec: HostSpec, node: str, **changes: object) -> HostSpec:
    def change(each: Node) -> Node:
        interfaces = tuple(replace(i, **changes) for i in each.interfaces)  # type: ignore[arg-type]
        return replace(each, interfaces=interfaces) if each.name == node else each

    return replace(spec, nodes=tuple(change(each) for each in spec.nodes))


@dataclass
class Lab:
    name: str
    run_dir: Path
    events: list[Event] = field(default_factory=list)
    agents: list[Agent] = field(default_factory=list)

    def agent(self) -> Agent:
        self.agents.append(Agent(self.name, self.run_dir, self.events.append))
        return self.agents[-1]

    def close(self) -> None:
        for agent in self.agents:
            agent.close()
        self.agents.clear()

    def namespaces(self) -> set[str]:
        return {name for name in os.listdir("/run/netns") if name.startswith(namespace(self.name))}

    def processes(self) -> list[int]:
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                if f"{self.run_dir}/" in Path(f"/proc/{entry}/cmdline").read_text():
                    found.append(int(entry))
        return found

    def chassis_states(self) -> dict[str, ChassisState]:
        return {event.chassis: event for event in self.events if isinstance(event, ChassisState)}

    def port_states(self) -> dict[str, PortState]:
        return {event.node: event for event in self.events if isinstance(event, PortState)}

    def inside(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", namespace(self.name, name), *command], capture_output=True, text=True, check=False
        )

    def links(self, name: str) -> dict[str, dict[str, object]]:
        return {link["ifname"]: link for link in json.loads(self.inside(name, "ip", "-d", "-j", "addr").stdout)}

    def ping(self, source: str, target: str, *options: str) -> bool:
        return self.inside(source, "ping", "-c1", "-W1", *options, target).returncode == 0

    def pid(self, chassis: str, daemon: str) -> int:
        """0 while it is not running."""
        with suppress(FileNotFoundError, ValueError):
            return int((self.run_dir / chassis / f"{daemon}.pid").read_text())
        return 0

    def tool(self, chassis: str, *command: str, given: str = "") -> str:
        environment = {**os.environ, "OVS_RUNDIR": str(self.run_dir / chassis)}
        return subprocess.run(
            command, env=environment, input=given, capture_output=True, text=True, check=True, timeout=20
        ).stdout

    def tunnel_neighbours(self, chassis: str) -> str:
        return self.tool(
            chassis, "ovs-appctl", "-t", str(self.run_dir / chassis / "ovs-vswitchd.ctl"), "tnl/neigh/show"
        )

    def program(self, specs: Mapping[str, HostSpec], tunnel: TunnelKind = "vxlan") -> None:
        """Flows by hand: known MACs to their place, broadcast and multicast to everybody."""
        for spec in specs.values():
            flows = "\n".join(_flows(spec, specs, tunnel))
            bridge = f"unix:{self.run_dir / spec.chassis}/br-int.mgmt"
            self.tool(spec.chassis, "ovs-ofctl", "-OOpenFlow13", "add-flows", bridge, "-", given=flows)


def _flows(spec: HostSpec, specs: Mapping[str, HostSpec], tunnel: TunnelKind) -> Iterator[str]:
    port = TUNNEL_OFPORT[tunnel]
    local = [f"output:{i.ofport}" for i in spec.interfaces]
    remote = []
    for other in specs.values():
        if other is spec:
            continue
        send = f"set_field:{other.underlay.vtep.ip}->tun_dst,set_field:100->tun_id,output:{port}"
        remote.append(send)
        for i in other.interfaces:
            yield f"priority=10,dl_dst={i.mac},actions={send}"
    for i in spec.interfaces:
        yield f"priority=20,dl_dst={i.mac},actions=output:{i.ofport}"
    group = "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00"
    yield f"priority=30,in_port={port},{group},actions={','.join(local) or 'drop'}"
    yield f"priority=5,{group},actions={','.join(local + remote) or 'drop'}"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    name = f"t{secrets.token_hex(3)}"
    made = Lab(name, Path(os.environ.get("SDN_RUN_DIR", "/run/sdn")) / name)
    try:
        yield made
    finally:
        made.close()
        destroy(name, made.run_dir)
        with suppress(FileNotFoundError):
            made.run_dir.rmdir()
        assert not made.namespaces()
        assert not made.processes()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    """Seconds that it took; other tasks go on meanwhile. It asks again and again: what is waited for, a file or what
    the agent knows, tells nobody."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it did not happen in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - start


async def test_from_nothing_and_a_second_time(lab: Lab) -> None:
    specs = hosts(lab.name, 2, 3)
    agent = lab.agent()
    await agent.apply(specs)
    assert lab.port_states() == {
        f"n{number}": PortState(f"n{number}", "eth0", 64 + (number - 1) % 3, True) for number in range(1, 7)
    }
    assert [state.errors for state in lab.chassis_states().values()] == [(), ()]
    assert lab.namespaces() == {
        namespace(lab.name, each) for each in ("", "hv1", "hv2", *(f"n{i}" for i in range(1, 7)))
    }
    work = agent.work
    lab.events.clear()
    await agent.apply(hosts(lab.name, 2, 3))
    assert agent.work == work
    assert not lab.events


async def test_devices_are_as_they_must_be(lab: Lab) -> None:
    specs = hosts(lab.name, 1, 1)
    await lab.agent().apply(specs)
    node, chassis = lab.links("n1"), lab.links("hv1")
    eth0 = node["eth0"]
    assert (eth0["mtu"], eth0["address"]) == (1450, "02:00:00:00:00:01")
    assert "UP" in eth0["flags"]
    assert {each["local"] for each in eth0["addr_info"]} == {"10.0.0.1", "fd00::1", "fe80::ff:fe00:1"}
    assert not any(each.get("tentative") for each in eth0["addr_info"])
    near = chassis[device_name("p", "n1", "eth0")]
    assert near["ifalias"] == f"sdn:{lab.name}:n1:eth0"
    assert "NOARP" in near["flags"]
    assert not near["addr_info"], "the host must not speak on a switch's port"
    assert [each["local"] for each in chassis["br-underlay"]["addr_info"]] == ["172.31.0.1"]
    assert "tx-checksumming: off" in lab.inside("n1", "ethtool", "-k", "eth0").stdout


@pytest.mark.parametrize("tunnel", KINDS)
async def test_the_first_packet_through_a_tunnel_arrives(lab: Lab, tunnel: TunnelKind) -> None:
    specs = hosts(lab.name, 2, 1)
    await lab.agent().apply(specs)
    lab.program(specs, tunnel)
    assert lab.ping("n1", "10.0.0.2")
    assert lab.ping("n2", "fd00::1")
    assert lab.ping("n1", "10.0.0.2", "-s1422", "-Mdo"), "a full frame fits"


async def test_tcp_passes_a_tunnel(lab: Lab) -> None:
    """Its segments are large and their checksums left to the hardware, unless the sender is told to do the work."""
    specs = hosts(lab.name, 2, 1)
    await lab.agent().apply(specs)
    lab.program(specs)
    server = subprocess.Popen(
        ["ip", "netns", "exec", namespace(lab.name, "n2"), "iperf3", "-s", "-1", "--forceflush"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    while "listening" not in await asyncio.to_thread(server.stdout.readline):
        pass
    done = lab.inside("n1", "iperf3", "-c", "10.0.0.2", "-t1", "-J")
    server.communicate()
    speed = json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]
    print(f"TCP through VXLAN: {speed / 1e6:.0f} Mbit/s")
    assert speed > 10e6


async def test_ports_are_up_only_when_ready(lab: Lab) -> None:
    agent = lab.agent()
    await agent.apply(hosts(lab.name, 1, 2, ready=False))
    assert [state.up for state in lab.port_states().values()] == [False, False]
    before = agent.work
    await agent.apply(hosts(lab.name, 1, 2))
    assert [state.up for state in lab.port_states().values()] == [True, True]
    assert agent.work == (before[0] + 2, before[1])


async def test_changes_happen_in_place(lab: Lab) -> None:
    specs = hosts(lab.name, 2, 2)
    agent = lab.agent()
    await agent.apply(specs)
    index = lab.links("n1")["eth0"]["ifindex"]
    address = (IPv4Interface("10.0.9.9/16"),)
    specs["hv1"] = changed(specs["hv1"], "n1", mtu=1400, addresses=address, mac=Mac(2 << 40 | 99))
    await agent.apply(specs)
    eth0 = lab.links("n1")["eth0"]
    assert (eth0["ifindex"], eth0["mtu"], eth0["address"]) == (index, 1400, "02:00:00:00:00:63")
    assert [each["local"] for each in eth0["addr_info"] if each["scope"] == "global"] == ["10.0.9.9"]


async def test_a_wish_of_before_is_made_true_again(lab: Lab) -> None:
    """Also where what was wished in between could be made true in part only."""
    before = hosts(lab.name, 1, 3)
    before["hv1"] = changed(before["hv1"], "n2", mtu=1400)
    agent = lab.agent()
    for _ in range(2):
        await agent.apply({"hv1": without(before["hv1"], "n3")})
    subprocess.run(["ip", "netns", "add", namespace(lab.name, "n3")], check=True)
    try:
        await agent.apply({"hv1": changed(before["hv1"], "n1", mtu=1440)})
        assert lab.links("n1")["eth0"]["mtu"] == 1440
        assert lab.chassis_states()["hv1"].errors
        await agent.apply({"hv1": without(before["hv1"], "n3")})
        assert lab.links("n1")["eth0"]["mtu"] == 1450
    finally:
        subprocess.run(["ip", "netns", "delete", namespace(lab.name, "n3")], check=True)


async def test_nodes_and_chassis_come_move_and_go(lab: Lab) -> None:
    specs = hosts(lab.name, 3, 2)
    agent = lab.agent()
    await agent.apply(specs)
    lab.program(specs)
    inode = os.stat(f"/run/netns/{namespace(lab.name, 'n1')}").st_ino
    moved = next(node for node in specs["hv1"].nodes if node.name == "n1")
    moved = replace(moved, interfaces=(replace(moved.interfaces[0], ofport=80),))
    after = {
        "hv1": without(specs["hv1"], "n1", "n2"),
        "hv2": replace(specs["hv2"], nodes=(*specs["hv2"].nodes, moved)),
    }
    pid = lab.pid("hv3", "ovs-vswitchd")
    await agent.apply(after)
    assert os.stat(f"/run/netns/{namespace(lab.name, 'n1')}").st_ino == inode
    assert lab.port_states()["n1"] == PortState("n1", "eth0", 80, True)
    assert lab.namespaces() == {namespace(lab.name, each) for each in ("", "hv1", "hv2", "n1", "n3", "n4")}
    assert pid not in lab.processes()
    assert not (lab.run_dir / "hv3").exists()
    assert device_name("p", "n1", "eth0") not in lab.tool(
        "hv1", "ovs-vsctl", *_database(lab, "hv1"), "list-ports", "br-int"
    )
    lab.program(after)
    assert lab.ping("n1", "10.0.0.3")
    assert all(not state.errors for state in lab.chassis_states().values())


def _database(lab: Lab, chassis: str) -> tuple[str, ...]:
    return (f"--db=unix:{lab.run_dir / chassis}/db.sock", "--timeout=5")


async def test_a_killed_switch_is_back_at_once(lab: Lab) -> None:
    specs = hosts(lab.name, 2, 1)
    agent = lab.agent()
    await agent.apply(specs)
    lab.program(specs)
    before = lab.pid("hv1", "ovs-vswitchd")
    os.kill(before, signal.SIGKILL)

    def whole() -> bool:
        if lab.pid("hv1", "ovs-vswitchd") in (0, before):
            return False
        addresses = lab.links("hv1").get("br-underlay", {}).get("addr_info")
        with suppress(subprocess.CalledProcessError):
            return bool(addresses) and "172.31.0.2" in lab.tool(
                "hv1", "ovs-appctl", "-t", str(lab.run_dir / "hv1/ovs-vswitchd.ctl"), "tnl/neigh/show"
            )
        return False

    took = await until(whole, 2.0)
    print(f"vswitchd back after {took:.2f} s")
    lab.program(specs)
    assert lab.ping("n1", "10.0.0.2")


async def test_a_switch_that_hangs_is_wrong_until_it_goes_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """That its rows are right by now does not make it well; only the first wish after it hangs waits for it."""
    agent, specs = lab.agent(), hosts(lab.name, 1, 2)
    await agent.apply(specs)
    monkeypatch.setattr("datapath.ovs.database._TIMEOUT", 0.5)
    fewer = {"hv1": without(specs["hv1"], "n2")}
    pid = lab.pid("hv1", "ovs-vswitchd")
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            await agent.apply(fewer)
            assert lab.chassis_states()["hv1"].errors == (HANGS,)
        agent.close()
        lab.agents.clear()
        agent = lab.agent()
        await agent.apply(fewer)
        assert lab.chassis_states()["hv1"].errors == (HANGS,)
    finally:
        os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + 5
    while lab.chassis_states()["hv1"].errors:
        assert time.monotonic() < deadline
        await agent.apply(fewer)


async def test_a_chassis_that_hangs_is_removed_at_once_and_comes_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent that finds a hung database is still at work with it when the chassis is removed."""
    monkeypatch.setattr("datapath.ovs.database._TIMEOUT", 5.0)
    specs = hosts(lab.name, 2, 1)
    await lab.agent().apply(specs)
    lab.close()
    before = lab.pid("hv1", "ovsdb-server")
    os.kill(before, signal.SIGSTOP)
    agent = lab.agent()
    running = asyncio.create_task(agent.run())
    await agent.apply(specs)
    assert LATE in lab.chassis_states()["hv1"].notes
    start = time.monotonic()
    await agent.apply({"hv2": specs["hv2"]})
    print(f"removed after {(took := time.monotonic() - start):.2f} s")
    assert took < 1.9
    assert not (lab.run_dir / "hv1").exists()
    await agent.apply(specs)
    assert LATE in lab.chassis_states()["hv1"].notes
    assert lab.pid("hv1", "ovsdb-server") == 0

    def is_well() -> bool:
        state = lab.chassis_states()["hv1"]
        return not state.errors and LATE not in state.notes

    print(f"back after {await until(is_well, 10.0):.2f} s")
    assert len(lab.processes()) == 4
    assert sum(thread.name.endswith("(run)") for thread in threading.enumerate()) == 2
    lab.program(specs)
    assert lab.ping("n1", "10.0.0.2")
    running.cancel()
    await asyncio.wait([running])


async def test_a_table_holds_as_many_flows_as_it_may(lab: Lab) -> None:
    specs = hosts(lab.name, 1, 1)
    limited = {"hv1": replace(specs["hv1"], flow_limits=((44, 3),))}
    agent = lab.agent()

    def vsctl(*command: str) -> str:
        return lab.tool("hv1", "ovs-vsctl", "--db", f"unix:{lab.run_dir}/hv1/db.sock", *command)

    def learned() -> list[str]:
        bridge = f"unix:{lab.run_dir}/hv1/br-int.mgmt"
        return lab.tool("hv1", "ovs-ofctl", "-OOpenFlow13", "dump-flows", bridge, "table=44").splitlines()[1:]

    async def settled() -> bool:
        work = agent.work
        await agent.apply(limited)
        return agent.work == work

    await agent.apply(limited)
    assert await settled()
    controller = vsctl("--columns=_uuid", "list", "Controller")
    bridge = f"unix:{lab.run_dir}/hv1/br-int.mgmt"
    flows = "".join(f"table=44,idle_timeout={60 + i},dl_src=02:00:00:00:01:0{i},actions=drop\n" for i in range(8))
    lab.tool("hv1", "ovs-ofctl", "-OOpenFlow13", "add-flows", bridge, "-", given=flows)
    assert len(learned()) == 3
    table = vsctl("--bare", "--columns=_uuid", "list", "Flow_Table").strip()
    vsctl("set", "Flow_Table", table, "flow_limit=5")  # somebody's whim
    await until(lambda: agent._roster["hv1"].switch.version != agent._roster["hv1"].settled[1])  # type: ignore[index]
    assert not await settled()
    assert "flow_limit          : 3" in vsctl("list", "Flow_Table")
    assert await settled()
    vsctl("set", "Bridge", "br-int", "flow_tables:50=@it", "--", "--id=@it", "create", "Flow_Table", "name=theirs")
    await agent.apply(specs)
    assert "theirs" in vsctl("list", "Flow_Table")
    assert "sdn=" not in vsctl("list", "Flow_Table")
    assert controller == vsctl("--columns=_uuid", "list", "Controller"), "the switch keeps its connection"


@pytest.mark.parametrize("adopted", [False, True])
async def test_a_vtep_that_left_is_no_neighbour(lab: Lab, adopted: bool) -> None:
    """Its address may come back with another MAC, and the switch would believe its old one as long as it uses it."""
    agent = lab.agent()
    await agent.apply(hosts(lab.name, 3, 1))
    assert all(address in lab.tunnel_neighbours("hv1") for address in ("172.31.0.2", "172.31.0.3"))
    if adopted:
        lab.close()
        agent = lab.agent()
    await agent.apply(hosts(lab.name, 2, 1))
    shown = lab.tunnel_neighbours("hv1")
    assert "172.31.0.2 " in shown
    assert "172.31.0.3 " not in shown


async def test_a_killed_database_costs_nothing(lab: Lab) -> None:
    specs = hosts(lab.name, 2, 1)
    agent = lab.agent()
    await agent.apply(specs)
    lab.program(specs)
    pinging = subprocess.Popen(
        ["ip", "netns", "exec", namespace(lab.name, "n1"), "ping", "-q", "-i0.01", "-c100", "-W1", "10.0.0.2"],
        stdout=subprocess.PIPE,
        text=True,
    )
    before = lab.pid("hv1", "ovsdb-server")
    os.kill(before, signal.SIGKILL)
    await until(lambda: lab.pid("hv1", "ovsdb-server") not in (0, before))
    specs["hv1"] = replace(
        specs["hv1"], nodes=(*specs["hv1"].nodes, Node("n9", namespace(lab.name, "n9"), (interface(9, 90),)))
    )
    await agent.apply(specs)
    assert lab.port_states()["n9"].ofport == 90
    output, _ = await asyncio.to_thread(pinging.communicate)
    assert " 0% packet loss" in output, output


async def test_a_new_agent_adopts_everything(lab: Lab) -> None:
    specs = hosts(lab.name, 2, 2, physnet="office")
    agent = lab.agent()
    await agent.apply(specs)
    lab.program(specs)
    pids = [lab.pid(chassis, daemon) for chassis in specs for daemon in ("ovsdb-server", "ovs-vswitchd")]
    states = lab.port_states()
    lab.close()
    lab.events.clear()
    agent = lab.agent()
    await agent.apply(specs)
    assert agent.work == (0, 0)
    assert lab.port_states() == states
    assert [lab.pid(chassis, daemon) for chassis in specs for daemon in ("ovsdb-server", "ovs-vswitchd")] == pids
    assert lab.ping("n1", "10.0.0.3")
    os.kill(pids[1], signal.SIGKILL)  # adopted daemons are supervised too
    await until(lambda: lab.pid("hv1", "ovs-vswitchd") not in (0, pids[1]))


@pytest.mark.parametrize("breaks", ["datapath.linux.vlan.Trunks.settle", "datapath.linux.wires.Wires.connect"])
async def test_what_breaks_on_the_way_unplugs_nothing(breaks: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new agent does not know yet whose the devices are; it is tried again, and not only when it is wished."""
    specs = hosts(lab.name, 1, 1)
    await lab.agent().apply(specs)
    ofport = (
        "ovs-vsctl",
        *_database(lab, "hv1"),
        "get",
        "interface",
        device_name("p", "n1", "eth0"),
        "ofport",
        "_uuid",
    )
    before = lab.tool("hv1", *ofport)
    lab.close()
    agent = lab.agent()

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as broken:
        broken.setattr(breaks, fail)
        await agent.apply(specs)
    assert "Too many open files" in str(lab.chassis_states()["hv1"].errors)
    assert lab.tool("hv1", *ofport) == before
    watching = asyncio.create_task(agent.run())
    try:
        await until(lambda: not lab.chassis_states()["hv1"].errors)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    assert lab.tool("hv1", *ofport) == before


@pytest.mark.parametrize("after", [0.03, 0.06, 0.1, 0.15])
async def test_debris_of_an_interrupted_creation_is_completed(lab: Lab, after: float) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from datapath.agent import Agent\n"
        "from tests.lab.test_agent import hosts\n"
        "async def main():\n"
        "    agent = Agent(sys.argv[1], Path(sys.argv[2]), lambda event: None); print('go', flush=True)\n"
        "    await agent.apply(hosts(sys.argv[1], 2, 3))\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parent.parent.parent
    child = subprocess.Popen(
        [sys.executable, "-c", program, lab.name, str(lab.run_dir)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    await asyncio.to_thread(child.stdout.readline)
    await asyncio.sleep(after)  # the moment at which it is killed is what is tested
    child.kill()
    child.wait()
    child.stdout.close()
    specs = hosts(lab.name, 2, 3)
    await lab.agent().apply(specs)
    assert [state.errors for state in lab.chassis_states().values()] == [(), ()]
    lab.program(specs)
    assert lab.ping("n1", "10.0.0.4")


async def test_a_namespace_of_somebody_else_is_left_alone(lab: Lab) -> None:
    foreign = namespace(lab.name, "n2")
    subprocess.run(["ip", "netns", "add", foreign], check=True)
    try:
        agent = lab.agent()
        await agent.apply(hosts(lab.name, 1, 3))
        (error,) = lab.chassis_states()["hv1"].errors
        assert "not ours" in error
        assert f"ip netns del {foreign}" in error
        assert {name for name, state in lab.port_states().items() if state.up} == {"n1", "n3"}
        assert list(lab.links("n2")) == ["lo"]
        lab.close()
        destroy(lab.name, lab.run_dir)
        assert lab.namespaces() == {foreign}
    finally:
        subprocess.run(["ip", "netns", "del", foreign], check=True)


async def test_what_was_removed_by_hand_is_made_again(lab: Lab) -> None:
    specs = hosts(lab.name, 1, 3)
    agent = lab.agent()
    await agent.apply(specs)
    subprocess.run(["ip", "netns", "del", namespace(lab.name, "n1")], check=True)
    lab.inside("n2", "ip", "link", "del", "eth0")
    lab.inside("n3", "ip", "addr", "del", "10.0.0.3/16", "dev", "eth0")
    lab.tool("hv1", "ovs-vsctl", *_database(lab, "hv1"), "del-port", device_name("p", "n3", "eth0"))
    await until(lambda: lab.port_states()["n2"].up is False)
    await agent.apply(specs)
    lab.program(specs)
    assert lab.ping("n1", "10.0.0.2")
    assert lab.ping("n1", "10.0.0.3")
    assert all(state.up and state.ofport == 63 + int(name[1:]) for name, state in lab.port_states().items())


async def test_somebody_elses_device_is_no_port_of_the_switch(lab: Lab) -> None:
    """It has the name of a node's, which is refused; when it is gone that is plugged."""
    agent = lab.agent()
    await agent.apply(hosts(lab.name, 1, 1))
    port = device_name("p", "n2", "eth0")
    lab.inside("hv1", "ip", "link", "add", port, "type", "bridge")
    before = lab.links("hv1")[port]
    await agent.apply(hosts(lab.name, 1, 2))
    assert lab.links("hv1")[port] == before
    assert port not in lab.tool("hv1", "ovs-vsctl", *_database(lab, "hv1"), "list-ports", "br-int").split()
    assert any("n2:eth0" in error for error in lab.chassis_states()["hv1"].errors)
    lab.inside("hv1", "ip", "link", "delete", port)
    await agent.apply(hosts(lab.name, 1, 2))
    assert not lab.chassis_states()["hv1"].errors
    lab.program(hosts(lab.name, 1, 2))
    assert lab.ping("n1", "10.0.0.2")


async def test_rows_of_somebody_else_are_left_alone(lab: Lab) -> None:
    specs = hosts(lab.name, 1, 1)
    agent = lab.agent()
    await agent.apply(specs)
    vsctl = ("ovs-vsctl", *_database(lab, "hv1"))
    taken = device_name("p", "n2", "eth0")
    lab.tool("hv1", *vsctl, "add-port", "br-int", taken, "--", "set", "interface", taken, "type=internal")
    lab.tool("hv1", *vsctl, "add-br", "br-mine", "--", "set", "bridge", "br-mine", "datapath_type=netdev")
    two = [1, 2]
    await agent.apply({"hv1": host(lab.name, 0, two, 1)})
    assert any("not ours" in error for error in lab.chassis_states()["hv1"].errors)
    assert taken in lab.tool("hv1", *vsctl, "list-ports", "br-int")
    await agent.apply(specs)
    assert taken in lab.tool("hv1", *vsctl, "list-ports", "br-int")
    assert "br-mine" in lab.tool("hv1", *vsctl, "list-br")
    assert not lab.chassis_states()["hv1"].errors


async def test_a_switch_that_keeps_dying_is_reported(lab: Lab) -> None:
    specs = hosts(lab.name, 1, 1)
    agent = lab.agent()
    await agent.apply(specs)
    for _ in range(4):
        pid = lab.pid("hv1", "ovs-vswitchd")
        os.kill(pid, signal.SIGKILL)
        await until(lambda pid=pid: lab.pid("hv1", "ovs-vswitchd") not in (0, pid))  # type: ignore[misc]
    told = [event.errors for event in lab.events if isinstance(event, ChassisState)]
    assert any("died 4 times" in error for errors in told for error in errors)
    await until(lambda: not lab.chassis_states()["hv1"].errors)


async def test_uplinks_join_chassis_on_a_physical_network(lab: Lab) -> None:
    specs = hosts(lab.name, 2, 1, physnet="office")
    await lab.agent().apply(specs)
    for chassis in specs:
        bridge = f"unix:{lab.run_dir / chassis}/br-int.mgmt"
        out = "in_port=64,actions=push_vlan:0x8100,set_field:4216->vlan_vid,output:16"  # VLAN 120 with OFPVID_PRESENT
        flows = f"{out}\nin_port=16,dl_vlan=120,actions=pop_vlan,output:64\n"
        lab.tool(chassis, "ovs-ofctl", "-OOpenFlow13", "add-flows", bridge, "-", given=flows)
    assert lab.ping("n1", "10.0.0.2")


async def test_trunks_have_vlan_devices_or_a_note(lab: Lab) -> None:
    specs = hosts(lab.name, 1, 1)
    vlan = Vlan(20, 1400, (IPv4Interface("10.20.0.1/24"),))
    specs["hv1"] = changed(specs["hv1"], "n1", vlans=(vlan,))
    agent = lab.agent()
    await agent.apply(specs)
    state = lab.chassis_states()["hv1"]
    assert not state.errors
    await agent.apply(specs)
    assert lab.chassis_states()["hv1"] is state, "nothing new to tell"
    if any("stay tagged" in note for note in state.notes):
        assert "eth0.20" not in lab.links("n1")
    else:
        assert [each["local"] for each in lab.links("n1")["eth0.20"]["addr_info"] if each["scope"] == "global"] == [
            "10.20.0.1"
        ]


async def test_destroy_is_complete_and_repeatable(lab: Lab) -> None:
    agent = lab.agent()
    await agent.apply(hosts(lab.name, 2, 5, physnet="office"))
    lab.close()
    start = time.monotonic()
    destroy(lab.name, lab.run_dir)
    print(f"destroyed in {time.monotonic() - start:.3f} s")
    assert not lab.namespaces()
    assert not lab.processes()
    assert not list(lab.run_dir.iterdir())
    destroy(lab.name, lab.run_dir)


@pytest.mark.parametrize(("chassis", "nodes"), [(1, 100), (20, 5)])
async def test_how_long_it_takes(lab: Lab, chassis: int, nodes: int) -> None:
    agent = lab.agent()
    start = time.monotonic()
    await agent.apply(hosts(lab.name, chassis, nodes))
    up = time.monotonic()
    await agent.apply(hosts(lab.name, chassis, nodes))
    again = time.monotonic()
    lab.close()
    closed = time.monotonic()
    destroy(lab.name, lab.run_dir)
    gone = time.monotonic()
    print(f"{chassis} x {nodes}: up {up - start:.2f} s, again {again - up:.3f} s, destroyed {gone - closed:.3f} s")
    assert up - start < 5
    assert gone - closed < 2
