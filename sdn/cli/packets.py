"""`trace`, `flows` and `exec`: looking at packets and flows, and being inside a node."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from datapath.errors import FileError
from datapath.linux import inside, namespaces
from datapath.openflow.text import Names, format_actions, format_flow, format_match
from datapath.spec import INTEGRATION_BRIDGE, namespace
from sdn import names, plainly
from sdn.cli import output, target
from sdn.cli.output import ACCENT, BAD, GOOD, SOFT, STRONG, Cell, count
from sdn.lab.rundir import RunDir
from sdn.pipeline.fields import Cookie, Kind, is_ours

if TYPE_CHECKING:
    from datapath.openflow.codec import FlowStats
    from sdn.model import Model
    from sdn.way import Trace

_LOCALHOST = "127.0.0.1 localhost\n::1 localhost\n"


# ── trace ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def trace(wanted: str | None, source: str, towards: str, protocol: str, arp: bool, as_json: bool) -> int:
    """Follow a packet through the flows that the switches have; returns 0 where it is delivered, else 1."""
    from sdn import trace as tables
    from sdn.lab.observed import observer

    model, facts = target.running(wanted)
    kind, port = ("arp", 0) if arp else plainly.protocol(protocol)
    ends = tables.endpoints(model, source, towards)
    found = tables.trace(tables.Fabric(model, observer(model.lab), facts), *ends, kind, port)
    if as_json:
        output.as_json(plainly.trace(found))
    else:
        _show_trace(found)
    return 0 if found.reached else 1


def _show_trace(found: Trace) -> None:
    for hop in found.hops:
        output.say(f"{output.paint(hop.chassis, STRONG)}, in by {hop.in_port}")
        if hop.realised_by:
            output.say(f"  ({hop.realised_by})")
        if hop.unread:
            output.say(f"  {output.paint(f'as it shall be, for it does not say: {hop.unread}', output.WARNING)}")
        wide = max((len(step.table) for step in hop.steps), default=0)
        for step in hop.steps:
            output.say(f"  {output.paint(step.table.ljust(wide), ACCENT)}  {step.text}")
            if step.about:
                output.say(f"  {' ' * wide}  {output.paint(step.about, output.WARNING if step.foreign else SOFT)}")
        for place in hop.outputs:
            output.say(f"  {output.paint('→', GOOD)} {place}")
        if not hop.outputs:
            output.say(f"  {output.paint('■', BAD)} {hop.ended}")
        output.say()
    output.say(output.paint(found.verdict, GOOD if found.reached else BAD))


# ── flows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which flows are shown."""

    chassis: str | None = None
    table: str | None = None
    node: str | None = None
    foreign: bool = False


def flows(wanted: str | None, which: Wanted, raw: bool, as_json: bool) -> None:
    model, _ = target.running(wanted)
    number = plainly.table(which.table) if which.table is not None else None
    cookies = _cookies(model, which.node)
    place = which.chassis or (model.nodes[which.node].chassis if which.node else None)
    dumps = asyncio.run(_dump(model.lab, _with_tables(model, target.chassis(model, place))))
    kept = {name: [stats for stats in dump if _fits(stats, number, cookies)] for name, dump in dumps.items()}
    if which.foreign:
        kept = {name: [stats for stats in dump if not is_ours(stats.flow.cookie)] for name, dump in kept.items()}
    if as_json:
        output.as_json({name: _flows_json(model, name, found) for name, found in kept.items()})
    elif raw:
        _show_raw(kept)
    else:
        for name, found in kept.items():
            _show_flows(model, name, found)


def _with_tables(model: Model, chassis: Sequence[str]) -> list[str]:
    """Raises FileError where none of them has any, and says what there is to look at instead."""
    found = [name for name in chassis if model.chassis[name].has_tables]
    if found or not chassis:
        return found
    raise plainly.no_tables(model.chassis[chassis[0]])


def _cookies(model: Model, node: str | None) -> set[int] | None:
    if node is None:
        return None
    wanted = target.node(model, node).name
    return {Cookie(Kind.PORT, port.id).pack() for port in model.ports.values() if port.node == wanted}


def _fits(stats: FlowStats, table: int | None, cookies: set[int] | None) -> bool:
    return table in (None, stats.flow.table) and (cookies is None or stats.flow.cookie in cookies)


