"""`sdn status`, `graph`, `logs`, `export`: their arguments and help. What they do is imported when they run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sdn.cli import complete
from sdn.cli.arguments import LOOK, Form, Lab, Output, Target, chosen_lab


class Picture(StrEnum):
    SVG = "svg"
    DOT = "dot"
    MERMAID = "mermaid"


class Elsewhere(StrEnum):
    LIBVIRT = "libvirt"
    TOPOLOGY = "topology"


def add_to(app: typer.Typer) -> None:
    app.command("inspect", hidden=True)(status)
    app.command(rich_help_panel=LOOK)(status)
    app.command(rich_help_panel=LOOK)(graph)
    app.command(rich_help_panel=LOOK)(logs)
    app.command(rich_help_panel=LOOK)(export)


def status(
    context: typer.Context,
    target: Target = None,
    every: Annotated[bool, typer.Option("--all", help="List the ports of a large lab too.")] = False,
    lab: Lab = None,
    output: Output = Form.TABLE,
) -> None:
    """Show chassis, networks, ports and processes. Ends with 1 where the lab is not whole.

    Examples: `sdn status` · `sdn status overlay -o json`
    """
    from sdn.cli import look

    raise typer.Exit(look.status(chosen_lab(context, target, lab), every, output is Form.JSON))


def graph(
    context: typer.Context,
    target: Target = None,
    form: Annotated[Picture | None, typer.Option("--format", "-f", help="By the file's suffix; else SVG.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-O", metavar="PATH", help="Write it there.")] = None,
    lab: Lab = None,
) -> None:
    """Draw a lab: of a file as it is meant, of a running lab with what is up.

    Examples: `sdn graph topologies/overlay.yaml -O overlay.svg` · `sdn graph -f mermaid`
    """
    from sdn.cli import look

    look.graph(chosen_lab(context, target, lab), form.value if form else None, file)


def logs(
    which: Annotated[
        str | None,
        typer.Argument(metavar="PROCESS|CHASSIS", help="One log; all without it.", autocompletion=complete.logs),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines of each.")] = 20,
    lab: Lab = None,
) -> None:
    """Show what the lab's processes and switches wrote.

    Examples: `sdn logs controller` · `sdn logs hv1 -f`
    """
    from sdn.cli.logs import logs as show

    show(lab, which, lines, follow)


def export(
    form: Annotated[Elsewhere, typer.Argument(metavar="libvirt|topology", help="As what.")],
    guest: Annotated[
        str | None,
        typer.Argument(
            metavar="GUEST", help="Which guest, for libvirt.", autocompletion=complete.guests, show_default=False
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-O", metavar="PATH", help="Write it there.")] = None,
    lab: Lab = None,
) -> None:
    """Print a guest as the XML of a libvirt domain, for a host of your own with the same bridges and files; or a
    running lab as a topology file, with what was changed since its own was applied.

    Examples: `sdn export libvirt db1 -O db1.xml --lab topologies/guests.yaml` · `sdn export topology -O now.yaml`
    """
    from sdn.cli import export as exporting

    exporting.export(form, guest, lab, file)
