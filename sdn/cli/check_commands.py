"""`sdn validate`, `test`: their arguments and help. What they do is imported when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdn.cli import complete
from sdn.cli.arguments import CHECK, Form, Lab, Output, Target, chosen_lab


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel=CHECK)(validate)
    app.command("test", rich_help_panel=CHECK)(run_tests)


def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Topology files.", autocompletion=complete.files)
    ],
    output: Output = Form.TABLE,
) -> None:
    """Check topology files; prints every mistake as file:line:column.

    Example: `sdn validate topologies/*.yaml`
    """
    from sdn.cli import check

    raise typer.Exit(check.validate(files, output is Form.JSON))


def run_tests(
    context: typer.Context,
    target: Target = None,
    only: Annotated[
        str | None, typer.Option("--only", "-k", metavar="PATTERN", help="Only tests with such a name.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="PATH", help="Write the results as JUnit XML too.")] = None,
    matrix: Annotated[
        bool, typer.Option("--matrix", "-m", help="Show what reaches what, every node to every other.")
    ] = False,
    lab: Lab = None,
    output: Output = Form.TABLE,
) -> None:
    """Run the file's tests with real packets. For each failure it says which hop, table and flow dropped the packet.

    Examples: `sdn test` · `sdn test -k 'db-*' --junit results.xml` · `sdn test --matrix`
    """
    from sdn.cli import check

    raise typer.Exit(
        check.run_tests(chosen_lab(context, target, lab), check.Options(only, junit, output is Form.JSON, matrix))
    )