async def _dump(name: str, chassis: Sequence[str]) -> dict[str, list[FlowStats]]:
    """The flows of several switches, asked at the same time, in the pipeline's order."""
    from sdn.southbound import connect

    async def one(host: str) -> list[FlowStats]:
        path = RunDir(name).chassis(host) / f"{INTEGRATION_BRIDGE}.mgmt"
        async with connect(path, name=host) as switch:
            found = (await switch.dump()).values()
        return sorted(found, key=plainly.order)

    dumps = await asyncio.gather(*map(one, chassis))
    return dict(zip(chassis, dumps, strict=True))


def _show_flows(model: Model, chassis: str, found: list[FlowStats]) -> None:
    known = names.names(model, chassis)
    output.say(output.paint(f"{chassis}: {count(len(found), 'flow')}", STRONG))
    for table, group in groupby(found, key=lambda stats: stats.flow.table):
        output.say("\n" + output.paint(f"{known.table(table)} (table {table})", ACCENT))
        rows = [_flow_row(stats, known) for stats in group]
        columns = ("priority", "match", "actions", "packets", "bytes", "because of")
        output.table(columns, rows, ("priority", "packets", "bytes"))
    output.say()


def _flow_row(stats: FlowStats, known: Names) -> output.Row:
    flow = stats.flow
    actions = format_actions(flow, known)
    busy = "" if stats.packets else SOFT
    return (
        flow.priority,
        format_match(flow.match, known).replace(",", ", ") or "any packet",
        Cell(actions, BAD if actions == "drop" else ""),
        Cell(f"{stats.packets:,}", busy),
        Cell(f"{stats.bytes:,}", busy),
        Cell(names.whose(known, flow.cookie), SOFT),
    )


def _show_raw(kept: dict[str, list[FlowStats]]) -> None:
    for name, found in kept.items():
        if len(kept) > 1:
            output.say(f"# {name}")
        for stats in found:
            output.say(format_flow(stats.flow))


def _flows_json(model: Model, chassis: str, found: list[FlowStats]) -> list[dict[str, Any]]:
    known = names.names(model, chassis)
    return [plainly.flow(stats, known) for stats in found]


# ── exec ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def execute(wanted: str | None, node: str, command: Sequence[str]) -> int:
    """Become `command` inside the node or chassis: its terminal, its signals and its exit code are ours. In a guest,
    which has a kernel of its own, its agent runs it; returns the exit code."""
    model, facts = target.running(wanted)
    target.place(model, node)
    if node not in model.guests:
        _become(model, node, command)
    from sdn.cli import within

    return within.execute(model, facts, node, command, _LOCALHOST + _hosts(model, node))


def _become(model: Model, node: str, command: Sequence[str]) -> NoReturn:
    hosts = _write_hosts(model, node)
    try:
        inside.become(namespaces.DIRECTORY / namespace(model.lab, node), hosts)
    except FileNotFoundError:
        raise FileError(f"{node} is not on this machine", remedy=f"see: sdn status {model.lab}") from None
    try:
        os.execvp(command[0], list(command))  # noqa: S606
    except FileNotFoundError:
        raise _NotRunError(127, f"there is no command {command[0]}", "nodes share this machine's files") from None
    except PermissionError:
        raise _NotRunError(126, f"{command[0]} may not be executed") from None


class _NotRunError(FileError):
    """With the exit code that shells have for it (POSIX, 2.8.2)."""

    def __init__(self, exit_code: int, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.exit_code = exit_code


def _write_hosts(model: Model, node: str) -> Path:
    """This machine's /etc/hosts, and the lab's nodes."""
    file = RunDir(model.lab).path / "hosts" / node
    file.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_text(Path("/etc/hosts").read_text() + f"\n# lab {model.lab}\n" + _hosts(model, node))
    fresh.chmod(0o644)  # whatever user a command runs as reads it
    fresh.replace(file)
    return file


def _hosts(model: Model, node: str) -> str:
    """The lab's nodes by name, first those at the addresses that `node` shares a network with."""
    own = {port.network for port in model.ports.values() if port.node == node}
    near = sorted(model.ports.values(), key=lambda port: port.network not in own)
    return "".join(f"{ip} {port.node}\n" for port in near for ip in port.ips)
