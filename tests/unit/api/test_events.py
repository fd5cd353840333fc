"""Events: what is told of what happened, in which words; the ring, and streams that lose nothing in silence."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from sdn.api import events as streams
from sdn.api.happened import KINDS, About, Event, State, happened, past
from sdn.api.hub import Filter, Hub
from sdn.model.facts import NO_ANSWER, Drift, Facts, FlowFacts, GuestFacts, HostFacts, PortFacts
from sdn.topology import parse
from tests.unit.api.asked import Asked
from tests.unit.api.memory import TOPOLOGY, MemoryStore, Running, running
from tests.unit.cli.sample import machines

NOW = 1_700_000_000.0
FLOW = "flow answer 20 arp of port a:eth0"


def told(old: Facts, new: Facts) -> list[tuple[str, str]]:
    model = machines()
    return [(event.kind, event.message) for event in happened(State(model, old), State(model, new), NOW)]


# ── words ──


CASES: dict[str, tuple[Facts, Facts, list[tuple[str, str]]]] = {
    "a port comes up": (
        Facts(ports={"web1.eth0": PortFacts()}),
        Facts(ports={"web1.eth0": PortFacts(True, 70)}),
        [("port.up", "port web1.eth0 is up")],
    ),
    "a port goes down": (
        Facts(ports={"web1.eth0": PortFacts(True, 70)}),
        Facts(ports={"web1.eth0": PortFacts(False, 70)}),
        [("port.down", "port web1.eth0 is down")],
    ),
    "a port that is new and down says nothing": (Facts(), Facts(ports={"web1.eth0": PortFacts()}), []),
    "a switch connects": (
        Facts(flows={"hv1": FlowFacts()}),
        Facts(flows={"hv1": FlowFacts(True, 3, 12)}),
        [
            ("chassis.changed", "the switch of hv1 is connected to the controller"),
            ("flows.confirmed", "hv1 confirmed the flows of revision 3"),
        ],
    ),
    "a switch goes": (
        Facts(flows={"hv1": FlowFacts(True, 3, 12)}),
        Facts(flows={"hv1": FlowFacts(False, 0, 12)}),
        [
            ("chassis.changed", "the switch of hv1 is disconnected from the controller"),
            ("failure", "hv1: the switch is not connected to the controller"),
        ],
    ),
    "a switch hangs": (
        Facts(flows={"hv1": FlowFacts(True, 3, 12)}),
        Facts(flows={"hv1": FlowFacts(False, 3, 12, NO_ANSWER, silent=True)}),
        [
            ("chassis.changed", "the switch of hv1 does not answer any more"),
            ("failure", "hv1: the switch does not answer"),
        ],
    ),
    "a switch that hangs is killed": (
        Facts(flows={"hv1": FlowFacts(False, 3, 12, NO_ANSWER, silent=True)}),
        Facts(flows={"hv1": FlowFacts(False, 3, 12)}),
        [
            ("chassis.changed", "the switch of hv1 is disconnected from the controller"),
            ("failure", "hv1: the switch is not connected to the controller"),
        ],
    ),
    "a switch goes on": (
        Facts(flows={"hv1": FlowFacts(False, 3, 12, NO_ANSWER, silent=True)}),
        Facts(flows={"hv1": FlowFacts(True, 3, 12)}),
        [("chassis.changed", "the switch of hv1 answers again")],
    ),
    "flows are missing, and there again": (
        Facts(flows={"hv1": FlowFacts(True, 3, 12, "table full"), "hv2": FlowFacts(True, 3, 12)}),
        Facts(flows={"hv1": FlowFacts(True, 3, 12), "hv2": FlowFacts(True, 3, 11, "table full")}),
        [
            ("chassis.changed", "the flows of hv1 are as they shall be again"),
            ("failure", "hv2: table full"),
        ],
    ),
    "somebody adds flows, and more of them": (
        Facts(flows={"hv1": FlowFacts(True, 3, 12), "hv2": FlowFacts(True, 3, 12, note="1 flow is not the lab's")}),
        Facts(
            flows={
                "hv1": FlowFacts(True, 3, 12, note="1 flow is not the lab's"),
                "hv2": FlowFacts(True, 3, 12, note="2 flows are not the lab's"),
            }
        ),
        [("chassis.changed", "hv1: 1 flow is not the lab's")],
    ),
    "a host builds, notes and fails": (
        Facts(hosts={"hv1": HostFacts(1)}),
        Facts(hosts={"hv1": HostFacts(2, "netdev", ("no such interface",), ("userspace",))}),
        [
            ("chassis.changed", "hv1 has built revision 2 but for an error"),
            ("chassis.changed", "hv1: userspace"),
            ("failure", "hv1: no such interface"),
        ],
    ),
    "a host recovers": (
        Facts(hosts={"hv1": HostFacts(2, "netdev", ("no such interface",))}),
        Facts(hosts={"hv1": HostFacts(2, "netdev")}),
        [("chassis.changed", "hv1 has no errors any more")],
    ),
    "a guest runs": (
        Facts(guests={"vm1": GuestFacts("starting", "hv1")}),
        Facts(guests={"vm1": GuestFacts("running", "hv1", pid=7)}),
        [("guest.changed", "guest vm1: starting → running")],
    ),
    "a guest has moved": (
        Facts(guests={"vm1": GuestFacts("moving", "hv1", goes="hv2")}),
        Facts(guests={"vm1": GuestFacts("running", "hv2")}),
        [("guest.changed", "guest vm1: moving → running, from hv1 to hv2")],
    ),
    "a guest fails": (
        Facts(guests={"vm1": GuestFacts("running", "hv1")}),
        Facts(guests={"vm1": GuestFacts("failed", "", error="no kernel")}),
        [("guest.changed", "guest vm1: running → failed"), ("failure", "guest vm1 has failed: no kernel")],
    ),
    "a guest was started again": (
        Facts(guests={"vm1": GuestFacts("running", "hv1", pid=7)}),
        Facts(guests={"vm1": GuestFacts("running", "hv1", pid=8, restarts=1)}),
        [("guest.changed", "guest vm1: started again, 1 times so far")],
    ),
    "drift is found": (
        Facts(),
        Facts(drifts={"agent-1": Drift("hv1", FLOW, "removed", NOW)}),
        [("drift.found", f"hv1: {FLOW} was removed by somebody")],
    ),
    "drift is repaired": (
        Facts(drifts={"agent-1": Drift("hv1", FLOW, "removed", NOW)}),
        Facts(drifts={"agent-1": Drift("hv1", FLOW, "removed", NOW, NOW + 0.0125)}),
        [("drift.repaired", f"hv1: {FLOW} was removed by somebody; put back 12.5 ms later")],
    ),
    "drift is repaired before anybody looked": (
        Facts(),
        Facts(drifts={"agent-1": Drift("hv1", "2 flows, such as x", "added", NOW, NOW + 2)}),
        [
            ("drift.found", "hv1: 2 flows, such as x were added by somebody"),
            ("drift.repaired", "hv1: 2 flows, such as x were added by somebody; removed again 2.00 s later"),
        ],
    ),
    "drift is found again and put right again": (
        Facts(drifts={"agent-1": Drift("hv1", FLOW, "removed", NOW, NOW + 0.01)}),
        Facts(drifts={"agent-1": Drift("hv1", FLOW, "removed", NOW + 1, NOW + 1.02, times=3)}),
        [
            ("drift.found", f"hv1: {FLOW} was removed by somebody, 3 times so far"),
            ("drift.repaired", f"hv1: {FLOW} was removed by somebody, 3 times so far; put back 20.0 ms later"),
        ],
    ),
    "drift that is open is found again": (
        Facts(drifts={"agent-1": Drift("hv1", FLOW, "removed", NOW)}),
        Facts(drifts={"agent-1": Drift("hv1", FLOW, "removed", NOW + 1, times=2)}),
        [("drift.found", f"hv1: {FLOW} was removed by somebody, 2 times so far")],
    ),
    "a switch came back empty": (
        Facts(),
        Facts(drifts={"c-1": Drift("hv1", "45 flows, such as x", "lost", NOW)}),
        [("drift.found", "hv1: the switch came back without 45 flows, such as x")],
    ),
    "drift stays": (
        Facts(drifts={"agent-1": Drift("hv1", FLOW, "changed", NOW)}),
        Facts(drifts={"agent-1": Drift("hv1", FLOW, "changed", NOW, 0.0, "table full")}),
        [("failure", f"hv1: {FLOW} was changed by somebody, and cannot be put right: table full")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_words(case: str) -> None:
    old, new, expected = CASES[case]
    assert told(old, new) == expected
    assert told(new, new) == []
    assert {kind for kind, _ in expected} <= set(KINDS)


def test_words_of_revisions() -> None:
    store = MemoryStore()
    before = State(store.model(), revisions=store.revisions())
    model = before.model
    assert model
    web = replace(model.networks["web"], mtu=1400)
    store.write(replace(model, networks=model.networks | {"web": web}), author="bob", origin="PATCH /v1/networks/web")
    written = State(store.model(), revisions=store.revisions())
    (event,) = happened(before, written, NOW)
    assert (event.kind, event.revision) == ("model.changed", 2)
    assert event.message == "revision 2 by bob (PATCH /v1/networks/web): 1 network changed"
    assert event.data["names"] == {"network": {"added": (), "changed": ("web",), "removed": ()}}
    assert event.touches == ("network/web",)
    store.settle(2, ["hv1: no"])
    (event,) = happened(written, State(store.model(), revisions=store.revisions()), NOW)
    assert event.message == "revision 2 is settled after 250 ms with an error: hv1: no"


def test_the_first_revision_counts_everything() -> None:
    (event,) = past(State(MemoryStore().model(), revisions=MemoryStore().revisions()))
    assert event.message.endswith("2 chassis, 2 networks, 2 nodes and 2 ports added")


def test_a_guest_is_not_counted_as_a_node_too() -> None:
    store = MemoryStore("name: small\nchassis: {hv1: {}}\nnetworks: {web: {segment: {vxlan: 7}}}\n")
    model = store.model()
    assert model
    guest = machines()
    store.write(replace(model, nodes={"vm1": guest.nodes["vm1"]}, guests={"vm1": guest.guests["vm1"]}))
    event = past(State(store.model(), revisions=store.revisions()))[-1]
    assert event.message.endswith(": 1 guest added")


def test_what_only_moved_in_its_file_is_not_told_of() -> None:
    """A line more at the top of a file moves all that follow."""
    store = MemoryStore()
    before = State(store.model(), revisions=store.revisions())
    store.write(parse("# a line more\n" + TOPOLOGY, "small.yaml", before.model))
    moved = State(store.model(), revisions=store.revisions())
    (event,) = happened(before, moved, NOW)
    assert event.message == "revision 2 by nobody: only lines of the file have moved"
    assert (event.data["counts"], event.data["names"], event.touches) == ({}, {}, ())
    store.write(parse("# two\n# more\n" + TOPOLOGY.replace("hv2}", "hv1}"), "small.yaml", moved.model))
    (event,) = happened(moved, State(store.model(), revisions=store.revisions()), NOW)
    assert event.message == "revision 3 by nobody: 1 node changed"
    assert event.touches == ("node/b",)


def test_a_thousand_errors_take_no_more_room_than_they_need() -> None:
    """Each event tells of one; those that many chassis' worth of text would repeat are counted."""
    errors = tuple(f"flow {number}: the switch refused it, since its table is full" for number in range(1000))
    facts = [Facts(hosts={"hv1": host}) for host in (HostFacts(1), HostFacts(2, "system", errors), HostFacts(2))]
    model = machines()
    events = [*happened(State(model, facts[0]), State(model, facts[1]), NOW)]
    failures = [event for event in events if event.kind == "failure"]
    assert [event.data for event in failures[:20]] == [{"error": error} for error in errors[:20]]
    assert [event.message for event in failures[20:]] == ["hv1: and 980 more errors; all are in: sdn status"]
    assert sum(len(json.dumps(event.data)) + len(event.message) for event in events) < 10_000
    assert told(facts[1], Facts(hosts={"hv1": HostFacts(3, "system", errors)})) == [
        ("chassis.changed", "hv1 has built revision 3 but for 1000 errors")
    ], "those that are known are not told again"
    assert told(facts[1], facts[2]) == [("chassis.changed", "hv1 has no errors any more")]


