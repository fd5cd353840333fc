"""Who may import whom (design §5), read from the syntax trees: nothing is imported, so a bad import costs nothing."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# What reads a clock, throws dice, or touches the world. Pure code may import no third-party module at all.
# fmt: off
IMPURE_STDLIB = frozenset((
    "asyncio", "ctypes", "datetime", "fcntl", "glob", "http", "logging", "mmap", "multiprocessing", "os",
    "pathlib", "queue", "random", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "socketserver", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
))
# fmt: on
# What of it, and of third parties, does no more than compute.
FIT_FOR_PURE = frozenset({"uuid.UUID", "uuid.uuid5", "uuid.NAMESPACE_URL", "pathlib.PurePath", "orjson", "lz4.block"})
# requests.py reads headers with what transport.py, an edge, defines beside its sockets.
EDGES_OF_PURE = {"sdn.southbound.requests": "sdn.southbound.transport"}
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})

# Which parts of sdn may use which edges of datapath.
DATAPATH_EDGES = {
    "datapath.pool": ("sdn.topology", "sdn.lab", "sdn.cli", "sdn.api.tokens"),
    "datapath.ovsdb": ("sdn.store", "sdn.lab", "sdn.cli"),
    "datapath.guest.console": ("sdn.lab", "sdn.cli", "sdn.api"),
    "datapath": ("sdn.lab", "sdn.cli"),
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for top in ("sdn", "datapath"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(), filename=str(path))
    return found


MODULES = modules()
PURE = tuple(name for name, tree in MODULES.items() if re.search(r"\bPURE\b", ast.get_docstring(tree) or ""))
"""A module says so itself. A package speaks for all within it."""
PACKAGES = {name for name in MODULES if (ROOT / name.replace(".", "/")).is_dir()}


def within(name: str, parents: tuple[str, ...]) -> bool:
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def imports(name: str) -> Iterator[tuple[int, str]]:
    """(line, imported module) everywhere in the module: at its top, in functions, under TYPE_CHECKING."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(name, node)
            # `from package import module` imports the module
            yield from ((node.lineno, _resolved(base, alias.name)) for alias in node.names)


def absolute(name: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = name.split(".") if name in PACKAGES else name.split(".")[:-1]
    parents = package[: len(package) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _resolved(base: str, imported: str) -> str:
    full = f"{base}.{imported}"
    return full if full in MODULES or full in FIT_FOR_PURE else base


def is_pure(name: str) -> bool:
    return within(name, PURE) or name in ("sdn", "datapath")


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, PURE)])
def test_pure_modules_import_only_pure_ones(name: str) -> None:
    wrong = [f"{name}:{line} imports {target}" for line, target in imports(name) if not _fit_for_pure(name, target)]
    assert not wrong, "\n".join(wrong)


def _fit_for_pure(name: str, target: str) -> bool:
    if target in FIT_FOR_PURE or EDGES_OF_PURE.get(name) == target:
        return True
    top = target.partition(".")[0]
    if top in ("sdn", "datapath"):
        return is_pure(target)
    return top in sys.stdlib_module_names and top not in IMPURE_STDLIB


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, PURE)])
def test_pure_modules_do_no_io(name: str) -> None:
    wrong = [
        f"{name}:{node.lineno} calls {node.func.id}()"
        for node in ast.walk(MODULES[name])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
    ]
    assert not wrong, "\n".join(wrong)


def test_datapath_never_imports_sdn() -> None:
    wrong = [
        f"{name}:{line} imports {target}"
        for name in MODULES
        if within(name, ("datapath",))
        for line, target in imports(name)
        if within(target, ("sdn",))
    ]
    assert not wrong, "\n".join(wrong)


def test_sdn_uses_the_edges_of_datapath_only_where_processes_are_put_together() -> None:
    wrong = [
        f"{name}:{line} imports {target}"
        for name in MODULES
        if within(name, ("sdn",))
        for line, target in imports(name)
        if within(target, ("datapath",)) and not is_pure(target) and not within(name, _users_of(target))
    ]
    assert not wrong, "\n".join(wrong)


def _users_of(target: str) -> tuple[str, ...]:
    return next(users for edge, users in DATAPATH_EDGES.items() if within(target, (edge,)))


def test_eventlet_is_never_imported() -> None:
    wrong = [
        f"{name}:{line}"
        for name in MODULES
        for line, target in imports(name)
        if within(target, ("eventlet", "os_ken.lib.hub", "os_ken.base"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_its_place(name: str) -> None:
    assert ast.get_docstring(MODULES[name]), f"{name} has no docstring"
