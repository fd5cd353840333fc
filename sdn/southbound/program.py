"""Programming a switch: dump, reconcile, and change flows in one atomic ordered bundle with a barrier.

Enters: desired flows. Leaves: flow-mods on the wire, dumps, refusals with the flow in words. Never: a deletion before
the caller has all that is desired, a future per flow-mod, a whole program encoded before its first byte is sent.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Final

from datapath.errors import RefusedError, SdnError
from datapath.openflow.codec import (
    ADD,
    DELETE_STRICT,
    FlowStats,
    FlowUpdate,
    decode_flow_stats,
    decode_flow_updates,
    encode_bundle_add,
    encode_flow_mods,
)
from datapath.openflow.flow import Flow, FlowKey
from datapath.openflow.text import format_flow
from sdn.southbound.changes import Changes, compare
from sdn.southbound.messages import VERSIONS
from sdn.southbound.requests import ALL_FLOWS, Control, Watch, bundle_control, flow_monitor
from sdn.southbound.session import FLOW_MOD_XID, Session

BATCH: Final = 512
"""Flows encoded between two turns of the loop: about 1.5 ms and 64 KiB."""

_BUNDLES_SINCE: Final = 5  # wire version of OpenFlow 1.4
_MONITORS_SINCE: Final = 5

Batch = tuple[int, list[Flow]]
"""A flow-mod command and at most BATCH flows."""


class _Sent:
    """The flow-mods of one transaction: their xids count up, so that an error leads back to its flow."""

    def __init__(self, first_xid: int) -> None:
        self.first = first_xid
        self.flows: list[Flow] = []
        self.refused: tuple[str, Flow] | None = None

    @property
    def next_xid(self) -> int:
        return FLOW_MOD_XID | (self.first + len(self.flows)) & (FLOW_MOD_XID - 1)

    def refuse(self, xid: int, why: str) -> None:
        place = (xid - self.first) & (FLOW_MOD_XID - 1)
        if self.refused is None and place < len(self.flows):
            self.refused = why, self.flows[place]


class Switch(Session):
    """A session with flows: what the controller programs, and what `sdn flows` asks."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._one_at_a_time = asyncio.Lock()
        self._next_flow_mod = 0
        self._bundle_id = 0

    async def dump(self) -> dict[FlowKey, FlowStats]:
        """Every flow of every table, decoded part by part as it comes. Raises TransientError when the switch goes."""
        flows: dict[FlowKey, FlowStats] = {}

        def part(body: bytes) -> None:
            for stats in decode_flow_stats(body, self.version):
                flows[stats.flow.key] = stats

        await self.multipart(ALL_FLOWS, part)
        return flows

    async def reconcile(self, desired: Mapping[FlowKey, Flow]) -> Changes:
        """Dump, compare, change only what differs. `desired` must be complete: ours that is not in it is removed."""
        async with self._one_at_a_time:
            changes = compare(desired, await self.dump())
            await self._program(changes.add, changes.change, changes.remove)
            return changes

    async def monitor(self, tables: Mapping[int, Watch], on_updates: Callable[[list[FlowUpdate]], None]) -> None:
        """From now on tells of flows that others change in these tables; of what this session does only that it did.

        What there is already is not told. Raises RefusedError where the switch has no flow monitors.
        """
        if self.version < _MONITORS_SINCE:
            raise RefusedError(f"{self.name}: OpenFlow {VERSIONS[self.version]} has no flow monitors")
        self.on_updates = lambda body: on_updates(decode_flow_updates(body, self.version))
        await self.multipart(flow_monitor(tables), lambda _: None)

    async def program(self, add: Iterable[Flow] = (), change: Iterable[Flow] = (), remove: Iterable[Flow] = ()) -> int:
        """Make the changes in this order and wait for the barrier; returns how many flow-mods it took.

        OpenFlow 1.4: no packet sees a part of it, and it is all or nothing; of additions alone those are there that the
        switch did not refuse. OpenFlow 1.3: three steps, each behind a barrier; a refusal ends it after its step.
        Raises RefusedError with flow and reason, TransientError when the switch goes.
        """
        async with self._one_at_a_time:
            return await self._program(add, tuple(change), tuple(remove))

    async def _program(self, add: Iterable[Flow], change: tuple[Flow, ...], remove: tuple[Flow, ...]) -> int:
        sent = _Sent(self._next_flow_mod)
        phases = (_batches(ADD, add), _batches(ADD, change), _batches(DELETE_STRICT, remove))  # no MODIFY: see Changes
        self.on_refused = sent.refuse
        try:
            if self.version < _BUNDLES_SINCE:
                await self._step_by_step(phases, sent)
            elif first := next(batches := chain(*phases), None):
                await self._in_a_bundle(chain([first], batches), sent, only_adds=not (change or remove))
            else:
                await self.barrier()
        finally:
            self.on_refused = None
            self._next_flow_mod = (self._next_flow_mod + len(sent.flows)) & (FLOW_MOD_XID - 1)
        return len(sent.flows)

    async def _step_by_step(self, phases: Iterable[Iterable[Batch]], sent: _Sent) -> None:
        for batches in phases:
            await self._stream(batches, sent, lambda flow_mod: flow_mod)
            await self.barrier()
            self._check(sent, "flows sent before it stay; nothing was sent after its step")

    async def _in_a_bundle(self, batches: Iterable[Batch], sent: _Sent, *, only_adds: bool) -> None:
        """Open, add, barrier, and commit only what was accepted in whole (Open vSwitch would commit the rest).

        Additions are committed without that barrier, in one turn of the switch's main loop and one round trip: the rest
        of them takes nothing away, and whoever called compares after a refusal, to have all but what was refused.
        """
        self._bundle_id = bundle = self._bundle_id % 0xFFFFFFFF + 1
        opened = self.ask(bundle_control(bundle, Control.OPEN))
        try:
            await self._stream(batches, sent, lambda flow_mod: encode_bundle_add(bundle, flow_mod))
            if not only_adds:
                await self.barrier()
            self._check(sent)
        except BaseException:
            self.ask(bundle_control(bundle, Control.DISCARD))
            raise
        committed = self.ask(bundle_control(bundle, Control.COMMIT))
        await self.barrier()
        is_there = committed.done() and committed.exception() is None
        self._check(sent, "all others were added" if is_there else "nothing was changed")
        await opened
        await committed

    async def _stream(self, batches: Iterable[Batch], sent: _Sent, wrap: Callable[[bytes], bytes]) -> None:
        """Encode a batch, hand it to the socket, let the loop turn: the switch works while the next is encoded."""
        for command, batch in batches:
            if self.over.done():
                raise self.lost()
            if sent.refused:
                return
            flow_mods = self._encode(batch, command, sent.next_xid)
            sent.flows += batch
            self.connection.write(b"".join([wrap(flow_mod) for flow_mod in flow_mods]))
            await self.connection.drain()

    def _encode(self, batch: list[Flow], command: int, xid: int) -> list[bytes]:
        try:
            return encode_flow_mods(batch, command, xid, self.version)
        except _NOT_ENCODABLE as error:
            raise self._not_encodable(batch, command) from error

    def _not_encodable(self, batch: list[Flow], command: int) -> SdnError:
        for flow in batch:
            try:
                encode_flow_mods([flow], command, 0, self.version)
            except _NOT_ENCODABLE as error:
                why = f"{flow} has no OpenFlow encoding: {error!r}"
                return RefusedError(f"{self.name}: {why}; nothing was changed", about=flow)
        raise AssertionError("a batch that cannot be encoded has a flow that cannot")

    def _check(self, sent: _Sent, state: str = "nothing was changed") -> None:
        if sent.refused:
            why, flow = sent.refused
            raise RefusedError(f"{self.name} refused {format_flow(flow)}: {why}; {state}", about=flow)


_NOT_ENCODABLE: Final = (KeyError, ValueError, OverflowError, struct.error)


def _batches(command: int, flows: Iterable[Flow]) -> Iterator[Batch]:
    rest = iter(flows)
    while batch := list(islice(rest, BATCH)):
        yield command, batch
