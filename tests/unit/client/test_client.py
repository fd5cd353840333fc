"""The client against the real app: typed results, errors as they were, events that resume."""

from __future__ import annotations

import itertools
import json
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest

from datapath.addr import Mac
from datapath.errors import (
    CheckError,
    ConflictError,
    FileError,
    MachineError,
    Problem,
    RefusedError,
    SdnError,
    StaleError,
    TransientError,
)
from sdn.api import refusals
from sdn.api.caller import Caller, Role
from sdn.api.problem import problem
from sdn.api.resources import KINDS as SERVED_KINDS
from sdn.author import acting
from sdn.client import Client, Guest, Port, client, problems, resources, wire
from sdn.client.models import KINDS
from sdn.client.stream import blocks
from sdn.model.facts import PortFacts
from sdn.problems import KINDS as PROBLEMS
from sdn.problems import PREFIX, NeededError, NotFoundError
from tests.unit.api.memory import TOPOLOGY
from tests.unit.client.served import Served, served

__all__ = ["served"]


# ── resources ──


def test_a_port_is_typed(served: Served) -> None:
    served.store.report(ports={"a:eth0": PortFacts(True, 70)})
    with served.client() as lab:
        port = lab.get("port", "a:eth0")
        assert isinstance(port, Port)
        assert (port.node, port.interface, port.tag, port.network, port.chassis) == ("a", "eth0", None, "web", "hv1")
        model = served.store.model()
        assert model
        assert port.mac == model.ports["a:eth0"].mac
        assert isinstance(port.mac, Mac)
        assert port.ips == model.ports["a:eth0"].ips
        assert (port.revision, port.source) == (1, "small.yaml:7:3")
        assert port.etag.startswith('"0123abcd-1-')
        network = lab.get("network", "web")
        assert (network.mtu, network.subnets) == (1450, (ip_network("10.9.0.0/24"),))
        assert lab.get("chassis", "hv1").datapath == "ovs"
        assert lab.get("node", "a").ports == ("a:eth0",)


def test_lists_are_read_page_by_page(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "LIST", 2)
    with served.client() as lab:
        for number in range(1, 6):
            lab.create("node", f"n{number}", {"network": "db"})
        before = len(served.requests)
        assert [port.name for port in lab.list("ports", network="db")] == [f"n{number}:eth0" for number in range(1, 6)]
        assert len(served.requests) - before == 3
        assert [node.name for node in lab.list("node", name="n[12]")] == ["n1", "n2"]


def test_a_life_of_a_node(served: Served) -> None:
    with served.client() as lab:
        made = lab.create("node", "c", {"network": "web", "chassis": "hv1"})
        assert made.revision == 2
        assert lab.create("node", "c", {"network": "web", "chassis": "hv1"}).revision == 2, "it is there already"
        assert lab.patch("port", "c:eth0", {"ip": ip_address("10.9.0.99")}).revision == 3
        assert lab.replace("node", "c", {"network": "db", "chassis": "hv1"}).revision == 4
        assert lab.delete("node", "c") is None
        with pytest.raises(FileError, match="there is no node 'c'"):
            lab.get("node", "c")


def test_what_others_have_changed_is_not_overwritten(served: Served) -> None:
    with served.client() as lab:
        seen = lab.get("network", "web")
        lab.patch("network", "web", {"mtu": 1400})
        with pytest.raises(StaleError) as caught:
            lab.patch("network", "web", {"mtu": 1300}, if_match=seen.etag)
        assert (caught.value.expected, caught.value.present) == (1, 2)
        assert lab.patch("network", "db", {"mtu": 1300}, if_match=seen.etag).revision == 3, "that one has not changed"
        (listed,) = lab.list("network", name="db")
        for one in (listed, lab.get("network", "db")):
            assert one.etag.startswith('"0123abcd-3-')
            assert lab.patch("network", "db", {"mtu": 1300}, if_match=one.etag).revision == 3


def test_what_a_write_would_do(served: Served) -> None:
    """Nothing is stored, whichever way it is asked for."""
    with served.client() as lab:
        plans = [
            lab.create("node", "c", {"network": "web", "chassis": "hv1"}, dry_run=True),
            lab.replace("node", "a", {"network": "db", "chassis": "hv1"}, dry_run=True),
            lab.patch("network", "web", {"mtu": 1400}, dry_run=True),
            lab.delete("node", "a", dry_run=True),
        ]
        assert all(plan.steps or plan.flows for plan in plans)
        assert lab.get("node", "a").revision == 1
        with pytest.raises(FileError, match="there is no node 'd'"):
            lab.delete("node", "d", dry_run=True)


def test_who_waits_learns_what_is_missing(served: Served) -> None:
    with served.client() as lab:
        node = lab.create("node", "c", {"network": "web"}, wait="applied", timeout=0.1)
        assert node.applied
        assert node.applied.revision == 2
        assert node.applied.missing


