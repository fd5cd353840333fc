"""From tests to probes and back: pairs, verdicts, the matrix, JUnit, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest

from datapath import probe
from datapath.errors import FileError
from datapath.openflow.flow import Flow, Match, match
from datapath.probe import Expect, Outcome, Probe
from datapath.spec import ForwardMode, MacvlanMode
from sdn import topology
from sdn.cli import check, junit, matrix, target
from sdn.cli.check import Options
from sdn.lab import pairs, reach, testing
from sdn.lab.rundir import RunDir
from sdn.lab.told import Words
from sdn.model import Forward, Macvlan
from sdn.model.facts import Facts, GuestFacts
from sdn.pipeline import flows
from sdn.trace import Fabric
from tests.unit.cli.sample import facts, guest_facts, machines, overlay, wide


def answers(probes: Sequence[Probe], deaf: str = "") -> list[Outcome]:
    """A lab where all is as expected, but for what is sent to the node `deaf`."""
    heard = [(p.target_namespace or "").split("-")[-1] != deaf for p in probes]
    return [
        Outcome(p, hears, 0.001 if p.expect == "ok" and hears else None, 1, "", i, i + 0.5)
        for i, (p, hears) in enumerate(zip(probes, heard, strict=True))
    ]


class TestPairs:
    def test_every_family_of_a_shared_network(self) -> None:
        model = overlay()
        found = pairs.checks(model, [model.tests["mesh"]])
        assert len(found) == 4 * 3 * 2
        first = found[0].probe
        assert (first.namespace, first.target_namespace) == ("sdn-overlay-web1", "sdn-overlay-web2")
        assert (str(first.source), str(first.target)) == ("10.10.0.1", "10.10.0.2")

    def test_strangers_are_asked_from_the_first_address(self) -> None:
        model = overlay()
        (only,) = pairs.checks(model, [model.tests["shut"]])
        assert (str(only.probe.source), str(only.probe.target)) == ("10.20.0.1", "10.10.0.1")
        assert (only.probe.kind, only.probe.port, only.probe.expect) == ("tcp", 80, "fail")

    def test_external_nodes_answer_but_do_not_ask(self) -> None:
        model = overlay()
        model.chassis["hv2"] = replace(model.chassis["hv2"], datapath="external")
        found = pairs.checks(model, [model.tests["mesh"]])
        assert all(c.source.node != "web2" for c in found)
        assert {c.probe.target_namespace for c in found if c.target.node == "web2"} == {None}

    def test_full_mesh_of_100(self) -> None:
        assert len(pairs.mesh(wide())) == 9900

    @pytest.mark.parametrize(("mode", "asked"), [("nat", {"web1"}), ("routed", set()), ("isolated", {"web1", "db2"})])
    def test_where_a_gateway_may_lead_the_mesh_does_not_ask(self, mode: ForwardMode, asked: set[str]) -> None:
        """From db2, behind it, to web1 and back; it still has to reach db1."""
        model = overlay()
        forward = Forward(mode, IPv4Interface("10.20.0.254/24"), "" if mode == "isolated" else "campus")
        model.networks["db"] = replace(model.networks["db"], forward=forward)
        found = {(check.source.node, check.target.node): check.probe.expect for check in pairs.mesh(model)}
        assert {source for source, target in found if {source, target} == {"web1", "db2"}} == asked
        assert found["db1", "db2"] == "ok"

    @pytest.mark.parametrize(
        ("one", "two", "expect"),
        [
            ("bridge", "bridge", "ok"),
            ("private", "bridge", "fail"),
            ("private", "private", "fail"),
            ("vepa", "vepa", None),
        ],
    )
    def test_macvlan_on_one_uplink(self, one: MacvlanMode, two: MacvlanMode, expect: str | None) -> None:
        """web1 and web4 are on hv1, web2 is not."""
        model = overlay()
        for name, mode in (("web1", one), ("web4", two), ("web2", one)):
            model.ports[f"{name}.eth0"] = replace(model.ports[f"{name}.eth0"], macvlan=Macvlan(mode))
        found = {(check.source.node, check.target.node): check.probe.expect for check in pairs.mesh(model)}
        assert found.get(("web1", "web4")) == expect
        assert found["web1", "web2"] == "ok"

    def test_verdicts_count_nodes_not_addresses(self) -> None:
        model = overlay()
        asked = pairs.checks(model, model.tests.values())
        mesh, shut = pairs.verdicts(model.tests, asked, answers([c.probe for c in asked], deaf="web3"))
        assert (len(mesh.pairs), sum(mesh.pairs.values()), mesh.passed) == (12, 9, False)
        assert len(mesh.failures) == 6
        assert shut.passed

    def test_a_test_without_pairs_does_not_pass(self) -> None:
        model = overlay()
        lonely = replace(model.tests["mesh"], sources=("web1",), targets=("web1",))
        (verdict,) = pairs.verdicts({"mesh": lonely}, [], [])
        assert not verdict.passed

    def test_nodes_without_a_common_family_are_denied(self) -> None:
        model = overlay()
        model.ports["db1.eth0"] = replace(model.ports["db1.eth0"], addresses=())
        denied = replace(model.tests["shut"], sources=("db1",), targets=("web1", "web2"), expect="fail")
        wanted = replace(denied, name="wanted", expect="ok")
        tests = {"denied": denied, "wanted": wanted}
        assert pairs.checks(model, tests.values()) == []
        first, second = pairs.verdicts(tests, [], [], model)
        assert (first.passed, len(first.pairs)) == (True, 2)
        assert not second.passed


def test_a_dead_guest_is_named_by_its_end() -> None:
    model = machines()
    found = next(
        c for c in pairs.checks(model, model.tests.values()) if (c.source.node, c.target.node) == ("web1", "vm2")
    )
    dead = GuestFacts("failed", error="it died: its kernel panicked\n[ 1.0] Kernel panic - not syncing")
    *_, last = testing._explain(Fabric(model), guest_facts(model, vm2=dead), found)
    assert last == "the tables deliver it, but vm2 is failed: its kernel panicked"
    *_, last = testing._explain(Fabric(model), guest_facts(model), found)
    assert last.startswith("the tables deliver it: see sdn status")


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (match(eth_type=0x0806, arp_op=1), "but web1 asks for the MAC of web2: dropped on hv1 in table"),
        (match(eth_type=0x0800, ip_proto=1, icmp_type=0), "but the answer: dropped on hv2 in table"),
    ],
)
def test_a_packet_that_arrives_is_not_all_that_it_takes(theirs: Match, said: str) -> None:
    """Somebody has added a flow of his own that drops what a ping needs besides."""
    model = topology.read(Path("topologies/overlay.yaml"))
    asked = pairs.checks(model, model.tests.values())
    found = next(c for c in asked if (c.source.node, c.target.node) == ("web1", "web2"))
    drop = Flow(0, 40000, theirs, cookie=0x7B)
    fabric = Fabric(model, lambda chassis: [*flows(model, chassis), drop])
    first, last = testing._explain(fabric, Facts(), found)
    assert first == "delivered to web2:eth0 on hv2"
    assert last.startswith(said)
    assert "by a flow that is not the lab's" in last


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A running lab whose packets and traces are made up."""
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path / "run"))
    model = overlay()
    RunDir(model.lab).create()
    state = SimpleNamespace(model=model, deaf="")
    monkeypatch.setattr(target, "running", lambda _: (model, facts(model)))
    monkeypatch.setattr(probe, "run", lambda probes, progress=None: answers(probes, state.deaf))
    monkeypatch.setattr(testing, "_explain", lambda *_: ["hv1 spoof_guard: dropped (overlay.yaml:12:3)"])
    return state


