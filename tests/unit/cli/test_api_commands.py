"""What the commands that ask the API print, over a real server: golden outputs, JSON, exit codes."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from datapath.errors import FileError
from sdn.cli import api_commands, complete, resources
from sdn.cli.events import clock, moment, when
from sdn.cli.main import main
from sdn.client import Client
from sdn.model.facts import Drift, FlowFacts, HostFacts, PortFacts
from sdn.topology import parse
from tests.unit.client.served import Served, served

__all__ = ["served"]

Run = Callable[..., tuple[int, str, str]]
TIME = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}|\d{2}:\d{2}:\d{2}\.\d{3}")
MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
NOW = 1_700_000_000.0
ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture
def sdn(served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`sdn(*arguments)` → exit code, stdout with times made equal, stderr."""
    monkeypatch.setenv("SDN_API", served.api)
    monkeypatch.delenv("SDN_LAB", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, TIME.sub("TIME", out), err

    return run


def confirmed(served: Served) -> None:
    """As controller and agent would say it."""
    model = served.store.model()
    assert model
    number = model.revision
    served.store.report(
        flows={name: FlowFacts(True, number, 30) for name in model.chassis},
        hosts={name: HostFacts(number) for name in model.chassis},
        ports={name: PortFacts(True, port.ofport) for name, port in model.ports.items()},
    )
    for revision in served.store.revisions().values():
        if not revision.settled:
            served.store.settle(revision.number)


# ── things ──


def test_get(sdn: Run, served: Served) -> None:
    confirmed(served)
    code, out, _ = sdn("get", "ports", "network=web")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["NAME", "NODE", "NETWORK", "IP", "MAC", "CHASSIS", "UP"]
    assert [line[:3] + line[-2:] for line in lines[1:]] == [
        ["a:eth0", "a", "web", "hv1", "yes"],
        ["b:eth0", "b", "web", "hv2", "yes"],
    ]
    assert sdn("get", "node", "a", "b")[1].splitlines() == [
        "NAME  CHASSIS  PORTS   UP",
        "a     hv1      a:eth0  yes",
        "b     hv2      b:eth0  yes",
    ]
    assert sdn("get", "nodes", "x*")[1] == "there are none\n"
    assert sdn("get", "ports", "up=yes") == sdn("get", "ports", "up=true") == sdn("get", "ports")
    assert sdn("get", "ports", "up=no")[1] == "there are none\n"


def test_get_one(sdn: Run) -> None:
    _, out, _ = sdn("get", "network", "web")
    assert out.splitlines()[:7] == [
        "name: web",
        "segment:",
        "  vxlan: 7",
        "subnets:",
        "- 10.9.0.0/24",
        "mtu: 1450",
        "unknown_unicast: drop",
    ]
    assert json.loads(sdn("get", "network", "web", "-o", "json")[1])["mtu"] == 1450
    assert [each["name"] for each in json.loads(sdn("get", "networks", "-o", "json")[1])] == ["db", "web"]


def test_a_life(sdn: Run, served: Served) -> None:
    assert sdn("create", "node", "c", "network=web", "chassis=hv1") == (0, "node c is stored (revision 2)\n", "")
    assert sdn("set", "port", "c:eth0", "ip=10.9.0.99")[1] == "port c:eth0 is stored (revision 3)\n"
    assert json.loads(sdn("get", "port", "c:eth0", "-o", "json")[1])["ip"] == ["10.9.0.99"]
    for same in ("ip=10.9.0.99", "ip="):
        assert sdn("set", "port", "c:eth0", same)[1] == "port c:eth0 is unchanged (revision 3)\n"
    assert sdn("create", "node", "b", "network=web")[1] == "node b is unchanged (revision 3)\n"
    assert sdn("set", "node", "c", "chassis=hv2", "-o", "json")[0] == 0
    assert sdn("delete", "node", "c", "b")[1] == "node c is gone\nnode b is gone\n"
    model = served.store.model()
    assert model
    assert list(model.nodes) == ["a"]
    origins = [revision.origin for revision in served.store.revisions().values()]
    assert origins[1:3] == ["sdn create node c network=web chassis=hv1", "sdn set port c:eth0 ip=10.9.0.99"]
    assert json.loads(sdn("delete", "node", "a", "-o", "json")[1]) == [{"kind": "node", "name": "a"}]


def test_fields_from_a_file(sdn: Run, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("segment: {vxlan: 99}\nsubnet: 10.3.0.0/24\n")
    assert sdn("create", "network", "lan", "-f", str(file), "mtu=1300")[0] == 0
    found = json.loads(sdn("get", "network", "lan", "-o", "json")[1])
    assert (found["segment"], found["mtu"]) == ({"vxlan": 99}, 1300)


def test_who_waits_in_vain_fails(sdn: Run) -> None:
    code, out, err = sdn("create", "node", "c", "network=web", "--wait", "--timeout", "0.2")
    assert code == 1
    assert out == "node c is stored (revision 2)\n"
    assert "the lab is not whole" in err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("get", "prot"), 2, "did you mean port?"),
        (("get", "port", "zz"), 2, "there is no port 'zz'"),
        (("get", "port", "zz"), 2, "see: sdn get ports"),
        (("rollback", "x"), 2, "rollback"),
        (("get", "ports", "colour=red"), 2, "'colour'"),
        (("get", "ports", "up=maybe"), 2, "expected up=true or up=false"),
        (("create", "network", "web", "segment.vxlan=9"), 1, "already, and it is another"),
        (("create", "node", "c", "network=wbe"), 2, "/nodes/c/network"),
        (("create", "node", "c", "network"), 2, "'network' is no field"),
        (("create", "node", "c", "{"), 2, "the arguments"),
        (("set", "network", "web"), 2, "nothing was said to be changed"),
        (("set", "network", "web", "mtu=1400", "--if-match", "9"), 1, "made from revision 9"),
        (("delete", "network", "web"), 1, "needed by node a and node b"),
        (("delete", "node", "a*"), 2, "one by one"),
        (("history", "7"), 2, "no revision 7"),
        (("rollback", "7"), 2, "no revision 7"),
        (("diff", "7"), 2, "no revision 7"),
        (("events", "--since", "yesterday"), 2, "is no time"),
        (("events", "--api", "nonsense"), 2, "no address of an API"),
        (("history", "mine"), 2, "lab mine of this machine is named"),
        (("history", "mine", "--lab", "yours"), 2, "two labs are named"),
        (("events", "mine"), 2, "lab mine of this machine is named"),
        (("delete", "node", "a", "--lab", "mine"), 2, "lab mine of this machine is named"),
    ],
)
def test_exit_codes(sdn: Run, words: tuple[str, ...], code: int, told: str) -> None:
    found, _, err = sdn(*words)
    assert found == code, err
    assert told in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["mtu=1400"], {"mtu": 1400}),
        (["a=true", "b=null", "c=", "d=x y", "e=012"], {"a": True, "b": None, "c": None, "d": "x y", "e": "012"}),
        (["mac=12:34:56:11:22:33"], {"mac": "12:34:56:11:22:33"}),
        (["segment.vlan=7", "segment.physnet=office"], {"segment": {"vlan": 7, "physnet": "office"}}),
        (["ports=[{network: web}]"], {"ports": [{"network": "web"}]}),
        (['{"a": 1}', "b=2"], {"a": 1, "b": 2}),
        (["from=[web1, web2]"], {"from": ["web1", "web2"]}),
    ],
)
def test_fields(words: list[str], fields: dict[str, Any]) -> None:
    assert resources.fields_of(words, None) == fields