def test_a_revision_that_ends_with_many_errors_names_some() -> None:
    store = MemoryStore()
    before = State(store.model(), revisions=store.revisions())
    store.settle(1, [f"hv1: error {number}" for number in range(1000)])
    (event,) = happened(before, State(store.model(), revisions=store.revisions()), NOW)
    assert event.message == "revision 1 is settled after 250 ms with 1000 errors: hv1: error 0"
    assert (len(event.data["errors"]), event.data["more"]) == (20, 980)


def test_a_switch_that_comes_back_confirms_again() -> None:
    store = MemoryStore()
    store.settle(1)
    away, back = (Facts(flows={"hv1": FlowFacts(up, revision, 1)}) for up, revision in ((False, 0), (True, 1)))
    known = store.revisions()
    messages = [e.message for e in happened(State(store.model(), away, known), State(store.model(), back, known), NOW)]
    assert "hv1 confirmed the flows of revision 1 again" in messages


def test_what_was_before_has_its_own_time() -> None:
    store = MemoryStore()
    store.settle(1)
    store.report(drifts={"agent-1": Drift("hv1", FLOW, "removed", NOW, NOW + 1)})
    events = past(State(store.model(), store.facts(), store.revisions()))
    assert [event.kind for event in events] == ["drift.found", "drift.repaired", "model.changed", "revision.settled"]
    assert [event.time for event in events[:2]] == [NOW, NOW + 1]