@pytest.mark.usefixtures("lab")
class TestCommand:
    def test_passes(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert check.run_tests(None, Options(matrix=True)) == 0
        out = capsys.readouterr().out
        assert "2 tests passed" in out
        assert "12/12" in out
        assert "● reaches" in out

    def test_who_follows_the_lab_hears_of_it(self, lab: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
        lab.deaf = "web3"
        assert check.run_tests(None, Options()) == 1
        (word,) = Words(RunDir("overlay").told).news()
        assert (word.kind, word.about, word.data["tests"]) == (
            "test.done",
            ("lab", "overlay"),
            {"mesh": False, "shut": True},
        )
        assert word.message.startswith("1 of 2 tests passed in ")
        assert word.message.endswith("; failed: mesh")
        RunDir("overlay").told.unlink()
        RunDir("overlay").told.mkdir()
        assert check.run_tests(None, Options()) == 1
        assert "the lab's events do not tell of this: [Errno 21] Is a directory" in capsys.readouterr().err

    def test_fails_and_explains(self, lab: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
        lab.deaf = "web3"
        assert check.run_tests(None, Options()) == 1
        out = capsys.readouterr().out
        assert "1 of 2 tests failed" in out
        assert "web1 10.10.0.1 → web3 10.10.0.3" in out
        assert "    hv1 spoof_guard: dropped (overlay.yaml:12:3)" in out
        assert "and 3 more pairs" in out

    def test_json(self, lab: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
        lab.deaf = "web3"
        assert check.run_tests(None, Options(as_json=True, matrix=True)) == 1
        result = json.loads(capsys.readouterr().out)
        assert not result["passed"]
        assert [(t["name"], t["passed"], t["pairs"], t["passed_pairs"]) for t in result["tests"]] == [
            ("mesh", False, 12, 9),
            ("shut", True, 1, 1),
        ]
        assert {"from": "web1", "to": "web3", "result": "lost"} in result["matrix"]

    def test_junit(self, lab: SimpleNamespace, tmp_path: Path) -> None:
        lab.deaf = "web3"
        check.run_tests(None, Options(junit=tmp_path / "out" / "results.xml"))
        root = ET.parse(tmp_path / "out" / "results.xml").getroot()
        assert (root.attrib["tests"], root.attrib["failures"]) == ("2", "1")
        mesh, shut = root.iter("testcase")
        assert (mesh.attrib["time"], shut.attrib["time"]) == ("23.500", "0.500")
        assert "spoof_guard" in (mesh.find("failure").text or "")  # type: ignore[union-attr]
        assert shut.find("failure") is None

    def test_only_some(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert check.run_tests(None, Options(pattern="me*")) == 0
        assert "1 test passed" in capsys.readouterr().out
        with pytest.raises(FileError, match="no test is called x"):
            check.run_tests(None, Options(pattern="x"))

    def test_large_labs_are_summarised(self, lab: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
        model = wide()
        asked = pairs.mesh(model)
        outcomes = answers([c.probe for c in asked], deaf="n7")
        matrix.show(model, list(zip(asked, outcomes, strict=True)))
        out = capsys.readouterr().out
        assert "9,801 of 9,900" in out
        assert "99 wrong" in out


class TestMatrix:
    @pytest.mark.parametrize(
        ("said", "answered", "passed", "sign"),
        [
            (None, True, False, reach.BEYOND),  # a node may be a router
            (None, False, True, reach.DENIED),
            (None, False, False, reach.UNKNOWN),
            ("ok", True, False, reach.REACHES),
            ("ok", False, True, reach.LOST),
            ("fail", True, False, reach.LEAKS),
            ("fail", False, True, reach.DENIED),
        ],
    )
    def test_strangers_are_judged_by_what_tests_say(
        self, said: Expect | None, answered: bool, passed: bool, sign: str
    ) -> None:
        model = overlay()
        (asked,) = (c for c in pairs.mesh(model) if (c.source.node, c.target.node) == ("db1", "web1"))
        outcome = Outcome(asked.probe, passed, 0.1 if answered else None, 1)
        tests = [replace(model.tests["shut"], probe="ping", expect=said)] if said else [model.tests["shut"]]
        assert reach.reached([(asked, outcome)], tests) == {("db1", "web1"): sign}


class TestTarget:
    def test_names(self) -> None:
        model = overlay()
        assert target.node(model, "gw").name == "gw"

    def test_did_you_mean(self) -> None:
        with pytest.raises(FileError) as caught:
            target.node(overlay(), "wbe1")
        assert "web1" in caught.value.remedy


def test_junit_is_escaped() -> None:
    model = overlay()
    verdict = pairs.Verdict(replace(model.tests["mesh"], name="<&>"), ())
    root = ET.fromstring(junit.document("lab", [verdict], {"<&>": ["a < b"]}, 1.0).split("\n", 1)[1])
    assert next(root.iter("testcase")).attrib["name"] == "<&>"