def test_the_history_has_the_command_that_asked(served: Served) -> None:
    """Of a program that says nothing it has the request."""
    with served.client() as lab:
        lab.create("node", "c", {"network": "web"})
        with acting(author="ann", origin="sdn set node c 'é 100%\n' " + 5000 * "x"):
            lab.patch("node", "c", {"chassis": "hv2"})
        with acting(origin="sdn delete node c"):
            lab.delete("node", "c")
        origins = [revision.origin for revision in lab.revisions(3)]
    assert origins[0] == "sdn delete node c"
    assert origins[1].startswith("sdn set node c 'é 100%' xxx")
    assert len(origins[1]) < 2001
    assert origins[2] == "POST /v1/nodes"


@pytest.mark.parametrize(("name", "written"), [("zoë", "zoë"), ("孫", "?")])
def test_names_of_users_may_have_any_sign(
    served: Served, monkeypatch: pytest.MonkeyPatch, name: str, written: str
) -> None:
    monkeypatch.setenv("SUDO_USER", name)
    with served.client() as lab:
        assert lab.get("node", "a").name == "a"
        (sent,) = (value for key, value in served.headers[-1] if key == b"sdn-author")
        assert sent.decode("latin-1") == written


def test_what_asks_elsewhere_is_nobody_elses_business() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert not {"sdn-origin", "sdn-author"} & {name.lower() for name in request.headers}
        return httpx.Response(204)

    place = wire.Place(None, "https://elsewhere:8443", "sdn_x")
    with acting(origin="sdn delete node c"), Client(place, httpx.MockTransport(answer)) as lab:
        assert lab.delete("node", "c") is None


# ── errors ──


def test_kinds_that_are_served_are_known() -> None:
    assert {kind.noun: kind.path for kind in SERVED_KINDS.values()}.items() <= {
        noun: kind.path for noun, kind in KINDS.items()
    }.items()


def test_an_unknown_kind_says_what_was_meant(served: Served) -> None:
    with served.client() as lab, pytest.raises(FileError) as caught:
        lab.get("netwrok", "web")
    assert caught.value.remedy == "did you mean network?"


def test_every_mistake_comes_with_its_place(served: Served) -> None:
    with served.client() as lab, pytest.raises(FileError) as caught:
        lab.create("node", "c", {"network": "wbe", "chassis": "hv9"})
    assert {mistake.file for mistake in caught.value.problems} == {"/nodes/c/chassis", "/nodes/c/network"}
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "error",
    [
        FileError("wrong", remedy="do it right"),
        NotFoundError("there is none", remedy="see: GET /v1/ports"),
        ConflictError("in the way"),
        NeededError(
            "network 'web' is needed by node a", [Problem("/nodes/a/ports/0/network", 0, 0, "node a needs it")]
        ),
        MachineError("kvm", "no kvm", remedy="buy one"),
        RefusedError("hv1: table full"),
        CheckError("not whole"),
        TransientError("away"),
        StaleError(3, 7),
    ],
)
def test_errors_are_what_they_were(error: SdnError) -> None:
    found = problems.error(*problem(error))
    assert type(found) is type(error)
    assert (found.message, found.remedy, found.retry) == (error.message, error.remedy, error.retry)
    assert found.exit_code == error.exit_code
    assert getattr(found, "problems", ()) == getattr(error, "problems", ())
    if isinstance(error, StaleError):
        assert isinstance(found, StaleError)
        assert (found.expected, found.present) == (3, 7)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"type": "urn:sdn:problem:token", "detail": "no token"}, FileError),
        (403, {"type": "urn:sdn:problem:role", "detail": "too weak"}, FileError),
        (429, {"type": "urn:sdn:problem:too-many", "detail": "slower"}, TransientError),
        (503, {"type": "about:blank", "detail": "away"}, TransientError),
        (502, None, TransientError),
        (500, None, SdnError),
        (404, {"title": "Not Found"}, SdnError),
    ],
)
def test_other_answers(status: int, body: dict[str, Any] | None, kind: type[SdnError]) -> None:
    assert type(problems.error(status, body, "Reason")) is kind


def test_what_the_gate_refuses_is_in_the_table() -> None:
    """With the status that the table says, so that the client knows whether to try again."""
    ann, no = Caller("ann", Role.READ), FileError("no")
    refused = [refusals.no_token(), refusals.bad_token(no), refusals.too_weak(ann, Role.ADMIN), refusals.strange("no")]
    refused += [refusals.no_tokens(no), refusals.too_large(1), refusals.too_slow(1), refusals.too_many(1, "no")]
    refused += [refusals.too_long(1), refusals.other_user(8080)]
    for each in refused:
        body = json.loads(each.body)
        kind = PROBLEMS[body["type"].removeprefix(PREFIX)]
        assert (kind.type, kind.status) == (body["type"], each.status)
        assert type(problems.error(each.status, body)) is kind.error
        assert kind.error.retry == (each.status in problems.MAY_PASS)


