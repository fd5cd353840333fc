"""The southbound edge against a real Open vSwitch: convergence from any state, refusals, reconnects, both versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from datapath.errors import ConflictError, RefusedError, TransientError
from datapath.openflow.flow import (
    Flow,
    FlowKey,
    Learn,
    LearnMatch,
    LearnOutput,
    Load,
    Move,
    Multipath,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    match,
)
from datapath.openflow.oxm import CONTROLLER, IN_PORT, LOCAL, VLAN_PRESENT
from sdn.pipeline.fields import Cookie, Kind
from sdn.southbound import Server, Switch, Timers, connect
from tests.lab.ovs import Ovs, private_ovs

pytestmark = pytest.mark.lab

NETWORK, PORT, LEARNED = (Cookie(kind, 16).pack() for kind in (Kind.NETWORK, Kind.PORT, Kind.LEARNED))
MAC = 0x020000000001


@pytest.fixture
def ovs(tmp_path: Path) -> Iterator[Ovs]:
    with private_ovs(tmp_path) as started:
        yield started


class Controller:
    """A server with queues for its callbacks."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.ready: asyncio.Queue[Switch] = asyncio.Queue()
        self.gone: asyncio.Queue[Switch] = asyncio.Queue()
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.server = Server(
            path,
            on_switch=self.ready.put_nowait,
            on_gone=self.gone.put_nowait,
            on_event=lambda _, event: self.events.put_nowait(event),
            **options,
        )


@pytest_asyncio.fixture
async def controller(ovs: Ovs) -> AsyncIterator[Controller]:
    made = Controller(ovs.rundir / "openflow.sock", name_of=lambda _: "hv1")
    await made.server.start()
    yield made
    await made.server.close()


async def bridge(ovs: Ovs, controller: Controller, protocols: str = "OpenFlow13,OpenFlow14") -> Switch:
    """A bridge `br0` that is connected to the controller."""
    ovs.add_bridge("br0", protocols=protocols)
    ovs.set_controller("br0", Path(controller.server.address))
    return await asyncio.wait_for(controller.ready.get(), 10)


def by_key(*flows: Flow) -> dict[FlowKey, Flow]:
    return {flow.key: flow for flow in flows}


def numbered(count: int, cookie: int = PORT) -> dict[FlowKey, Flow]:
    """`count` flows that differ in match and action."""
    return by_key(*(Flow(40, 100, match(eth_dst=MAC + n), (SetField("reg2", n),), 48, cookie) for n in range(count)))


EVERY_ACTION = by_key(
    Flow(0, 1, match(), (), cookie=NETWORK),
    Flow(0, 10, match(in_port=64), (SetField("reg0", 16), Load("reg3", 0, 1, 1)), 8, PORT),
    Flow(0, 10, match(in_port=65, vlan_vid=VLAN_PRESENT | 20), (PopVlan(), SetField("reg0", 17)), 8, PORT),
    Flow(0, 10, match(in_port=1, tun_id=10010), (SetField("reg0", 18),), 40, NETWORK),
    Flow(8, 20, match(reg1=64, eth_src=MAC, eth_type=0x800, ipv4_src=0x0A0A0001), (), 16, PORT),
    Flow(8, 20, match(reg1=64, eth_type=0x806, arp_spa=0x0A0A0001, arp_sha=MAC), (), 16, PORT),
    Flow(
        8, 20, match(eth_type=0x86DD, ip_proto=58, icmpv6_type=135, nd_target=(0xFE80 << 112, 0xFFFF << 112)),
        (), 16, PORT,
    ),
    Flow(
        28, 10, match(eth_type=0x806, arp_op=1, arp_tpa=0x0A0A0002),
        (Move("eth_src", "eth_dst", 48), SetField("eth_src", MAC), SetField("arp_op", 2), Output(IN_PORT)), None, PORT,
    ),
    Flow(28, 5, match(eth_type=0x800, ip_proto=17, udp_dst=67), (Output(CONTROLLER, 0xFFFF),), None, NETWORK),
    Flow(
        40, 5, match(reg0=16, eth_dst=(1 << 40, 1 << 40)),
        (SetField("reg2", 65), Resubmit(56), SetField("reg2", 66)), 48, NETWORK,
    ),
    Flow(
        40, 6, match(reg0=19, reg3=(2, 2)),
        (
            Learn(40, 7, LEARNED, 300, 0, (LearnMatch("eth_dst", "eth_src", 48), LearnOutput("in_port", 32))),
            Multipath(1, 50, 256, "tun_id", 0, 8),
        ),
        48, NETWORK,
    ),
    Flow(
        56, 1, match(reg2=20),
        (PushVlan(), SetField("vlan_vid", VLAN_PRESENT | 120), Output(16), Output(LOCAL)), None, NETWORK,
    ),
    Flow(56, 2, match(reg2=21), (Output(64),), None, PORT, idle_timeout=600, hard_timeout=3600),
)  # fmt: skip


