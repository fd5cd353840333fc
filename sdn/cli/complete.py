"""What the shell offers when one presses Tab. Whatever goes wrong there, the answer is an empty list."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from datapath.errors import SdnError

if TYPE_CHECKING:
    from sdn.model import Model


def labs(incomplete: str) -> list[str]:
    from sdn import lab

    return _start(lab.labs(), incomplete)


def files(incomplete: str) -> list[str]:
    """Topology files, and the folders that may hold some."""
    folder = Path(incomplete or ".")
    folder = folder if incomplete.endswith("/") or not incomplete else folder.parent
    if not folder.is_dir():
        return []
    entries = (
        e
        for e in sorted(folder.iterdir())
        if e.suffix in (".yaml", ".yml") or (e.is_dir() and not e.name.startswith("."))
    )
    return _start((f"{e}/" if e.is_dir() else str(e) for e in entries), incomplete)


def labs_and_files(incomplete: str) -> list[str]:
    return [*labs(incomplete), *files(incomplete)]


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    model = _model(ctx.params)
    return _start(model.nodes, incomplete) if model else []


def places(ctx: typer.Context, incomplete: str) -> list[str]:
    """What has a namespace."""
    model = _model(ctx.params)
    return _start([*model.nodes, *(c.name for c in model.chassis.values() if c.ours)], incomplete) if model else []


def ports(ctx: typer.Context, incomplete: str) -> list[str]:
    model = _model(ctx.params)
    return _start([*model.nodes, *model.ports], incomplete) if model else []


def chassis(ctx: typer.Context, incomplete: str) -> list[str]:
    model = _model(ctx.params)
    return _start(model.chassis, incomplete) if model else []


def guests(ctx: typer.Context, incomplete: str) -> list[str]:
    model = _model(ctx.params)
    return _start(model.guests, incomplete) if model else []


def snapshots(ctx: typer.Context, incomplete: str) -> list[str]:
    """Those of the guest that stands before."""
    from sdn.cli.snapshots import names

    try:
        return _start(names(ctx.params.get("lab"), ctx.params.get("guest") or ""), incomplete)
    except (SdnError, OSError):
        return []


def volumes(incomplete: str) -> list[str]:
    """With a slash the guests' own disks."""
    from datapath.guest.pool import disks

    found = disks.own_disks() if "/" in incomplete else disks.every_volume()
    return _start(map(disks.name_of, found), incomplete)


def images(incomplete: str) -> list[str]:
    from datapath.guest.pool import disks

    return _start((path.name for path in disks.every_image()), incomplete)


def bases(incomplete: str) -> list[str]:
    return [*images(incomplete), *volumes(incomplete)]


def logs(ctx: typer.Context, incomplete: str) -> list[str]:
    from sdn.cli.logs import names
    from sdn.cli.target import lab_of

    try:
        return _start(names(lab_of(ctx.params.get("lab"))), incomplete)
    except (SdnError, OSError):
        return []


def kinds(incomplete: str) -> list[str]:
    from sdn.client.models import KINDS

    return _start(KINDS, incomplete)


def events(incomplete: str) -> list[str]:
    """Kinds of events."""
    from sdn.api.happened import KINDS

    return _start(KINDS, incomplete)


def named(ctx: typer.Context, incomplete: str) -> list[str]:
    """Those of the kind that stands before, of a lab on this machine."""
    from sdn.api.resources import KINDS
    from sdn.client.models import BY_WORD

    model, kind = _model(ctx.params), BY_WORD.get(ctx.params.get("kind") or "")
    of = KINDS.get(kind.path) if kind else None
    return _start(of.names(model), incomplete) if model and of else []


def _model(params: dict[str, Any]) -> Model | None:
    from sdn.cli import target

    try:
        return target.running(params.get("lab"))[0]
    except (SdnError, OSError):
        return None


def _start(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
