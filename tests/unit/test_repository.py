"""What holds for the repository as a whole: no loose ends in the code, links that lead somewhere, scripts that run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LOOSE_END = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
CODE_BLOCK = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
SLEEPS = ("time.sleep", "asyncio.sleep", "sleep")


def files(*suffixes: str) -> list[Path]:
    """The files of the repository that git would keep; all of them in an unpacked archive."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=False,
        capture_output=True,
        text=True,
    )
    names = listed.stdout.split("\0") if listed.returncode == 0 else map(str, _walk())
    paths = [ROOT / name for name in names if name.endswith(suffixes)]
    return sorted(path for path in paths if path.is_file())


def _walk() -> Iterator[Path]:
    hidden = {".git", ".venv", "artifacts", "build", "dist"}
    return (p.relative_to(ROOT) for p in ROOT.rglob("*") if not hidden & set(p.relative_to(ROOT).parts))


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in files(".py"):
        if path.relative_to(ROOT).parts[0] in ("sdn", "datapath"):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def offences(offends: Callable[[ast.AST], bool]) -> list[str]:
    return [f"{path}:{node.lineno}" for path, tree in trees() for node in ast.walk(tree) if offends(node)]


def test_no_loose_ends() -> None:
    code = files(".py", ".sh", ".yaml", ".yml", ".toml", "Makefile", ".c", ".h") + sorted((ROOT / "scripts").iterdir())
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in code
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if LOOSE_END.search(line)
    ]
    assert not found, "\n".join(found)


def test_nothing_goes_through_a_shell() -> None:
    def shell(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        through_flag = any(k.arg == "shell" and not _is_false(k.value) for k in node.keywords)
        return through_flag or ast.unparse(node.func) in ("os.system", "os.popen", "asyncio.create_subprocess_shell")

    assert not offences(shell)


def _is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def test_no_error_is_swallowed() -> None:
    """An error that is expected is named in contextlib.suppress(); a bare `except:` also catches Ctrl-C."""

    def swallows(node: ast.AST) -> bool:
        if not isinstance(node, ast.ExceptHandler):
            return False
        return node.type is None or all(_does_nothing(statement) for statement in node.body)

    assert not offences(swallows)


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass)


def test_no_sleep_of_a_guessed_length() -> None:
    """Wait for the event. sleep(0) only yields, and a computed delay is a back-off."""

    def guesses(node: ast.AST) -> bool:
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) in SLEEPS and node.args):
            return False
        delay = node.args[0]
        return isinstance(delay, ast.Constant) and delay.value != 0

    assert not offences(guesses)


@pytest.mark.parametrize("path", sorted((ROOT / "topologies").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_name_their_schema(path: Path) -> None:
    """The first line is what editors read to complete and check the rest."""
    first = path.read_text().partition("\n")[0]
    schema = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert schema, f"{path.name}:1: {first!r}"
    assert (path.parent / schema[1]).is_file()


@pytest.mark.parametrize("path", files(".md"), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = CODE_BLOCK.sub("", path.read_text())
    targets = [t.partition("#")[0] for t in LINK.findall(text) if not re.match(r"[a-z][a-z0-9+.-]*:", t)]
    missing = [target for target in targets if target and not (path.parent / target).exists()]
    assert not missing, f"{path.relative_to(ROOT)} links to {missing}"


@pytest.mark.parametrize("path", [*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci/run"], ids=lambda path: path.name)
def test_scripts_run(path: Path) -> None:
    runs = path.read_text().partition("\n")[0].removeprefix("#!").split()[-1].rpartition("/")[2]
    assert os.access(path, os.X_OK)
    if runs == "python3":
        compile(path.read_text(), str(path), "exec")
    else:
        assert runs in ("sh", "bash")
        subprocess.run([runs, "-n", str(path)], check=True)


def test_every_target_is_described() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    assert sorted(phony[1].split()) == sorted(re.findall(r"^([a-z]+):.*## .+$", makefile, re.MULTILINE))


def test_the_package_list_names_a_package_for_every_system() -> None:
    rows = [line.split() for line in (ROOT / "packages.txt").read_text().splitlines() if line and line[0] not in "#["]
    assert rows
    assert all(len(row) == 6 for row in rows)


@pytest.mark.parametrize("what", ['"/run/netns"', "0x40000000", "_libc.setns(", ".setrlimit(", '"=IHHII")', "0x86DD: "])
def test_what_the_kernel_is_told_has_one_home_in_datapath(what: str) -> None:
    homes = [path.relative_to(ROOT) for path in (ROOT / "datapath").rglob("*.py") if what in path.read_text()]
    assert len(homes) <= 1, homes