@pytest.mark.parametrize("protocol", ["OpenFlow13", "OpenFlow14"])
async def test_a_second_reconcile_sends_nothing(ovs: Ovs, controller: Controller, protocol: str) -> None:
    switch = await bridge(ovs, controller, protocol)
    assert switch.version == {"OpenFlow13": 4, "OpenFlow14": 5}[protocol]
    first = await switch.reconcile(EVERY_ACTION)
    assert (first.count, len(first.add)) == (len(EVERY_ACTION), len(EVERY_ACTION))
    assert {key: stats.flow for key, stats in (await switch.dump()).items()} == EVERY_ACTION
    again = await switch.reconcile(EVERY_ACTION)
    assert again.count == 0, again.steps


STATES = {
    "empty": {},
    "few": numbered(3),
    "many": numbered(2000),
    "other cookies": numbered(3, cookie=NETWORK),
    "every action": EVERY_ACTION,
}


@pytest.mark.parametrize("protocol", ["OpenFlow13", "OpenFlow14"])
async def test_any_state_leads_to_any_other(ovs: Ovs, controller: Controller, protocol: str) -> None:
    switch = await bridge(ovs, controller, protocol)
    for before in STATES.values():
        for after in STATES.values():
            await switch.reconcile(before)
            await switch.reconcile(after)
            assert {key: stats.flow for key, stats in (await switch.dump()).items()} == after


async def test_a_change_replaces_cookie_and_keeps_counters(ovs: Ovs, controller: Controller) -> None:
    switch = await bridge(ovs, controller)
    flow = Flow(0, 1, match(), (), cookie=NETWORK)
    await switch.reconcile(by_key(flow))
    frame = "ffffffffffff0000000000010800" + "00" * 46
    ovs.ofctl("packet-out", "br0", f"in_port=local,packet={frame},actions=resubmit(,0)")
    ovs.appctl("revalidator/wait")
    assert (await switch.dump())[flow.key].packets == 1
    other = flow._replace(cookie=PORT, goto=8)
    changes = await switch.reconcile(by_key(other))
    assert (changes.change, changes.count) == ((other,), 1)
    after = (await switch.dump())[flow.key]
    assert (after.flow, after.packets) == (other, 1)


async def test_what_others_put_there_stays(ovs: Ovs, controller: Controller) -> None:
    switch = await bridge(ovs, controller)
    ovs.ofctl("add-flow", "br0", "table=0,priority=7,tcp,tp_dst=80,tcp_flags=+syn,actions=ct(commit,zone=5),normal")
    ovs.ofctl("add-flow", "br0", "table=40,priority=100,cookie=0x77,dl_dst=02:00:00:00:00:01,actions=drop")
    ovs.ofctl("add-flow", "br0", f"table=40,priority=7,cookie={LEARNED:#x},dl_dst=02:00:00:00:00:09,actions=output:64")
    teacher = Flow(0, 1, match(), (Learn(40, 7, LEARNED, 300, 0, ()),), cookie=NETWORK)
    changes = await switch.reconcile(numbered(3) | by_key(teacher))
    assert len(changes.add) == 3
    assert [str(conflict.observed.cookie) for conflict in changes.conflicts] == [str(0x77)]
    await switch.reconcile(by_key(teacher))
    assert await cookies_of(switch) == sorted([0, 0x77, NETWORK, LEARNED])
    await switch.reconcile({})
    assert await cookies_of(switch) == [0, 0x77], "nothing teaches it any more"


async def cookies_of(switch: Switch) -> list[int]:
    return sorted(stats.flow.cookie for stats in (await switch.dump()).values())


async def test_a_refused_flow_rolls_the_whole_bundle_back(ovs: Ovs, controller: Controller) -> None:
    switch = await bridge(ovs, controller)
    await switch.reconcile(numbered(3))
    bad = Flow(0, 5, match(in_port=64), (Output(0xFFFFFF01),), cookie=PORT)
    with pytest.raises(RefusedError, match=r"hv1 refused .*priority=5.*OFPBAC_BAD_OUT_PORT.*nothing was changed"):
        await switch.program([Flow(0, 6, match(in_port=64), cookie=PORT), bad], (), list(numbered(3).values()))
    assert {key: stats.flow for key, stats in (await switch.dump()).items()} == numbered(3)
    assert await switch.program([Flow(0, 6, match(in_port=64), cookie=PORT)]) == 1


async def test_a_flow_refused_at_commit_rolls_the_whole_bundle_back(ovs: Ovs, controller: Controller) -> None:
    """A full table shows only when the bundle is committed."""
    switch = await bridge(ovs, controller)
    ovs.vsctl("--", "--id=@t", "create", "Flow_Table", "flow_limit=2", "overflow_policy=refuse",
              "--", "set", "bridge", "br0", "flow_tables:40=@t")  # fmt: skip
    with pytest.raises(RefusedError, match=r"hv1 refused .*eth_dst.*OFPFMFC_TABLE_FULL.*nothing was changed"):
        await switch.program(numbered(3).values())
    assert await switch.dump() == {}
    assert await switch.program(list(numbered(3).values())[:2]) == 2