# ── history ──


def test_history(sdn: Run, served: Served) -> None:
    served.store.settle(1, ["hv1: no"])
    sdn("create", "node", "c", "network=web", "chassis=hv1")
    sdn("set", "network", "web", "mtu=1400")
    served.store.settle(2)
    _, out, _ = sdn("history")
    first, *rows = out.splitlines()
    assert first.split() == ["REVISION", "WHEN", "WHO", "BY", "WHAT", "CHANGES", "RESULT", "SECONDS"]
    assert [re.split(" {2,}", row.strip()) for row in rows] == [
        ["3", "TIME", "root", "sdn set network web mtu=1400", "networks ~1", "not settled"],
        ["2", "TIME", "root", "sdn create node c network=web chassis=hv1", "nodes +1, ports +1", "settled", "0.25"],
        ["1", "TIME", "alice", "sdn up small.yaml", "chassis +2, networks +2, nodes +2, ports +2", "1 error", "0.25"],
    ]
    assert [row["number"] for row in json.loads(sdn("history", "-n", "2", "-o", "json")[1])] == [3, 2]


def test_one_revision(sdn: Run, served: Served) -> None:
    sdn("set", "network", "web", "mtu=1400")
    served.store.settle(2, ["hv1: no"])
    _, out, _ = sdn("history", "2")
    assert out == (
        "revision 2 of TIME by root\n"
        "  by what  sdn set network web mtu=1400\n"
        "  result   1 error after 0.25 s\n"
        "    hv1: no\n"
        "\n"
        "@@ network web @@\n"
        "-mtu: 1450\n"
        "+mtu: 1400\n"
        "\n"
        "   WHERE  WHAT         WHY              DISTURBED\n"
        "~  lab    network web  mtu 1450 → 1400  nothing\n"
        "~  hv1    a:eth0       mtu 1450 → 1400  nothing\n"
        "~  hv2    b:eth0       mtu 1450 → 1400  nothing\n"
    )
    told = json.loads(sdn("history", "2", "-o", "json")[1])
    assert (told["number"], len(told["plan"]["steps"])) == (2, 3)


