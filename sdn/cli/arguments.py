"""Arguments and options that several commands have, with their help: for `main` and for modules of sub-commands."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from datapath.errors import FileError
from sdn.cli import complete

BUILD: Final = "Build and change"
GUESTS: Final = "Guests"
LOOK: Final = "Look"
CHECK: Final = "Check"
"""Panels of `sdn --help`."""


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"


File = Annotated[Path, typer.Argument(metavar="FILE", help="A topology file.", autocompletion=complete.files)]
Target = Annotated[
    str | None,
    typer.Argument(
        metavar="LAB|FILE",
        help="A running lab or its topology file; may be left out where one lab runs.",
        autocompletion=complete.labs_and_files,
        show_default=False,
    ),
]
Lab = Annotated[
    str | None,
    typer.Option(
        "--lab",
        "-l",
        metavar="LAB|FILE",
        help="Which lab, where several run.",
        envvar="SDN_LAB",
        autocompletion=complete.labs_and_files,
    ),
]
Guest = Annotated[
    str, typer.Argument(metavar="GUEST", help="A guest of the lab.", autocompletion=complete.guests, show_default=False)
]
Guests = Annotated[
    list[str],
    typer.Argument(metavar="GUEST...", help="Guests of the lab.", autocompletion=complete.guests, show_default=False),
]
Snapshot = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Of the snapshot.", autocompletion=complete.snapshots, show_default=False),
]
Output = Annotated[Form, typer.Option("--output", "-o", help="As a table or as JSON.")]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How long the lab may take to be whole.")]
Patience = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long it may take.")]


def chosen_lab(context: typer.Context, target: str | None, lab: str | None) -> str | None:
    """The lab that was named: in its place, which SDN_LAB does not contradict, or by --lab. Raises FileError where both
    are and differ."""
    source = context.get_parameter_source("lab")
    is_typed = source is not None and source.name == "COMMANDLINE"
    if target is not None and is_typed and target != lab:
        raise FileError(f"two labs are named: {target} and {lab}", remedy="name one")
    return lab if target is None else target