async def test_a_long_dump_comes_in_many_parts(ovs: Ovs, controller: Controller) -> None:
    switch = await bridge(ovs, controller)
    flows = numbered(5000)  # 500 KB
    await switch.program(flows.values())
    assert {key: stats.flow for key, stats in (await switch.dump()).items()} == flows


async def test_reconnects_converge(ovs: Ovs, controller: Controller) -> None:
    """The controller goes while a bundle is open: the switch drops it; the next session starts from what is there."""
    first = await bridge(ovs, controller)
    await first.reconcile(numbered(100))
    half = asyncio.create_task(first.program(numbered(50_000, NETWORK).values()))
    for _ in range(5):
        await first.connection.drain()
    first.close("test")
    with pytest.raises(TransientError):
        await half
    second = await asyncio.wait_for(controller.ready.get(), 10)
    assert await controller.gone.get() is first
    assert (await second.reconcile(numbered(100))).count == 0
    changes = await second.reconcile(numbered(101, NETWORK))
    assert (len(changes.add), len(changes.change)) == (1, 100)


async def test_the_switch_restarts(ovs: Ovs, controller: Controller) -> None:
    switch = await bridge(ovs, controller)
    await switch.reconcile(numbered(10))
    ovs.stop_vswitchd()
    assert await asyncio.wait_for(controller.gone.get(), 10) is switch
    ovs.start_vswitchd()
    back = await asyncio.wait_for(controller.ready.get(), 10)
    assert back.dpid == switch.dpid
    assert len((await back.reconcile(numbered(10))).add) == 10


async def test_flows_outlive_the_controller(ovs: Ovs, controller: Controller) -> None:
    switch = await bridge(ovs, controller)
    await switch.reconcile(numbered(10))
    await controller.server.close()
    async with connect(ovs.management("br0")) as tool:
        assert len(await tool.dump()) == 10


async def test_the_management_socket_speaks_both_versions(ovs: Ovs) -> None:
    for number, protocol in enumerate(("OpenFlow13", "OpenFlow14")):
        ovs.add_bridge(f"br{number}", protocols=protocol)
        async with connect(f"unix:{ovs.management(f'br{number}')}", name="br") as switch:
            assert (await switch.reconcile(EVERY_ACTION)).count == len(EVERY_ACTION)
            assert (await switch.reconcile(EVERY_ACTION)).count == 0


async def test_a_bridge_without_a_version_of_ours_says_so(ovs: Ovs) -> None:
    ovs.add_bridge("br0", protocols="OpenFlow10")
    with pytest.raises(TransientError, match=r"the switch offers 1\.0, we speak 1\.3, 1\.4"):
        async with connect(ovs.management("br0")):
            raise AssertionError("not reached")


@pytest.mark.parametrize("protocol", ["OpenFlow13", "OpenFlow14"])
async def test_ports_and_packets_are_events(ovs: Ovs, controller: Controller, protocol: str) -> None:
    switch = await bridge(ovs, controller, protocol)
    to_controller = Flow(0, 1, match(), (Output(CONTROLLER, 0xFFFF),), cookie=NETWORK)
    await switch.reconcile(by_key(to_controller))
    ovs.vsctl("add-port", "br0", "web1", "--", "set", "interface", "web1", "type=internal", "ofport_request=64")
    status = await asyncio.wait_for(controller.events.get(), 5)
    assert (type(status).__name__, status.desc.port_no, status.desc.name) == ("OFPPortStatus", 64, b"web1")
    frame = "ffffffffffff0000000000010800" + "00" * 46
    ovs.ofctl("packet-out", "br0", f"in_port=64,packet={frame},actions=resubmit(,0)", protocol=protocol)
    while type(event := await asyncio.wait_for(controller.events.get(), 5)).__name__ == "OFPPortStatus":
        pass
    assert (type(event).__name__, event.match["in_port"], event.cookie) == ("OFPPacketIn", 64, NETWORK)
    assert event.data == bytes.fromhex(frame)


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match=r"nobody listens on .*: No such file or directory"):
        async with connect(tmp_path / "br0.mgmt"):
            raise AssertionError("not reached")


async def test_a_stopped_switch_is_noticed(ovs: Ovs) -> None:
    """A hanging switch is not a closed connection: only the echo shows it."""
    controller = Controller(ovs.rundir / "quick.sock", timers=Timers(echo_interval=0.2, echo_timeout=0.3))
    await controller.server.start()
    switch = await bridge(ovs, controller)
    done, _ = await asyncio.wait([switch.over], timeout=0.6)  # several echoes are answered meanwhile
    assert not done
    ovs.pause_vswitchd()
    try:
        assert await asyncio.wait_for(controller.gone.get(), 5) is switch
    finally:
        ovs.resume_vswitchd()
    await controller.server.close()


async def test_two_controllers_cannot_have_one_socket(ovs: Ovs, controller: Controller) -> None:
    path = Path(controller.server.address)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConflictError, match="another controller listens"):
        await Controller(path).server.start()
    await controller.server.close()
    assert not path.exists()
