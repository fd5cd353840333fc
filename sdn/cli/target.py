"""Which lab, node or chassis a command means. Enters: what was typed. Leaves: names and model objects, or FileError."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from datapath.errors import FileError

if TYPE_CHECKING:
    from sdn.lab import Remake
    from sdn.model import Guest, Model, Node
    from sdn.model.facts import Facts
    from sdn.store import Store

_NAME = re.compile(r"^name:[ \t]*[\"']?([A-Za-z0-9][A-Za-z0-9_.-]*)[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)
_NO_GUESTS = "the lab has none; they are under `guests:` in the file"


def is_file(text: str) -> bool:
    return text.endswith((".yaml", ".yml")) or "/" in text


def lab_of(target: str | None) -> str:
    """The lab that is named, the lab of a topology file, or the only one there is."""
    from sdn import lab

    if target is None or not is_file(target):
        return lab.one(target)
    path = Path(target)
    found = _NAME.search(path.read_text(errors="replace")) if path.is_file() else None
    if found:  # so that `sdn down FILE` works with a file that is being edited and wrong elsewhere
        return found[1]
    from sdn import topology

    return topology.read(path).lab


def running(target: str | None) -> tuple[Model, Facts]:
    """Model and facts of the lab meant. Raises FileError where it does not run, and says which do."""
    from sdn import lab

    name = lab_of(target)
    if not lab.is_running(name):
        raise FileError(f"lab {name} is not running", remedy=_what_runs())
    model, facts = lab.snapshot(name)
    if model is None:
        raise FileError(f"lab {name} has no topology yet", remedy="bring it up with: sdn up FILE")
    return model, facts


def _what_runs() -> str:
    from sdn import lab

    names = [name for name in lab.labs() if lab.is_running(name)]
    return f"running: {', '.join(names)}" if names else "bring it up with: sdn up FILE"


class Wanted(NamedTuple):
    """The file's model, the open store of its running lab, and how the model is made where that has another by now."""

    model: Model
    store: Store | None
    remake: Remake


@contextmanager
def change(file: Path) -> Iterator[Wanted]:
    """What the file wants of its lab. Numbers that the running lab has given out are kept."""
    from sdn import lab, topology

    with lab.connected(lab_of(str(file)) if file.is_file() else "") as store:
        previous = store.model() if store else None
        model = topology.read(file, previous)
        yield Wanted(model, store, lambda base: model if base is previous else topology.read(file, base))


def read(file: Path, *, fresh: bool = False) -> tuple[Model, Model | None]:
    """(the file's model, that of its running lab). Numbers that the running lab has given out are kept."""
    from sdn import lab, topology

    name = lab_of(str(file)) if not fresh and file.is_file() else ""
    previous = lab.snapshot(name)[0] if name and lab.is_running(name) else None
    return topology.read(file, previous), previous


def node(model: Model, name: str) -> Node:
    """Raises FileError with what was probably meant."""
    return model.nodes.get(name) or _unknown("node", name, model.nodes)


def guest(model: Model, name: str) -> Guest:
    """Raises FileError: with what was probably meant, or with what it is instead."""
    return model.guests.get(name) or _no_guest(model, name)


def _no_guest(model: Model, name: str) -> NoReturn:
    kind = "node" if name in model.nodes else "chassis" if name in model.chassis else ""
    if not kind and model.guests:
        _unknown("guest", name, model.guests)
    raise FileError(
        f"{name} is a {kind}, not a guest" if kind else f"there is no guest {name}",
        remedy=f"guests are: {_some(list(model.guests))}" if model.guests else _NO_GUESTS,
    )


def place(model: Model, name: str) -> str:
    """A node, or a chassis of ours: what has a namespace. Raises FileError with what was probably meant."""
    known = [*model.nodes, *(chassis.name for chassis in model.chassis.values() if chassis.ours)]
    if name not in known:
        _unknown("node or chassis", name, known)
    return name


def chassis(model: Model, name: str | None) -> list[str]:
    """The chassis named, or all. Raises FileError."""
    from sdn.lab import managed

    if name is None:
        return managed(model)
    if name not in model.chassis:
        _unknown("chassis", name, model.chassis)
    return [name]


def _unknown(kind: str, name: str, known: Iterable[str]) -> NoReturn:
    names = list(known)
    close = get_close_matches(name, names, 3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {_some(names)}"
    raise FileError(f"there is no {kind} {name}", remedy=hint)


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + " …" * (len(names) > 12)