def test_diff(sdn: Run) -> None:
    sdn("set", "network", "web", "mtu=1400")
    sdn("create", "node", "c", "network=web", "chassis=hv1")
    sdn("set", "port", "c:eth0", "ip=10.9.0.99")
    sdn("delete", "node", "b")
    _, out, _ = sdn("diff", "1")
    gone = out.partition("@@ node b @@")[2]
    assert MAC.sub("MAC", out.partition("@@ node b @@")[0]) == (
        "--- revision 1\n"
        "+++ revision 5\n"
        "@@ network web @@\n"
        "-mtu: 1450\n"
        "+mtu: 1400\n"
        "@@ node c @@\n"
        "+chassis: hv1\n"
        "+ports.eth0.mac: MAC\n"
        "+ports.eth0.network: web\n"
        "+ports.eth0.ip: [10.9.0.99]\n"
        "+ports.eth0.allowed_addresses: []\n"
        "+ports.eth0.spoof_guard: true\n"
    )
    assert all(line.startswith("-") for line in gone.strip().splitlines())
    assert sdn("diff", "2", "2")[1] == "revisions 2 and 2 are the same\n"
    assert "+mtu: 1450" in sdn("diff", "2", "1")[1]
    assert json.loads(sdn("diff", "1", "2", "-o", "json")[1])["entries"][0]["name"] == "web"


def test_rollback(sdn: Run, served: Served) -> None:
    sdn("set", "network", "web", "mtu=1400")
    plan = (
        "   WHERE  WHAT         WHY              DISTURBS\n"
        "~  lab    network web  mtu 1400 → 1450  nothing\n"
        "~  hv1    a:eth0       mtu 1400 → 1450  nothing\n"
        "~  hv2    b:eth0       mtu 1400 → 1450  nothing\n"
        "0 to add, 3 to change, 0 to remove\n"
    )
    assert sdn("rollback", "1", "--dry-run") == (0, plan, "")
    assert len(served.store.revisions()) == 2
    code, out, err = sdn("rollback", "1", "--timeout", "0.2")
    assert code == 1, "nobody builds this lab"
    assert out.startswith(plan)
    assert "the lab is not whole after 0.2 s" in err
    assert served.store.revisions()[3].origin == "sdn rollback 1 --timeout 0.2"
    confirmed(served)
    code, out, _ = sdn("rollback", "1")
    assert code == 0
    assert out == (
        "no chassis has anything to do: the lab works as in revision 1\n"
        "the lab is already as in revision 1: nothing to do (revision 3)\n"
    )
    told = json.loads(sdn("rollback", "2", "--dry-run", "-o", "json")[1])
    assert (told["to"], told["changed"], len(told["plan"]["steps"])) == (2, False, 3)


# ── events ──


def test_events(sdn: Run, served: Served) -> None:
    served.store.settle(1)
    served.store.report(ports={"a:eth0": PortFacts(True, 70)})
    served.store.report(drifts={"x": Drift("hv1", "flow y", "removed", NOW, NOW + 0.0121)})
    served.store.report(flows={"hv1": FlowFacts(True, 1, 3, "table full")})
    with served.client() as lab:
        list(zip(range(7), lab.events(after="0"), strict=False))  # all have been told
    code, out, _ = sdn("events")
    assert code == 0
    assert re.sub(r"\d\d-\d\d-\d\d \d\d:\d\d", "DATE", out) == (
        "TIME  model.changed     revision 1 by alice (sdn up small.yaml): "
        "2 chassis, 2 networks, 2 nodes and 2 ports added\n"
        "TIME  revision.settled  revision 1 is settled after 250 ms\n"
        "TIME  port.up           port a:eth0 is up\n"
        "DATE  drift.found       hv1: flow y was removed by somebody\n"
        "DATE  drift.repaired    hv1: flow y was removed by somebody; put back 12.1 ms later\n"
        "TIME  chassis.changed   the switch of hv1 is connected to the controller\n"
        "TIME  flows.confirmed   hv1 confirmed the flows of revision 1 again\n"
        "TIME  failure           hv1: table full\n"
    )
    (line,) = sdn("events", "--kind", "port", "-o", "json")[1].splitlines()
    assert json.loads(line)["object"] == {"kind": "port", "name": "a:eth0"}
    assert "drift" not in sdn("events", "--since", "10m")[1]
    assert len(sdn("events", "-O", "port/a:*", "-k", "failure", "-k", "port")[1].splitlines()) == 1