def test_filters() -> None:
    event = Event(NOW, "port.up", "", About("port", "web1:eth0"), None, {}, ("node/web1", "network/web"), "hv1")
    assert Filter().wants(event)
    assert Filter(kinds=("port.*",), objects=("port/web1:*",), chassis=("hv1",)).wants(event)
    assert Filter(objects=("network/web",)).wants(event)
    assert not Filter(kinds=("guest.*",)).wants(event)
    assert not Filter(objects=("port/web2:*",)).wants(event)
    assert not Filter(chassis=("hv2",)).wants(event)


# ── the list ──


async def known(lab: Running, query: str = "") -> list[dict[str, Any]]:
    answer = await lab.http.get(f"/v1/events?follow=false{query}")
    assert answer.status_code == 200
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


@pytest.mark.asyncio
async def test_the_list_has_what_was_before_and_what_happened() -> None:
    async with running() as lab:
        await lab.until_told("model.changed")
        lab.store.report(ports={"a:eth0": PortFacts(True, 70)})
        await lab.until_told("port.up")
        first, last = await known(lab)
        assert first["message"].startswith("revision 1 by alice (sdn up small.yaml)")
        assert first["object"] == {"kind": "lab", "name": "small"}
        assert (last["kind"], last["object"]) == ("port.up", {"kind": "port", "name": "a:eth0"})
        assert last["lab"] == "small"
        assert await known(lab, "&kind=port.*&object=port/a:*&chassis=hv1") == [last]
        assert await known(lab, f"&after={first['id']}") == [last]
        assert await known(lab, "&chassis=hv2") == []


