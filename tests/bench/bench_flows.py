"""Flow-mods: through our server into one Open vSwitch bridge beside `ovs-ofctl`, and encoded beside os-ken.

    python -m tests.bench.bench_flows     prints a JSON line for each

Both sides get the same 100,000 distinct flows of the forward table, prepared: ours as Flow values, ovs-ofctl's as a
file. Ours is timed from `program()` until the reply to the barrier after the commit; the peer is the whole command.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

from datapath.openflow.codec import ADD, encode_flow_mods
from datapath.openflow.flow import Flow, SetField, match
from datapath.openflow.text import format_flow
from sdn.pipeline.fields import FIRST_ID, Cookie, Kind
from sdn.pipeline.layout import Table
from sdn.southbound import Server, Switch
from tests.bench.registry import Measured, at_least, bench, ratio_at_least
from tests.lab.ovs import Ovs, private_ovs

FLOWS = 100_000
ROUNDS = 5
OSKEN_FLOWS = 5_000
V14 = 5


def forwarding(count: int) -> list[Flow]:
    """A flow for each of `count` ports in 50 networks: no two have a match or an action in common."""
    return [
        Flow(
            Table.FORWARD, 100,
            match(reg0=FIRST_ID + number % 50, eth_dst=0x020000000000 | number),
            (SetField("reg2", FIRST_ID + number),), Table.INGRESS_RULES, Cookie(Kind.PORT, FIRST_ID + number).pack(),
        )
        for number in range(count)
    ]  # fmt: skip


@bench("100k flows into one bridge", unit="flows/s", target=ratio_at_least(0.8), peer="ovs-ofctl --bundle add-flows")
def flows_into_one_bridge() -> Measured:
    """The median of five rounds each, taken in turn."""
    with tempfile.TemporaryDirectory(prefix="sdnt-") as directory, private_ovs(Path(directory)) as ovs:
        ovs.add_bridge("br0")
        return asyncio.run(_both_sides(ovs, Path(directory) / "flows.txt"))


async def _both_sides(ovs: Ovs, file: Path) -> Measured:
    flows = forwarding(FLOWS)
    file.write_text("".join(f"{format_flow(flow)}\n" for flow in flows))
    ready: asyncio.Queue[Switch] = asyncio.Queue()
    server = Server(ovs.rundir / "openflow.sock", on_switch=ready.put_nowait)
    await server.start()
    ovs.set_controller("br0", ovs.rundir / "openflow.sock")
    switch = await ready.get()

    async def ours() -> object:
        return await switch.program(iter(flows))

    async def peer() -> object:
        return await asyncio.to_thread(ovs.ofctl, "add-flows", "br0", "--bundle", str(file))

    taken: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(ROUNDS):
        taken["ours"].append(await _timed(ovs, ours))
        taken["peer"].append(await _timed(ovs, peer))
    await server.close()
    return Measured(FLOWS / median(taken["ours"]), FLOWS / median(taken["peer"]), _seconds(taken))


async def _timed(ovs: Ovs, work: Callable[[], Awaitable[object]]) -> float:
    """Seconds to fill the empty bridge; checked that it is full afterwards."""
    ovs.ofctl("del-flows", "br0")
    ovs.appctl("revalidator/wait")
    started = time.perf_counter()
    await work()
    taken = time.perf_counter() - started
    assert f"flow_count={FLOWS}" in ovs.ofctl("dump-aggregate", "br0")
    return taken


def _seconds(taken: dict[str, list[float]]) -> str:
    return "; ".join(f"{who} {', '.join(f'{value:.2f}' for value in values)} s" for who, values in taken.items())


@bench("flow-mod encoding", unit="flows/s", target=at_least(150_000), peer="os-ken")
def encoding_rate() -> Measured:
    """Nothing is encoded twice within a round; the peer encodes the first 5,000 of the same flows."""
    flows = forwarding(FLOWS)
    ours = median(_encode(flows) for _ in range(ROUNDS))
    return Measured(FLOWS / ours, OSKEN_FLOWS / _encode_with_osken(flows[:OSKEN_FLOWS]), "distinct flows, OpenFlow 1.4")


def _encode(flows: list[Flow]) -> float:
    started = time.perf_counter()
    for first in range(0, len(flows), 512):
        encode_flow_mods(flows[first : first + 512], ADD, first, V14)
    return time.perf_counter() - started


def _encode_with_osken(flows: list[Flow]) -> float:
    from sdn.southbound.messages import dialect, encode

    codec = dialect(V14)
    parser, ofproto = codec.ofproto_parser, codec.ofproto
    started = time.perf_counter()
    for xid, flow in enumerate(flows, 1):
        encode(_osken_flow_mod(codec, parser, ofproto, flow), xid)
    return time.perf_counter() - started


def _osken_flow_mod(codec: Any, parser: Any, ofproto: Any, flow: Flow) -> Any:
    fields = {field: value for field, value, _ in flow.match}
    (action,) = flow.actions
    assert isinstance(action, SetField)
    applied = parser.OFPInstructionActions(
        ofproto.OFPIT_APPLY_ACTIONS, [parser.OFPActionSetField(**{action.field: action.value})]
    )
    return parser.OFPFlowMod(
        codec, cookie=flow.cookie, table_id=flow.table, priority=flow.priority, match=parser.OFPMatch(**fields),
        instructions=[applied, parser.OFPInstructionGotoTable(flow.goto)],
    )  # fmt: skip


def as_json(what: str, measured: Measured, target: str) -> str:
    ours, peer, ratio = round(measured.ours), round(measured.peer or 0), round(measured.ratio or 0, 2)
    return json.dumps(
        {"what": what, "ours": ours, "peer": peer, "ratio": ratio, "target": target, "note": measured.note}
    )


if __name__ == "__main__":
    print(as_json("flows into one bridge, flows/s", flows_into_one_bridge(), "ratio ≥ 0.8"))
    print(as_json("flow-mod encoding, flows/s", encoding_rate(), "ours ≥ 150000"))