def test_where_a_token_goes_is_said() -> None:
    body = {"type": "urn:sdn:problem:token", "detail": "this needs a token", "remedy": "make one"}
    assert problems.error(401, body).remedy == "SDN_TOKEN=… has it; make one"


def test_a_lab_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
    with pytest.raises(FileError, match="lab small is not running"):
        Client.of("small")
    with pytest.raises(FileError, match="no lab is running"):
        Client.of()


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "OPENINGS", 0)
    with Client.at(f"unix:{tmp_path}/none.sock") as lab, pytest.raises(TransientError, match="does not answer"):
        lab.get("port", "a:eth0")


@pytest.mark.parametrize("url", ["host:8443", "ftp://host", "", "https://"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(FileError, match="no address of an API"):
        Client.at(url)


def test_a_token_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDN_TOKEN", "sdn_secret")
    with pytest.raises(FileError, match="in the clear") as caught:
        Client.at("http://elsewhere:8080")
    assert "sdn_secret" not in str(caught.value)
    assert wire.place("http://127.0.0.1:8080").token == "sdn_secret"
    assert wire.place("https://elsewhere:8443").token == "sdn_secret"


def test_the_token_goes_along() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer sdn_x"
        assert "sdn-author" not in request.headers
        return httpx.Response(200, json={"name": "vm1", "memory": 7, "status": {"phase": "running", "error": ""}})

    place = wire.Place(None, "https://elsewhere:8443", "sdn_x")
    with Client(place, httpx.MockTransport(answer)) as lab:
        guest = lab.get("guest", "vm1")
        assert isinstance(guest, Guest)
        assert (guest.phase, guest.memory) == ("running", 7)


def test_no_file_of_certificates(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.pem"):
        Client.at("https://elsewhere:8443", ca=str(tmp_path / "none.pem"))


# ── the whole ──


def test_a_file_is_planned_and_applied(served: Served) -> None:
    wanted = TOPOLOGY.replace("vxlan: 8}", "vxlan: 8}, mtu: 1300") + "  c: {network: web, chassis: hv1}\n"
    with served.client() as lab:
        plan = lab.plan(wanted)
        assert ("hv1", "add", "node c") in {(step.where, step.verb, step.what) for step in plan.steps}
        assert plan.flows["hv1"][0] > 0
        assert [revision.number for revision in lab.revisions()] == [1], "a plan changes nothing"
        done = lab.apply(wanted, if_match='"1"')
        assert (done["revision"], done["changed"], done["counts"]["nodes"]) == (2, True, 3)
        assert not lab.apply(wanted)["changed"]
        assert lab.plan(wanted).steps == ()
        with pytest.raises(StaleError):
            lab.apply(TOPOLOGY, if_match='"1"')
        late = lab.apply(TOPOLOGY, wait="applied", timeout=0.1)
        assert late["applied"]["missing"], "no switch is there to confirm it"
        with pytest.raises(FileError) as caught:
            lab.apply("name: small\nchassis: {hv1: {}}\nnodes: {a: {network: no}, b: {network: none}}\n")
    assert [(mistake.line, mistake.column > 0) for mistake in caught.value.problems] == [(3, True), (3, True)]


def test_a_trace(served: Served) -> None:
    with served.client() as lab:
        found = lab.trace("a", "b", "tcp/80")
        assert (found["reached"], found["delivered"]) == (True, ["b:eth0"])
        assert [hop["chassis"] for hop in found["hops"]] == ["hv1", "hv2"]
        with pytest.raises(FileError, match="nobody"):
            lab.trace("a", "nobody")


def test_tests() -> None:
    """What is asked; real packets are sent in tests/lab."""
    asked: list[tuple[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, json.loads(request.content)))
        return httpx.Response(200, json={"passed": True})

    with Client(wire.Place(None, "https://elsewhere:8443"), httpx.MockTransport(answer)) as lab:
        assert lab.test()["passed"]
        lab.test("db-*", matrix=True)
    assert asked == [("/v1/test", {}), ("/v1/test", {"only": "db-*", "matrix": True})]


# ── counters ──


def test_counters(served: Served) -> None:
    with served.client() as lab:
        found = lab.counters()
        assert found.ports == found.tunnels == found.uplinks == {}
        assert set(found.missing) == {"hv1", "hv2"}, "nobody switches there"


def test_traffic_is_told_as_it_changes() -> None:
    columns = ["rx_bytes", "tx_bytes"]
    body = {"time": 7.5, "columns": columns, "ports": {"a:eth0": [3, 4]}, "tunnels": {"hv1:vxlan": [1, 2]}}
    first = {**body, "uplinks": {"hv1--office": [5, 6]}, "down": ["hv1:vxlan"], "missing": {"hv2": "away"}}
    second = {**first, "columns": [*columns, "rx_bytes_rate"], "ports": {"a:eth0": [9, 4, 6.0]}, "tunnels": {}}
    blocks_ = [f"event: counters\ndata: {json.dumps(each)}\n\n" for each in (first, second | {"uplinks": {}})]
    text = ": nothing new\n\n".join(blocks_)

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.url.path, request.url.params["interval"]) == ("/v1/counters/stream", "0.5")
        return httpx.Response(200, text=text)

    with Client(wire.Place(None, "https://elsewhere:8443"), httpx.MockTransport(answer)) as lab:
        begin, later = lab.traffic(0.5)
    assert begin.ports == {"a:eth0": {"rx_bytes": 3, "tx_bytes": 4}}
    assert (begin.tunnels["hv1:vxlan"]["tx_bytes"], begin.uplinks["hv1--office"]["rx_bytes"]) == (2, 5)
    assert (begin.time, begin.down, begin.missing) == (7.5, ("hv1:vxlan",), {"hv2": "away"})
    assert later.ports["a:eth0"]["rx_bytes_rate"] == 6.0
    assert later.tunnels == {}


def test_every_method_of_the_client_is_tested() -> None:
    said = Path(__file__).read_text()
    public = [name for name in vars(Client) if not name.startswith("_")]
    assert [name for name in public if not re.search(rf"\b(?:lab|Client|of_bob)\.{name}\(", said)] == ["close"]


# ── history ──


def test_history(served: Served) -> None:
    with served.client() as lab:
        lab.patch("network", "web", {"mtu": 1400})
        assert [revision.number for revision in lab.revisions()] == [2, 1]
        (newest,) = lab.revisions(1)
        assert (newest.origin, newest.changes["networks"].changed, newest.seconds) == (
            "PATCH /v1/networks/web",
            1,
            None,
        )
        assert lab.revision(2).entries[0].fields[0].after == 1400
        assert lab.plan_of(2).steps[0].what == "network web"
        before, after, entries = lab.diff(2, 1)
        assert (before, after, entries[0].fields[0].before) == (2, 1, 1400)
        asked = lab.rollback(1, dry_run=True)
        assert asked.plan
        assert not asked.changed
        done = lab.rollback(1, if_match=asked.etag)
        assert (done.to, done.revision, done.changed, done.plan) == (1, 3, True, None)
        with pytest.raises(FileError, match="no revision 9"):
            lab.rollback(9)


# ── events ──


def test_events_that_are_known(served: Served) -> None:
    with served.client() as lab:
        lab.patch("network", "web", {"mtu": 1400})
        wanted = lab.events(kinds=["model.*"], after="0")
        assert [event.revision for event in itertools.islice(wanted, 2)] == [1, 2]
        (event,) = lab.known_events(objects=["network/web"])[-1:]
        assert (event.kind, event.object, event.lab) == ("model.changed", ("lab", "small"), "small")


def test_nothing_is_lost_over_a_cut(served: Served) -> None:
    cuts: list[TransientError] = []
    with served.client() as lab:
        wanted = lab.events(kinds=["test.done"], after="0", on_cut=cuts.append)
        served.tell("0")
        assert next(wanted).message == "0"
        for number in range(1, 4):
            served.cut()
            served.tell(f"{number}a")
            served.tell(f"{number}b")
            assert [next(wanted).message, next(wanted).message] == [f"{number}a", f"{number}b"]
    assert len(cuts) >= 3


def test_a_stream_that_cannot_be_had_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "OPENINGS", 0)
    monkeypatch.setattr(client, "PATIENCE", 0.0)
    cuts: list[TransientError] = []
    with Client.at(f"unix:{tmp_path}/none.sock") as lab, pytest.raises(TransientError):
        next(lab.events(on_cut=cuts.append))
    assert len(cuts) == 1


def test_who_may_not_look_is_told_at_once() -> None:
    body = {"type": "urn:sdn:problem:token", "title": "A token is needed", "status": 401, "detail": "a token"}
    refused = httpx.Response(401, json=body, headers={"content-type": "application/problem+json"})
    place = wire.Place(None, "https://elsewhere:8443")
    with Client(place, httpx.MockTransport(lambda _: refused)) as lab, pytest.raises(FileError, match="a token"):
        next(lab.events())


def test_blocks_of_a_stream() -> None:
    text = "retry: 500\nid: a-1\n\n: ping\n\nid: a-2\nevent: x\ndata: 1\ndata: 2\n\ndata:3\n\nid: a-3\ndata: cut"
    assert list(blocks(text.splitlines())) == [("a-1", ""), ("a-2", "1\n2"), ("", "3")]
