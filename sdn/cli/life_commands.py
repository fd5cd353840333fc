"""`sdn up`, `plan`, `apply`, `down`: their arguments and help. What they do is imported when they run."""

from __future__ import annotations

from typing import Annotated

import typer

from sdn.cli.arguments import BUILD, File, Form, Lab, Output, Target, Timeout, chosen_lab


def add_to(app: typer.Typer) -> None:
    app.command("deploy", hidden=True)(up)
    app.command(rich_help_panel=BUILD)(up)
    app.command(rich_help_panel=BUILD)(plan)
    app.command(rich_help_panel=BUILD)(apply)
    app.command("destroy", hidden=True)(down)
    app.command(rich_help_panel=BUILD)(down)


def up(
    file: File,
    test: Annotated[bool, typer.Option("--test", help="Run the file's tests afterwards.")] = False,
    timeout: Timeout = 60.0,
    output: Output = Form.TABLE,
) -> None:
    """Bring a lab up, or bring a running one to what its file says.

    Done already: it says so and changes nothing. Interrupted half-way: again completes it.

    Example: `sdn up topologies/overlay.yaml --test`
    """
    from sdn.cli import life

    as_json = output is Form.JSON
    model = life.up(file, timeout, as_json, tell=not (test and as_json))
    if test:
        from sdn.cli import check

        raise typer.Exit(check.run_tests(model.lab, check.Options(matrix=True, as_json=as_json)))


def plan(file: File, output: Output = Form.TABLE) -> None:
    """Show every step that `up` or `apply` would take, why, and what it disturbs.

    Example: `sdn plan topologies/overlay.yaml`
    """
    from sdn.cli import life

    life.plan(file, output is Form.JSON)


def apply(file: File, timeout: Timeout = 60.0, output: Output = Form.TABLE) -> None:
    """Change a running lab to what its file says; what does not differ is not touched.

    Example: `sdn apply topologies/overlay.yaml`
    """
    from sdn.cli import life

    life.apply(file, timeout, output is Form.JSON)


def down(
    context: typer.Context,
    target: Target = None,
    every: Annotated[bool, typer.Option("--all", help="Every lab on this machine.")] = False,
    lab: Lab = None,
) -> None:
    """Remove everything of a lab from this machine, and nothing else.

    Examples: `sdn down` · `sdn down overlay` · `sdn down --all`
    """
    from sdn.cli import life

    life.down(chosen_lab(context, target, lab), every)