@pytest.mark.asyncio
async def test_who_accepts_json_gets_the_list() -> None:
    async with running() as lab:
        await lab.until_told("model.changed")
        wished = await lab.http.get("/v1/events", headers={"Accept": "application/json"})
        assert wished.headers["content-type"] == "application/json"
        assert wished.json() == (await lab.http.get("/v1/events?follow=false")).json()
        assert [item["kind"] for item in wished.json()["items"]] == ["model.changed"]


@pytest.mark.asyncio
async def test_the_list_has_pages() -> None:
    async with running() as lab:
        await lab.until_told("model.changed")
        for number in range(7):
            lab.hub.tell("test.done", f"test {number}")
        page: str | None = "/v1/events?kind=test.*&limit=3"
        told: list[list[str]] = []
        while page:
            answer = (await lab.http.get(page, headers={"Accept": "application/json"})).json()
            told.append([item["message"][5:] for item in answer["items"]])
            page = answer["next"]
        assert told == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
        assert answer["last"] == lab.hub.id(lab.hub.last)


@pytest.mark.asyncio
async def test_a_list_says_what_is_gone_between_its_pages() -> None:
    async with running() as lab:
        await lab.until_told("model.changed")
        lab.hub._ring = type(lab.hub._ring)(lab.hub._ring, maxlen=3)
        for number in range(7):
            lab.hub.tell("test.done", f"test {number}")
        answer = await lab.http.get(f"/v1/events?follow=false&after={lab.hub.id(2)}")
        assert [item["kind"] for item in answer.json()["items"]] == ["missed", *["test.done"] * 3]
        answer = await lab.http.get(f"/v1/events?follow=false&after={lab.hub.id(5)}")
        assert [item["message"] for item in answer.json()["items"]] == ["test 4", "test 5", "test 6"]


