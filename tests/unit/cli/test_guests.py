"""What is printed about guests, and what changes of them is said."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest

from datapath.addr import Mac
from datapath.errors import TransientError
from datapath.guest import qga
from sdn import lab
from sdn.cli import guests, output, target
from sdn.cli.main import main
from sdn.lab import Status
from sdn.model import Model
from sdn.model.facts import Facts, GuestFacts
from tests.unit.cli.sample import guest_facts, machines, overlay

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def model() -> Model:
    return machines().with_revision(7)


@pytest.fixture
def seen(model: Model, monkeypatch: pytest.MonkeyPatch) -> Facts:
    found = guest_facts(model)
    monkeypatch.setattr(target, "running", lambda _: (model, found))
    return found


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (512, "512 B"), (128 << 20, "128 MiB"), (3 << 29, "1.5 GiB"), (1023 << 20, "1,023 MiB")],
)
def test_sizes(number: int, text: str) -> None:
    assert output.size(number) == text


@pytest.mark.usefixtures("seen")
class TestList:
    def test_table(self, capsys: Capture) -> None:
        assert main(["guest", "list"]) == 0
        out = capsys.readouterr().out
        found = rows(out)
        assert found["vm1"][:6] == ["vm1", "hv1", "running", "128", "MiB", "1"]
        assert found["vm2"][:6] == ["vm2", "hv2", "running", "1.5", "GiB", "2"]
        assert "10.10.0.2/24" in found["vm1"]
        assert out.count("tcg: no /dev/kvm") == 1
        assert "web1" not in found

    def test_json(self, capsys: Capture) -> None:
        assert main(["guest", "list", "-o", "json"]) == 0
        first, second = json.loads(capsys.readouterr().out)
        assert (first["name"], first["phase"], first["accelerator"]) == ("vm1", "running", "tcg")
        assert second["machine"]["image"] == "/images/debian.qcow2"
        assert second["source"] == "overlay.yaml:82:3"

    def test_why_one_has_failed_in_a_line(self, seen: Facts, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        error = "it died: killed by SIGKILL\nconsole: booting\nconsole: Kernel panic - not syncing"
        seen.guests["vm2"] = GuestFacts("failed", error=error)
        assert main(["guest", "list"]) == 0
        whole = "vm2: it died: killed by SIGKILL · console: Kernel panic - not syncing"
        assert whole in capsys.readouterr().out.splitlines()
        monkeypatch.setenv("COLUMNS", "40")
        assert main(["guest", "list"]) == 0
        assert f"{whole[:39]}…" in capsys.readouterr().out.splitlines()
        assert main(["guest", "list", "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)[1]["error"] == error

    def test_none(self, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        monkeypatch.setattr(target, "running", lambda _: (overlay(), Facts()))
        assert main(["guest", "list"]) == 0
        assert "has no guests" in capsys.readouterr().out

    def test_reasons_that_differ(self, model: Model, seen: Facts, capsys: Capture) -> None:
        seen.guests["vm2"] = replace(seen.guests["vm2"], accelerator="kvm", reason="a guest runs in it")
        guests.list_guests(None, as_json=False)
        out = capsys.readouterr().out
        assert "vm1: tcg: no /dev/kvm" in out
        assert "vm2: kvm: a guest runs in it" in out


class TestShow:
    def test_everything(self, seen: Facts, capsys: Capture) -> None:
        seen.guests["vm2"] = GuestFacts("failed", restarts=2, error="it died: killed by SIGKILL\nconsole: oops")
        assert main(["guest", "show", "vm2"]) == 0
        out = capsys.readouterr().out
        assert "failed, and shall be on" in out
        assert "it died: killed by SIGKILL\n" in out
        assert "  console: oops\n" in out
        assert "/images/debian.qcow2, 10 GiB large" in out
        assert "never, 2 restarts so far" in out
        assert "not beside" in out
        assert "web; 02:00:00:00:00:03; 10.10.0.3/24, up" in out
        assert "overlay.yaml:82:3" in out

    def test_a_move(self, model: Model, seen: Facts) -> None:
        assert guests.place(model, replace(seen.guests["vm1"], at="hv2"), "vm1") == "hv2 → hv1"
        assert guests.place(model, replace(seen.guests["vm1"], leaves="hv2"), "vm1") == "hv2 → hv1"
        assert guests.place(model, seen.guests["vm1"], "vm1") == "hv1"

    @pytest.mark.usefixtures("seen")
    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("web1", "web1 is a node, not a guest"),
            ("hv1", "hv1 is a chassis, not a guest"),
            ("vm9", "there is no guest vm9"),
        ],
    )
    @pytest.mark.parametrize("command", [["guest", "show"], ["guest", "stop"], ["console"]])
    def test_of_something_else(self, command: list[str], name: str, says: str, capsys: Capture) -> None:
        assert main([*command, name]) == 2
        err = capsys.readouterr().err
        assert says in err
        assert "vm1" in err


class TestAddresses:
    """What a guest has is asked of its agent."""

    @pytest.fixture
    def inside(self, seen: Facts, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Addresses of vm1's only interface, which is to have 10.10.0.2."""
        has = ["fe80::1/64"]
        mac = Mac.parse("02:00:00:00:00:02")

        def interfaces(path: Path) -> tuple[qga.Interface, ...]:
            assert path.parts[-3:] == ("guests", "vm1", "agent.sock")
            assert seen.guests["vm1"].answers
            own = qga.Interface("eth0", mac, tuple(map(ip_interface, has)))
            return qga.Interface("lo", None, (ip_interface("127.0.0.1/8"),)), own

        monkeypatch.setattr(qga, "interfaces", interfaces)
        return has

    def line(self, capsys: Capture) -> str:
        assert main(["guest", "show", "vm1"]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("eth0"))

    def test_as_the_file_has_it(self, inside: list[str], capsys: Capture) -> None:
        inside.append("10.10.0.2/24")
        assert self.line(capsys).endswith("02:00:00:00:00:02; 10.10.0.2/24, up")

    def test_what_it_lacks_and_what_is_its_own(self, inside: list[str], capsys: Capture) -> None:
        inside.append("192.0.2.9/24")
        line = self.line(capsys)
        assert "10.10.0.2/24 (the guest does not have it), 192.0.2.9/24 (the guest's own doing), up" in line

    def test_by_dhcp(self, model: Model, inside: list[str], seen: Facts, capsys: Capture) -> None:
        model.ports["vm1.eth0"] = replace(model.ports["vm1.eth0"], dhcp=True)
        assert "10.10.0.2/24 (not obtained by DHCP yet), up" in self.line(capsys)
        inside.append("10.10.0.2/16")
        assert "10.10.0.2/24 by DHCP, up" in self.line(capsys)
        seen.guests["vm1"] = replace(seen.guests["vm1"], answers=False)
        assert "10.10.0.2/24 by DHCP, up" in self.line(capsys)
        assert main(["guest", "list"]) == 0
        assert "10.10.0.2/24, by DHCP" in capsys.readouterr().out

    def test_json(self, inside: list[str], seen: Facts, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        inside.append("10.10.0.2/24")
        assert main(["guest", "show", "vm1", "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["addresses_inside"] == {"eth0": ["10.10.0.2/24"]}

        def gone(_: Path) -> None:
            raise TransientError("guest vm1 has gone while it was asked")

        monkeypatch.setattr(qga, "interfaces", gone)
        assert main(["guest", "show", "vm1", "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["addresses_inside"] is None


class TestStatus:
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
        (tmp_path / "overlay").mkdir()

    def status(self, model: Model, facts: Facts, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
        monkeypatch.setattr(lab, "status", lambda _: Status("overlay", (), model, facts))
        return main(["status", "overlay", *options])

    def test_table(self, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        assert self.status(model, guest_facts(model), monkeypatch) == 0
        assert "tcg: no /dev/kvm" in capsys.readouterr().out

    def test_json(self, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        self.status(model, guest_facts(model), monkeypatch, "-o", "json")
        assert [guest["at"] for guest in json.loads(capsys.readouterr().out)["guests"]] == ["hv1", "hv2"]

    def test_errors_with_last_words(self, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        facts = guest_facts(model)
        facts.hosts["hv1"] = replace(facts.hosts["hv1"], errors=("guest vm1: it died\nconsole: oops",))
        assert self.status(model, facts, monkeypatch) == 1
        assert "! hv1: guest vm1: it died\n    console: oops\n" in capsys.readouterr().out

    def test_ports_of_a_guest_that_shall_be_off(
        self, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        machine = replace(model.guests["vm1"].machine, power="off")
        model.guests["vm1"] = replace(model.guests["vm1"], machine=machine)
        facts = guest_facts(model, vm1=GuestFacts("off"))
        facts.ports["vm1.eth0"] = replace(facts.ports["vm1.eth0"], up=False)
        assert self.status(model, facts, monkeypatch) == 0
        assert capsys.readouterr().out.splitlines()[-1].split()[-1] != "down"

    def test_one_that_has_switched_itself_off(
        self, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        facts = guest_facts(model, vm1=GuestFacts("off", note="it switched itself off"))
        facts.ports["vm1.eth0"] = replace(facts.ports["vm1.eth0"], up=False)
        assert self.status(model, facts, monkeypatch) == 1
        out = capsys.readouterr().out
        assert (
            "vm1: it switched itself off; `sdn guest start vm1` starts it, `sdn guest stop vm1` or `power: off`" in out
        )
        assert [line for line in out.splitlines() if line.startswith("!")] == [
            "! hv1: guest vm1 has switched itself off, and shall be on"
        ]

    def test_of_many_only_those_that_are_not_as_they_shall_be(
        self, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        monkeypatch.setattr("sdn.cli.look._MOST_NODES", 1)
        self.status(model, guest_facts(model, vm2=GuestFacts("failed", "hv2")), monkeypatch)
        found = rows(capsys.readouterr().out)
        assert found["1"][:4] == ["1", "of", "2", "guests"]
        assert "vm2" in found


def test_the_log_of_a_guest_is_its_consoles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path))
    (tmp_path / "overlay" / "guests" / "vm1").mkdir(parents=True)
    assert main(["logs", "vm1", "--lab", "overlay"]) == 2
    assert "sdn console vm1 --log" in capsys.readouterr().err


def test_extent() -> None:
    assert output.extent(machines()) == "2 chassis, 1 node, 2 guests, 1 network"
    assert output.extent(overlay()) == "3 chassis, 10 nodes, 4 networks"
