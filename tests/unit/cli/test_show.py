"""What commands print about a running lab: plan, up, status, trace, logs, tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from datapath.errors import CheckError, FileError, MachineError, TransientError
from datapath.openflow.codec import FlowStats
from datapath.openflow.flow import Flow, match
from sdn import lab, names, topology
from sdn.cli import life, logs, look, output, packets, target
from sdn.cli.main import main
from sdn.lab import Result, Status, observed
from sdn.lab.plan import Plan, PlanStep
from sdn.lab.processes import Process
from sdn.model import Forward, Macvlan, Model
from sdn.model.facts import NO_ANSWER, Facts, FlowFacts, GuestFacts, HostFacts
from sdn.pipeline import flows
from sdn.pipeline.fields import USER_MARK, Cookie, Kind
from tests.unit.cli.sample import facts, guest_facts, machines, overlay, wide

OVERLAY = Path(__file__).parent.parent.parent.parent / "topologies" / "overlay.yaml"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    made = topology.read(OVERLAY)
    monkeypatch.setattr(target, "running", lambda _: (made, facts(made)))
    monkeypatch.setattr(observed, "observer", lambda _: lambda chassis: flows(made, chassis))
    return made


def _wanted(made: Model) -> target.Wanted:
    """Of a file whose lab does not run."""
    return target.Wanted(made, None, lambda _: made)


class TestPlan:
    STEPS = (
        PlanStep("hv1", "add", "node web5", "new in the file", ""),
        PlanStep("hv2", "remove", "node web4", "no longer in the file", "its traffic ends"),
    )

    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        monkeypatch.setattr(target, "read", lambda _: (overlay(), None))
        monkeypatch.setattr(target, "change", lambda _: nullcontext(_wanted(overlay())))
        return tmp_path / "my lab.yaml"

    def test_steps(self, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(sys.modules["sdn.lab.plan"], "plan", lambda *_: Plan(self.STEPS, {"hv1": (3, 2, 1)}))
        life.plan(file, as_json=False)
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].split() == ["+", "hv1", "node", "web5", "new", "in", "the", "file", "nothing"]
        assert lines[2].endswith("its traffic ends")
        assert "flows on hv1: +3 ~2 -1" in lines
        assert "1 to add, 0 to change, 1 to remove" in lines
        assert lines[-1].endswith("my lab.yaml'")

    def test_json(self, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(sys.modules["sdn.lab.plan"], "plan", lambda *_: Plan(self.STEPS, {"hv1": (3, 2, 1)}))
        life.plan(file, as_json=True)
        made = json.loads(capsys.readouterr().out)
        assert made["steps"][1]["disturbs"] == "its traffic ends"
        assert made["flows"] == {"hv1": [3, 2, 1]}

    def test_nothing(self, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(sys.modules["sdn.lab.plan"], "plan", lambda *_: Plan((), {}))
        life.plan(file, as_json=False)
        assert capsys.readouterr().out == "overlay is already so: nothing to do\n"

    DEAD = "hv2: guest vm2: it died: its kernel panicked\nlast words\nKernel panic"

    @pytest.fixture
    def dead(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> Status:
        """vm2 has died, and is not started again."""
        made = machines()
        seen = guest_facts(made, vm2=GuestFacts("failed", error="it died: its kernel panicked"))
        hosts = seen.hosts | {"hv2": replace(seen.hosts["hv2"], errors=(self.DEAD.removeprefix("hv2: "),))}
        state = Status("overlay", (), made, replace(seen, hosts=hosts))
        monkeypatch.setattr(target, "read", lambda _: (made, made))
        monkeypatch.setattr(target, "change", lambda _: nullcontext(_wanted(made)))
        monkeypatch.setattr(lab, "status", lambda _: state)
        monkeypatch.setattr(lab, "labs", lambda: ["overlay"])
        monkeypatch.setattr(sys.modules["sdn.lab.plan"], "plan", lambda *_: Plan((), {}))
        monkeypatch.setattr(lab, "look_at_machine", lambda _: {})
        return state

    def test_what_is_wrong_with_what_runs(self, file: Path, dead: Status, capsys: pytest.CaptureFixture[str]) -> None:
        life.plan(file, as_json=False)
        lines = capsys.readouterr().out.splitlines()
        assert lines[:2] == ["overlay is already so: nothing to do", "but lab overlay, as it runs, is not whole:"]
        assert lines[2:5] == [f"  {self.DEAD.splitlines()[0]}", "      last words", "      Kernel panic"]
        assert lines[-1] == "  remedy: sdn guest start vm2"
        life.plan(file, as_json=True)
        assert json.loads(capsys.readouterr().out)["troubles"] == list(dead.troubles)

    def test_apply_says_it_too(self, file: Path, dead: Status, monkeypatch: pytest.MonkeyPatch) -> None:
        def apply(*_: object, **__: object) -> Result:
            raise CheckError("lab overlay is not whole", remedy="see: sdn status overlay")

        monkeypatch.setattr(lab, "apply", apply)
        with pytest.raises(CheckError, match="\n      last words\n      Kernel panic") as error:
            life.apply(file, 60, as_json=False)
        assert error.value.remedy == "sdn guest start vm2; see: sdn status overlay"

    def test_up(self, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def up(*_: object, progress: output.OnProgress, **__: object) -> Result:
            for done in range(4):
                progress("chassis", done, 3)
            return Result(1, True, 0.5)

        monkeypatch.setattr(lab, "up", up)
        life.up(file, 60, as_json=False)
        out, err = capsys.readouterr()
        assert "overlay is up: 3 chassis, 10 nodes, 4 networks in 0.50 s (revision 1)" in out
        assert err == "chassis that confirm: 0/3\nchassis that confirm: 3/3\n"

    @pytest.mark.parametrize("act", [life.plan, life.up])
    def test_the_machine_is_looked_at_first(self, act, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
        wish = overlay()
        wish.physnets["campus"] = replace(wish.physnets["campus"], interface="no-such-device")
        monkeypatch.setattr(target, "read", lambda _: (wish, None))
        monkeypatch.setattr(target, "change", lambda _: nullcontext(_wanted(wish)))
        monkeypatch.setattr(lab, "RunDir", lambda *_: pytest.fail("it was touched"))
        with pytest.raises(MachineError, match="this machine has no interface no-such-device"):
            act(file, *([] if act is life.plan else [60]), as_json=False)

    def test_up_again(self, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(lab, "up", lambda *_, **__: Result(1, False, 0.01))
        life.up(file, 60, as_json=False)
        assert capsys.readouterr().out == "overlay is already so: nothing to do (revision 1, 0.01 s)\n"


class TestStatus:
    @pytest.fixture
    def show(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
        monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
        (tmp_path / "overlay").mkdir()

        def shown(model: Model | None, observed: Facts, *, as_json: bool = False, everything: bool = False) -> int:
            process = Process("supervisor", 4711, True, 0.0, 0)
            monkeypatch.setattr(lab, "status", lambda _: Status("overlay", (process,), model, observed))
            return look.status("overlay", everything, as_json)

        return shown

    def test_whole(self, show, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
        model = overlay().with_revision(7)
        assert show(model, facts(model)) == 0
        out = capsys.readouterr().out
        assert "overlay: whole, revision 7" in out
        assert "vxlan 10010" in out
        assert "4711" in out

    def test_nodes_of_an_external_chassis(self, show, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
        model = overlay().with_revision(7)
        model.chassis["hv2"] = replace(model.chassis["hv2"], datapath="external")
        show(model, facts(model))
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert next(row for row in rows if row[:1] == ["web2"])[-1] == "external"
        assert next(row for row in rows if row[:1] == ["web1"])[-1] == "up"

    def test_a_chassis_without_flow_tables(self, show, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
        """What it has none of is a dash, and no trouble; why it is as it is stands below."""
        model, why = overlay().with_revision(7), "one bridge per network: this kernel has no VLAN filtering"
        model.chassis["hv2"] = replace(model.chassis["hv2"], datapath="linux")
        observed = facts(model)
        observed.flows["hv2"] = FlowFacts()
        observed.hosts["hv2"] = HostFacts(7, "linux", (), (why,))
        assert show(model, observed) == 0
        out = capsys.readouterr().out
        rows = [line.split() for line in out.splitlines()]
        assert ["hv1", "172.31.0.1", "ovs", "netdev", "connected", "42", "confirmed"] in rows
        assert ["hv2", "172.31.0.2", "linux", "linux", "-", "-", "confirmed"] in rows
        assert f"hv2: {why}" in out
        show(model, observed, as_json=True)
        (first, second, _) = json.loads(capsys.readouterr().out)["chassis"]
        assert (first["switch"], first["flows"], first["connected"]) == ("ovs", 42, True)
        assert (second["switch"], second["flows"], second["connected"]) == ("linux", None, None)
        assert (second["datapath"], second["notes"]) == ("linux", [why])

    def test_physical_networks(self, show, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
        model = overlay().with_revision(7)
        model.physnets["campus"] = replace(model.physnets["campus"], interface="eth1", gateway=IPv4Address("192.0.2.1"))
        own = (("campus", IPv4Interface("192.0.2.2/24")),)
        model.chassis["hv2"] = replace(model.chassis["hv2"], datapath="linux", addresses=own)
        show(model, facts(model))
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["campus", "1500", "eth1", "192.0.2.1", "hv2", "192.0.2.2/24"] in rows
        show(model, facts(model), as_json=True)
        (physnet,) = json.loads(capsys.readouterr().out)["physnets"]
        assert (physnet["interface"], physnet["gateway"], physnet["moves_addresses"]) == ("eth1", "192.0.2.1", False)
        assert physnet["chassis"] == ["hv1", "hv2", "hv3"]

    def test_gateways_and_macvlan(self, show, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
        model = overlay().with_revision(7)
        forward = Forward("nat", IPv4Interface("10.20.0.254/24"), "campus")
        model.networks["db"] = replace(model.networks["db"], forward=forward)
        model.ports["desk.eth0"] = replace(model.ports["desk.eth0"], macvlan=Macvlan("bridge", tap=True))
        show(model, facts(model))
        out = capsys.readouterr().out
        assert "nat into campus, gateway 10.20.0.254" in out
        assert "eth0 macvtap bridge" in out
        show(model, facts(model), as_json=True)
        state = json.loads(capsys.readouterr().out)
        found = {network["name"]: network["forward"] for network in state["networks"]}
        assert found["db"] == {"mode": "nat", "gateway": "10.20.0.254/24", "physnet": "campus"}
        assert found["web"] is None
        assert {port["name"]: port["macvlan"] for port in state["ports"]}["desk.eth0"] == {
            "mode": "bridge",
            "tap": True,
        }

    def test_not_whole(self, show, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
        model = overlay().with_revision(8)
        assert show(model, facts(model, "hv2")) == 1
        out = capsys.readouterr().out
        assert "not whole" in out
        assert "7 of 8" in out
        assert "! hv2: connection refused" in out

    def test_a_switch_that_hangs(self, show, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
        model = overlay().with_revision(7)
        observed = facts(model)
        observed.flows["hv2"] = FlowFacts(False, 7, 42, NO_ANSWER, silent=True)
        assert show(model, observed) == 1
        out = capsys.readouterr().out
        assert next(line for line in out.splitlines() if line.startswith("hv2 ")).split()[4:] == [
            *("does", "not", "answer", "42", "confirmed")
        ]
        assert [line for line in out.splitlines() if line.startswith("!")] == ["! hv2: the switch does not answer"]

    def test_large(self, show, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
        model = wide().with_revision(7)
        show(model, facts(model, "n7"))
        out = capsys.readouterr().out
        assert "99 of 100 ports are up" in out
        assert "n7 " in out
        assert "n8 " not in out
        show(model, facts(model), everything=True)
        assert "n8 " in capsys.readouterr().out

    def test_json(self, show, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
        model = overlay().with_revision(7)
        show(model, facts(model, "db1"), as_json=True)
        state = json.loads(capsys.readouterr().out)
        assert {port["name"] for port in state["ports"] if not port["up"]} == {"db1.eth0"}
        assert not state["whole"]
        assert state["troubles"] == ["hv2: db1.eth0 is not up"]

    def test_before_the_first_file(self, show, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
        assert show(None, Facts()) == 1
        assert "no topology has been applied" in capsys.readouterr().out


@pytest.mark.usefixtures("model")
class TestTrace:
    def test_delivered(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert packets.trace(None, "web1", "web2", "tcp/80", arp=False, as_json=False) == 0
        out = capsys.readouterr().out
        assert "→ vxlan to hv2" in out
        assert "spoof_guard" in out
        assert f"{OVERLAY.name}:" in out

    def test_dropped(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["trace", "web1", "db1"]) == 1
        assert "■ dropped" in capsys.readouterr().out

    def test_by_a_flow_that_is_not_the_labs(
        self, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """And where a switch does not say what it has, that is said."""
        theirs = Flow(0, 40000, match(eth_type=0x0800), cookie=0x7B)

        def has(chassis: str) -> list[Flow]:
            if chassis == "hv1":
                raise TransientError("hv1: its switch does not answer")
            return [*flows(model, chassis), theirs]

        monkeypatch.setattr(observed, "observer", lambda _: has)
        assert main(["trace", "web1", "web2"]) == 1
        out = capsys.readouterr().out
        assert "as it shall be, for it does not say: hv1: its switch does not answer" in out
        assert "not ours, cookie 0x7b" in out
        verdict = out.splitlines()[-1]
        assert verdict.startswith("dropped on hv2 in table classify by a flow that is not the lab's (flow: ")
        assert verdict.endswith(
            ", provided that hv1 has the flows that it shall have (hv1: its switch does not answer)"
        )

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["trace", "web1", "web2", "--arp", "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["reached"]

    @pytest.mark.parametrize("protocol", ["tcp", "tcp/0", "tcp/99999", "icmp/3", "sctp/1", "tcp/x", ""])
    def test_wrong_protocol(self, protocol: str) -> None:
        assert main(["trace", "web1", "web2", protocol]) == 2


def test_flows_that_are_not_the_labs(
    model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = [Flow(0, 7, match(in_port=n), cookie=number) for n, number in enumerate((0x7B, USER_MARK << 48))]

    async def dump(_: str, chassis: list[str]) -> dict[str, list[FlowStats]]:
        return {name: [FlowStats(flow, 0, 0, 0) for flow in (*flows(model, name), *theirs)] for name in chassis}

    monkeypatch.setattr(packets, "_dump", dump)
    assert main(["flows", "hv1", "--foreign"]) == 0
    out = capsys.readouterr().out
    assert "hv1: 2 flows" in out
    assert "not ours" in out
    assert "yours, by REST" in out


class TestWithoutTables:
    """`flows` and `exec` of a chassis that has a namespace and no flow tables."""

    @pytest.fixture
    def linux(self, model: Model) -> Model:
        model.chassis["hv2"] = replace(model.chassis["hv2"], datapath="linux")
        model.chassis["hv3"] = replace(model.chassis["hv3"], datapath="external")
        return model

    @pytest.mark.usefixtures("linux")
    @pytest.mark.parametrize("arguments", [["hv2"], ["--node", "web2"]])
    def test_flows(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["flows", *arguments]) == 2
        err = capsys.readouterr().err
        assert "hv2 has no flow tables: the kernel's bridges forward there (datapath linux)" in err
        assert "sdn exec hv2 -- bridge fdb" in err
        assert "sdn exec hv2 -- nft list ruleset" in err

    @pytest.mark.usefixtures("linux")
    def test_flows_of_somebody_else(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["flows", "hv3"]) == 2
        assert "somebody else runs it" in capsys.readouterr().err

    def test_one_can_be_inside_of_a_chassis(self, linux: Model) -> None:
        assert target.place(linux, "hv2") == "hv2"
        assert target.place(linux, "web1") == "web1"
        for name in ("hv3", "web9"):
            with pytest.raises(FileError, match="there is no node or chassis"):
                target.place(linux, name)


def test_wrong_table(model: Model) -> None:
    with pytest.raises(FileError, match="there is no table x"):
        packets.flows(None, packets.Wanted(table="x"), raw=False, as_json=False)


def test_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
    for path in ("logs/controller.log", "hv1/ovs-vswitchd.log", "hv2/ovs-vswitchd.log"):
        file = tmp_path / "overlay" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{path} {i}\n" for i in range(9)))
    assert logs.names("overlay") == ["controller", "hv1/ovs-vswitchd", "hv2/ovs-vswitchd", "hv1", "hv2"]
    assert main(["logs", "hv1", "-n", "2"]) == 0
    assert capsys.readouterr().out == "hv1/ovs-vswitchd.log 7\nhv1/ovs-vswitchd.log 8\n"
    assert main(["logs", "-n", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["logs", "hv9"]) == 2


def test_plain_tables_align(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("name", "count"), [("a", 1), (output.Cell("long", output.GOOD), 12345)], right=("count",))
    assert capsys.readouterr().out == "NAME  COUNT\na         1\nlong  12345\n"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (61, "1 min 1 s"), (7205, "2 h"), (90061, "1 d 1 h")])
def test_since(seconds: float, text: str) -> None:
    assert output.since(seconds) == text


@pytest.mark.parametrize(
    ("cookie", "whose"),
    [
        (Cookie(Kind.PORT, 99).pack(), "port 99 (not in the model)"),
        (USER_MARK << 48 | 7, "yours, by REST"),
        (7, "not ours"),
    ],
)
def test_whose_a_flow_is(model: Model, cookie: int, whose: str) -> None:
    """Those that a user has added by Ryu's REST are theirs; those that nobody has marked are somebody else's."""
    known = names.names(model, "hv1")
    stats = FlowStats(Flow(0, 5, (), (), cookie=cookie), 1, 60, 1.0)
    assert packets._flow_row(stats, known)[-1] == output.Cell(whose, output.SOFT)
    port = model.ports["web1:eth0"]
    assert names.whose(known, Cookie(Kind.PORT, port.id).pack()).startswith("port web1:eth0 (")