@pytest.mark.asyncio
@pytest.mark.parametrize("query", ["?kinds=port.*", "?follow=false&limit=0", "?limit=10001", "?node=a"])
async def test_what_a_list_of_events_does_not_know_is_refused(query: str) -> None:
    async with running() as lab:
        answer = await lab.http.get(f"/v1/events{query}", headers={"Accept": "application/json"})
        assert answer.status_code == 400


@pytest.mark.asyncio
async def test_an_id_of_another_process_is_refused_in_a_list() -> None:
    async with running() as lab:
        answer = await lab.http.get("/v1/events?follow=false&after=abc-3")
        assert answer.status_code == 400
        assert answer.json()["type"] == "urn:sdn:problem:malformed"


# ── streams ──


def blocks(stream: Asked) -> list[dict[str, str]]:
    """What was sent so far, by field."""
    text = b"".join(message.get("body", b"") for message in stream.sent).decode()
    found = []
    for block in text.split("\n\n")[:-1]:
        found.append(dict(line.split(": ", 1) for line in block.splitlines()))
    return [block for block in found if "data" in block]


async def received(stream: Asked, many: int) -> list[dict[str, str]]:
    async with asyncio.timeout(5):
        while len(blocks(stream)) < many:
            await asyncio.sleep(0)
    return blocks(stream)


@pytest.mark.asyncio
async def test_a_stream_says_each_event_as_it_happens() -> None:
    async with running() as lab:
        await lab.until_told("model.changed")
        stream = Asked(lab.app, "/v1/events")
        await stream.until("http.response.body")
        lab.store.report(ports={"a:eth0": PortFacts(True, 70)})
        (block,) = await received(stream, 1)
        assert block["event"] == "port.up"
        event = json.loads(block["data"])
        assert event["id"] == block["id"] == lab.hub.id(lab.hub.last)
        stream.say({"type": "http.disconnect"})
        await stream.end()


@pytest.mark.asyncio
async def test_a_stream_resumes_behind_the_last_event_without_loss() -> None:
    async with running() as lab:
        await lab.until_told("model.changed")
        for number in range(10):
            lab.hub.tell("test.done", f"test {number}")
        stream = Asked(lab.app, "/v1/events", last_event_id=lab.hub.id(4))
        lab.hub.tell("test.done", "test 10")
        messages = [json.loads(block["data"])["message"] for block in await received(stream, 8)]
        assert messages == [f"test {number}" for number in range(3, 11)]
        lab.hub.close()
        await stream.end()


