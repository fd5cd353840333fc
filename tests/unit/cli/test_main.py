"""The command line without a lab: exit codes, where messages go, what is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from datapath.errors import ConflictError, MachineError, SdnError
from sdn.cli import life
from sdn.cli.main import app, main

ROOT = Path(__file__).parent.parent.parent.parent
GOOD = """\
name: small
chassis: {hv1: {}, hv2: {}}
networks:
  web: {segment: {vxlan: 10010}, subnet: 10.10.0.0/24}
nodes:
  web[1-2]: {network: web, place: spread}
tests:
  mesh: {from: web*, to: web*, ping: ok}
"""
BAD = GOOD.replace("10.10.0.0/24", "10.10.0.0/240").replace("network: web,", "network: wep,")


@pytest.fixture(autouse=True)
def _no_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDN_RUN_DIR", str(tmp_path / "run"))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    return path


class TestHelp:
    @pytest.mark.parametrize("command", [[], ["up"], ["exec"], ["test"], ["trace"], ["flows"], ["logs"], ["graph"]])
    def test_every_command_has_help(self, command: list[str]) -> None:
        result = CliRunner().invoke(app, [*command, "--help"])
        assert result.exit_code == 0
        assert "Usage" in result.output

    def test_aliases_are_hidden_but_work(self) -> None:
        assert "deploy" not in CliRunner().invoke(app, ["--help"]).output
        assert CliRunner().invoke(app, ["deploy", "--help"]).exit_code == 0

    def test_without_arguments_it_helps(self, capsys: pytest.CaptureFixture[str]) -> None:
        main([])
        assert "Usage" in "".join(capsys.readouterr())

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert main(["version"]) == 0
        assert capsys.readouterr().out.count("sdn ") == 2


class TestExitCodes:
    @pytest.mark.parametrize("arguments", [["nonsense"], ["up"], ["up", "--nonsense"], ["status", "-o", "xml"]])
    def test_wrong_arguments(self, arguments: list[str]) -> None:
        assert main(arguments) == 2

    def test_no_lab(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["status"]) == 2
        assert main(["test"]) == 2
        assert main(["exec", "web1", "--", "true"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "sdn up FILE" in err
        assert "Traceback" not in err

    def test_apply_needs_a_running_lab(self, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["apply", str(good)]) == 2
        assert "sdn up" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (MachineError("ovs", "Open vSwitch is missing", remedy="apt install openvswitch-switch"), 3),
            (ConflictError("hv1 is taken"), 1),
            (SdnError("no"), 1),
            (ZeroDivisionError("oops"), 1),
        ],
    )
    def test_by_kind_of_error(
        self,
        good: Path,
        error: Exception,
        code: int,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(life, "up", fail)
        assert main(["up", str(good)]) == code
        err = capsys.readouterr().err
        assert str(error).splitlines()[0] in err
        assert "Traceback" not in err
        assert "\033" not in err

    def test_interrupted(self, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(life, "up", interrupt)
        assert main(["up", str(good)]) == 130


class TestValidate:
    def test_good(self, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate", str(good)]) == 0
        assert capsys.readouterr().out == f"{good}: right (2 chassis, 2 nodes, 1 network)\n"

    def test_every_problem_on_a_line_of_its_own(
        self, good: Path, bad: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["validate", str(bad), str(good)]) == 2
        out, err = capsys.readouterr()
        assert f"{good}: right" in out
        lines = err.splitlines()
        assert len(lines) == 2
        assert lines[0].startswith(f"{bad}:4:")
        assert lines[1].startswith(f"{bad}:6:")

    def test_json(self, bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate", str(bad), "-o", "json"]) == 2
        problems = json.loads(capsys.readouterr().out)["problems"]
        assert [problem["line"] for problem in problems] == [4, 6]

    def test_other_commands_show_the_same(self, bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", str(bad)]) == 2
        assert capsys.readouterr().err.startswith(f"{bad}:4:")

    def test_missing_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["validate", str(tmp_path / "none.yaml")]) == 2
        assert "cannot be read" in capsys.readouterr().err


class TestGraph:
    def test_svg_to_stdout(self, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["graph", str(good)]) == 0
        assert ET.fromstring(capsys.readouterr().out).tag.endswith("svg")

    @pytest.mark.parametrize(("name", "start"), [("a.dot", "graph "), ("a.mmd", "flowchart"), ("a.svg", "<svg")])
    def test_format_by_suffix(self, good: Path, name: str, start: str) -> None:
        file = good.parent / name
        assert main(["graph", str(good), "-O", str(file)]) == 0
        assert file.read_text().startswith(start)

    def test_cannot_write(self, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["graph", str(good), "-O", "/nonexistent/a.svg"]) == 2
        assert "cannot write" in capsys.readouterr().err


class TestImports:
    """What a command does not need it does not wait for."""

    HEAVY = frozenset({"pyroute2", "ovs", "os_ken", "scapy", "networkx", "eventlet", "yaml"})

    def loaded(self, *arguments: str) -> set[str]:
        code = (
            "import sys; from sdn.cli.main import main; main(sys.argv[1:]);"
            "print('\\nMODULES', *{name.split('.')[0] for name in sys.modules})"
        )
        command = [sys.executable, "-c", code, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "NO_COLOR": "1"})
        return set(result.stdout.rpartition("MODULES")[2].split())

    @pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["version"], ["down"], ["status"]])
    def test_light(self, arguments: list[str]) -> None:
        assert not self.loaded(*arguments) & self.HEAVY

    def test_help_is_lightest(self) -> None:
        """From 0.2x on, typer itself loads pydantic as soon as it converts an argument; not before."""
        assert not self.loaded("--help") & {*self.HEAVY, "pydantic", "asyncio", "datapath.linux"}

    def test_a_drawing_needs_no_switch(self, good: Path) -> None:
        assert not self.loaded("graph", str(good)) & (self.HEAVY - {"yaml"})


class TestCompletion:
    def test_files_and_labs(self, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from sdn.cli import complete

        (good.parent / "run" / "overlay").mkdir(parents=True)
        monkeypatch.chdir(good.parent)
        assert complete.labs_and_files("") == ["overlay", "run/", "small.yaml"]
        assert complete.labs_and_files("sm") == ["small.yaml"]
        assert complete.files("nowhere/") == []


class TestWhatIsMeant:
    def test_a_lab_that_is_nowhere_is_a_typing_mistake(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], good: Path
    ) -> None:
        (tmp_path / "run" / "overlay").mkdir(parents=True)
        assert main(["down", "overlai"]) == 2
        assert "there is no lab overlai\n  remedy: did you mean overlay?" in capsys.readouterr().err
        assert main(["down", "--lab", "other"]) == 2
        assert "there are: overlay" in capsys.readouterr().err
        assert main(["down", str(good)]) == 0, "its file says that there is such a lab"
        assert "nothing to do" in capsys.readouterr().out

    @pytest.mark.parametrize("command", ["status", "test", "graph", "down"])
    def test_a_lab_is_named_in_its_place_or_by_option(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([command, "--lab", "h16x"]) == 2
        assert "h16x" in capsys.readouterr().err
        assert main([command, "h16x", "--lab", "h16y"]) == 2
        assert "two labs are named: h16x and h16y" in capsys.readouterr().err

    @pytest.mark.parametrize("command", ["status", "test", "graph", "down"])
    def test_the_environment_names_one_where_nobody_else_does(
        self, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("SDN_LAB", "h16z")
        for words, meant in (([], "h16z"), (["h16x"], "h16x"), (["--lab", "h16y"], "h16y")):
            assert main([command, *words]) == 2
            assert meant in capsys.readouterr().err
        assert main(["exec", "web1", "--", "true"]) == 2
        assert "h16z" in capsys.readouterr().err

    def test_a_picture_of_a_kind_that_is_not_drawn(
        self, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["graph", str(good), "-O", str(tmp_path / "x.png")]) == 2
        assert "expected .svg, .dot or .mmd" in capsys.readouterr().err
        assert not (tmp_path / "x.png").exists()
        assert main(["graph", str(good), "-O", str(tmp_path / "x.png"), "-f", "svg"]) == 0


class TestNotRoot:
    @pytest.mark.parametrize("command", ["status small", "down small", "logs --lab small", "exec web1 -- true"])
    def test_it_says_so(
        self, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def refuse(*_: object) -> bool:
            raise PermissionError(13, "Permission denied", os.environ["SDN_RUN_DIR"] + "/small")

        monkeypatch.setattr(Path, "iterdir", refuse)
        monkeypatch.setattr(Path, "exists", refuse)
        monkeypatch.setattr(Path, "is_dir", refuse)
        monkeypatch.setattr(Path, "glob", refuse)
        monkeypatch.setattr(Path, "mkdir", refuse)
        monkeypatch.setattr(sys, "argv", ["sdn", *command.split()])
        assert main() == 3
        assert f"needs root: may not use {os.environ['SDN_RUN_DIR']}/small" in (said := capsys.readouterr().err)
        assert f"remedy: sudo sdn {command}" in said

    def test_a_file_of_ones_own(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied", "/somewhere/else")

        monkeypatch.setattr(life, "down", refuse)
        assert main(["down"]) == 2
        assert "/somewhere/else: permission denied" in capsys.readouterr().err