def test_events_go_on(served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Until somebody presses Ctrl-C, which is no error of ours."""
    from sdn.cli import events

    shown: list[str] = []

    def show(event: Any, as_json: bool) -> None:
        shown.append(event.message)
        if event.message == "last":
            raise KeyboardInterrupt
        served.tell("last")

    monkeypatch.setattr(events, "_show", show)
    assert main(["events", "-f", "--api", served.api]) == 130
    assert shown[-1] == "last"
    assert shown[0].startswith("revision 1")


def test_times() -> None:
    now = datetime.now(UTC)
    assert abs(moment("10m") - (now - timedelta(minutes=10))) < timedelta(seconds=5)
    assert abs(moment("1.5h") - (now - timedelta(hours=1.5))) < timedelta(seconds=5)
    assert moment("2026-11-21 15:00").tzinfo
    assert when("2026-11-21T15:00:00.123456Z").microsecond == 123456
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", clock(now.isoformat()))
    assert re.fullmatch(r"23-11-1\d \d\d:\d\d", clock("2023-11-14T22:13:20.000000Z"))


def test_completion() -> None:
    assert complete.kinds("no") == ["node"]
    assert complete.events("drift") == ["drift.found", "drift.repaired"]


def test_what_is_no_time() -> None:
    with pytest.raises(FileError):
        moment("soon")


# ── what is printed in the help and in the README ──

LAB = """\
name: small
chassis: {hv1: {}, hv2: {}}
networks:
  web: {segment: {vxlan: 7}, subnet: 10.10.0.0/24}
  db: {segment: {vxlan: 8}, subnet: 10.8.0.0/24}
nodes:
  web1: {network: web, chassis: hv1}
  web2: {ports: [{network: web}, {network: db}]}
"""
COMMANDS: tuple[Callable[..., None], ...] = (
    api_commands.create,
    api_commands.change,
    api_commands.get,
    api_commands.delete,
    api_commands.events,
    api_commands.history,
    api_commands.diff,
    api_commands.rollback,
)


def examples(of: Callable[..., None]) -> list[list[str]]:
    """Of a command's help, as words; whoever names a lab does not name an API."""
    text = " ".join((of.__doc__ or "").partition("Examples:")[2].split())
    found = [shlex.split(each) for each in re.findall(r"`([^`]*)`", text)]
    return [[word for word in words[1:] if word not in ("overlay", "-f")] for words in found]


@pytest.fixture
def busy(served: Served) -> Served:
    """A lab with some history, in which everything is confirmed as soon as it is written."""
    served.store.write(parse(LAB, "small.yaml"))
    for number in range(12):
        model = parse(LAB + f"  other{number}: {{network: db}}\n", "small.yaml", served.store.model())
        served.store.write(model)
    served.store.report(
        flows={name: FlowFacts(True, 99, 30) for name in ("hv1", "hv2")},
        hosts={name: HostFacts(99) for name in ("hv1", "hv2")},
    )
    return served


@pytest.mark.usefixtures("busy")
def test_examples_of_the_help_work(sdn: Run) -> None:
    for command in COMMANDS:
        found = examples(command)
        assert found, command
        for words in found:
            code, out, err = sdn(*words)
            assert code == 0, (words, out, err)


def test_the_readmes_python_works_as_printed(busy: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    told: list[tuple[object, ...]] = []

    def said(*words: object) -> None:
        told.append(words)
        raise StopIteration

    monkeypatch.setattr(Client, "of", lambda lab: busy.client() if lab == "overlay" else None)
    drift, over = Drift("hv1", "flow x", "removed", NOW), threading.Event()

    def happen() -> None:
        """Again and again: nobody tells when the example listens."""
        for number in count(1):
            if over.wait(0.1):
                return
            busy.store.report(drifts={f"controller-{number}": drift})

    happening = threading.Thread(target=happen)
    happening.start()
    (example,) = code
    try:
        with pytest.raises(StopIteration):
            exec(compile(example, "README.md", "exec"), {"print": said})  # what else does it work by?
    finally:
        over.set()
        happening.join()
    ((time, message),) = told
    assert (time, message) == ("2023-11-14T22:13:20.000000Z", "hv1: flow x was removed by somebody")
    model = busy.store.model()
    assert model
    assert "web1:eth1" in model.ports


def test_commands_of_this_machine_do_not_pass_for_another(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else this machine's status would be taken for that one's, and the wrong lab taken down."""
    monkeypatch.setenv("SDN_API", "https://192.0.2.1:8443")
    for command in (["status"], ["down", "x"], ["trace", "a", "b"], ["guest", "list"]):
        assert main(command) == 2
        assert "SDN_API names another machine" in capsys.readouterr().err
    assert main(["version"]) == 0