@pytest.mark.asyncio
@pytest.mark.parametrize("after", ["gone", "other-3", "nonsense", "future"])
async def test_who_resumes_from_what_is_not_here_is_told(after: str) -> None:
    async with running() as lab:
        await lab.until_told("model.changed")
        lab.hub._ring = type(lab.hub._ring)(lab.hub._ring, maxlen=5)
        for number in range(10):
            lab.hub.tell("test.done", f"test {number}")
        ids = {"gone": lab.hub.id(2), "future": lab.hub.id(99)}
        stream = Asked(lab.app, "/v1/events", last_event_id=ids.get(after, after))
        await received(stream, 1)
        lab.hub.tell("test.done", "afterwards")
        missed, event = await received(stream, 2)
        assert missed["event"] == "missed"
        assert lab.hub.place(missed["id"]) == 11
        assert json.loads(event["data"])["message"] == "afterwards"
        lab.hub.close()
        await stream.end()


@pytest.mark.asyncio
async def test_who_reads_too_slowly_is_told_and_let_go() -> None:
    async with running() as lab:
        await lab.until_told("model.changed")
        hub = Hub(lab.app.state.live, kept=100)
        gate, sent = asyncio.Event(), []

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) == 2:  # the first piece; the rest waits
                await gate.wait()

        async def receive() -> Any:
            await asyncio.Event().wait()

        stream = asyncio.create_task(streams.Stream(hub, Filter(), "")({}, receive, send))
        while len(sent) < 2:
            await asyncio.sleep(0)
        for number in range(1000):
            hub.tell("test.done", f"test {number}")
        assert len(hub.since(0)) == 100, "memory is bounded"
        gate.set()
        await asyncio.wait_for(stream, 5)
        text = b"".join(message.get("body", b"") for message in sent).decode()
        assert "event: missed" in text
        assert "test.done" not in text
        assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@pytest.mark.asyncio
async def test_who_does_not_read_at_all_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 0.05)
    async with running() as lab:
        sent = []

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) > 1:
                await asyncio.Event().wait()

        async def receive() -> Any:
            await asyncio.Event().wait()

        await asyncio.wait_for(streams.Stream(lab.hub, Filter(), "")({}, receive, send), 5)
        assert len(sent) == 2


@pytest.mark.asyncio
async def test_a_silent_stream_says_that_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING", 0.02)
    async with running() as lab:
        await lab.until_told("model.changed")
        stream = Asked(lab.app, "/v1/events")
        async with asyncio.timeout(5):
            while not any(b": ping" in message.get("body", b"") for message in stream.sent):
                await asyncio.sleep(0)
        ping = next(message["body"] for message in stream.sent if b": ping" in message.get("body", b""))
        assert ping == b": ping\nid: %b\n\n" % lab.hub.id(1).encode()
        lab.hub.close()
        await stream.end()


@pytest.mark.asyncio
async def test_streams_end_with_the_app() -> None:
    async with running() as lab:
        stream = Asked(lab.app, "/v1/events")
        await stream.until("http.response.body")
    await stream.end()


@pytest.mark.asyncio
async def test_a_lab_that_is_down_is_the_last_that_all_hear() -> None:
    """Whatever they asked for; and what was told before that is not lost."""
    async with running() as lab:
        await lab.until_told("model.changed")
        some = [Asked(lab.app, "/v1/events"), Asked(lab.app, "/v1/events", query="kind=port.*")]
        for stream in some:
            await stream.until("http.response.body")
        lab.hub.tell("test.done", "before")
        await lab.hub.end(5)
        for stream in some:
            await stream.end()
        told = [[(block["event"], json.loads(block["data"])["message"]) for block in blocks(each)] for each in some]
        last = ("lab.down", "lab small is down")
        assert told == [[("test.done", "before"), last], [last]]


@pytest.mark.asyncio
async def test_who_does_not_listen_to_the_last_is_not_waited_for() -> None:
    async with running() as lab:
        stream = Asked(lab.app, "/v1/events", reads=False)
        await asyncio.sleep(0)
        await asyncio.wait_for(lab.hub.end(0.01), 5)
        assert lab.hub.is_closed
        stream.task.cancel()
