"""The commands: their arguments and help. What they do is imported when they run.

Enters: a command line. Leaves: an exit code. Never: a traceback, unless SDN_DEBUG is set.

Exit codes: 0 done, 1 a test or check failed, 2 the file or the arguments are wrong, 3 this machine lacks something.
"""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from datapath.errors import FileError, MachineError, SdnError
from sdn.author import acting
from sdn.cli import api_commands, complete, guest_commands, token_commands, volume_commands
from sdn.cli.arguments import (
    BUILD,
    CHECK,
    GUESTS,
    LOOK,
    File,
    Form,
    Guest,
    Lab,
    Output,
    Patience,
    Target,
    Timeout,
    chosen_lab,
)

app = typer.Typer(
    name="sdn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One topology file becomes a running virtual network, and stays true.\n\n"
    "Start with: `sdn up topologies/overlay.yaml --test`",
)

_COLLECT_AFTER = 10_000
"""Objects, instead of Python's 700: what a command makes, a thousand ports perhaps, it mostly keeps until it ends."""

_HERE_ONLY: Final = frozenset(
    {
        "up",
        "deploy",
        "plan",
        "apply",
        "down",
        "destroy",
        "status",
        "inspect",
        "exec",
        "trace",
        "flows",
        "graph",
        "logs",
        "export",
        "test",
        "console",
        "migrate",
        "guest",
    }
)
"""Commands that are about a lab of this machine: with SDN_API in the environment another one may be meant."""

_NAMESPACES = (Path("/run/netns"), Path("/var/run/netns"))


class Picture(StrEnum):
    SVG = "svg"
    DOT = "dot"
    MERMAID = "mermaid"


class Elsewhere(StrEnum):
    LIBVIRT = "libvirt"
    TOPOLOGY = "topology"


class Mode(StrEnum):
    AUTO = "auto"
    PRE_COPY = "pre-copy"
    STOP_AND_COPY = "stop-and-copy"
    POST_COPY = "post-copy"


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        _print_version()
        raise typer.Exit
    if os.environ.get("SDN_API") and context.invoked_subcommand in _HERE_ONLY:
        raise FileError(
            f"SDN_API names another machine, and `sdn {context.invoked_subcommand}` knows this one only",
            remedy="unset SDN_API, or ask what it has by: sdn get, events, history, or the page",
        )


@app.command(rich_help_panel=BUILD)
@app.command("deploy", hidden=True)
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


@app.command(rich_help_panel=BUILD)
def plan(file: File, output: Output = Form.TABLE) -> None:
    """Show every step that `up` or `apply` would take, why, and what it disturbs.

    Example: `sdn plan topologies/overlay.yaml`
    """
    from sdn.cli import life

    life.plan(file, output is Form.JSON)


@app.command(rich_help_panel=BUILD)
def apply(file: File, timeout: Timeout = 60.0, output: Output = Form.TABLE) -> None:
    """Change a running lab to what its file says; what does not differ is not touched.

    Example: `sdn apply topologies/overlay.yaml`
    """
    from sdn.cli import life

    life.apply(file, timeout, output is Form.JSON)


@app.command(rich_help_panel=BUILD)
@app.command("destroy", hidden=True)
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


@app.command(rich_help_panel=LOOK)
@app.command("inspect", hidden=True)
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


@app.command(rich_help_panel=CHECK)
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


@app.command("test", rich_help_panel=CHECK)
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


@app.command(
    "exec", rich_help_panel=LOOK, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def execute(
    node: Annotated[
        str,
        typer.Argument(
            metavar="NODE", help="A node or guest of the lab, or a chassis.", autocompletion=complete.places
        ),
    ],
    command: Annotated[list[str], typer.Argument(metavar="-- CMD...", help="A command and its arguments.")],
    lab: Lab = None,
) -> None:
    """Run a command inside a node or guest or on a chassis; ends with the command's own exit code.

    In a guest its agent runs it, without a terminal, and what it prints comes when it has ended.

    Examples: `sdn exec web1 -- ping -c1 10.10.0.2` · `sdn exec hv3 -- bridge fdb`
    """
    from sdn.cli import packets

    words = command[1:] if command[0] == "--" else command
    if not words:
        raise FileError("no command was given", remedy=f"such as: sdn exec {node} -- ip addr")
    raise typer.Exit(packets.execute(lab, node, words))


guest_commands.add_to(app)
volume_commands.add_to(app)
api_commands.add_to(app)
token_commands.add_to(app)


@app.command(rich_help_panel=GUESTS)
def migrate(
    guest: Guest,
    chassis: Annotated[
        str, typer.Argument(metavar="CHASSIS", help="Where it shall be.", autocompletion=complete.chassis)
    ],
    mode: Annotated[
        Mode | None, typer.Option("--mode", help="This time; else as the file's `migration:` says.")
    ] = None,
    timeout: Patience = 120.0,
    lab: Lab = None,
) -> None:
    """Move a guest to another chassis while it runs. Where that fails it goes on where it was.

    Examples: `sdn migrate web1 hv2` · `sdn migrate web1 hv2 --mode post-copy`
    """
    from sdn.cli import migrate as moving

    moving.migrate(lab, guest, chassis, mode.value if mode else None, timeout)


@app.command(rich_help_panel=LOOK)
def trace(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A node or port.", autocompletion=complete.ports)],
    towards: Annotated[
        str, typer.Argument(metavar="TO", help="A node, port or address.", autocompletion=complete.ports)
    ],
    protocol: Annotated[str, typer.Argument(metavar="icmp|tcp/80|udp/53", help="What is sent.")] = "icmp",
    arp: Annotated[bool, typer.Option("--arp", help="Ask for the target's MAC instead.")] = False,
    lab: Lab = None,
    output: Output = Form.TABLE,
) -> None:
    """Follow a packet through the flows of every switch on its way, as they are now. Ends with 1 where it is dropped.

    Example: `sdn trace web1 db1 tcp/5432`
    """
    from sdn.cli import packets

    raise typer.Exit(packets.trace(lab, source, towards, protocol, arp, output is Form.JSON))


@app.command(rich_help_panel=LOOK)
def flows(
    chassis: Annotated[
        str | None,
        typer.Argument(metavar="CHASSIS", help="One chassis; all without it.", autocompletion=complete.chassis),
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", "-t", metavar="T", help="Only this table, by name or number.")
    ] = None,
    node: Annotated[
        str | None,
        typer.Option("--node", "-n", metavar="N", help="Only flows about this node.", autocompletion=complete.nodes),
    ] = None,
    foreign: Annotated[bool, typer.Option("--foreign", help="Only flows that are not the lab's.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="As ovs-ofctl reads them.")] = False,
    lab: Lab = None,
    output: Output = Form.TABLE,
) -> None:
    """Show the flows that the switches have, by name, with counters and the line of the file behind each.

    Examples: `sdn flows hv1` · `sdn flows hv1 --table forward` · `sdn flows --node web1` · `sdn flows --foreign`
    """
    from sdn.cli import packets

    packets.flows(lab, packets.Wanted(chassis, table, node, foreign), raw, output is Form.JSON)


@app.command(rich_help_panel=LOOK)
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


@app.command(rich_help_panel=LOOK)
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


@app.command(rich_help_panel=LOOK)
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


@app.command(rich_help_panel=LOOK)
def version() -> None:
    """Print the version."""
    _print_version()


def _print_version() -> None:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        print(f"sdn {installed('sdn')}")
    except PackageNotFoundError:  # run from a clone that is not installed
        print("sdn (not installed)")


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point. Returns the exit code."""
    gc.set_threshold(_COLLECT_AFTER)
    said = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with acting(origin=shlex.join(["sdn", *said])):
            app(args=said, prog_name="sdn")
    except SdnError as error:
        return _fail(error)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `sdn flows | head`: nobody wants the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except PermissionError as error:
        return _fail(_forbidden(error))
    except Exception as error:
        if os.environ.get("SDN_DEBUG"):
            raise
        return _fail(
            SdnError(f"{type(error).__name__}: {error}", remedy="this is a fault in sdn; SDN_DEBUG=1 shows where")
        )
    return 0


def _forbidden(error: PermissionError) -> SdnError:
    """Labs are root's: their files, namespaces and sockets, and the pool. Another file is the user's own business."""
    from datapath.pool import pool
    from sdn.lab.rundir import base

    file = None if error.filename is None else Path(os.fsdecode(error.filename))
    of_labs = file is None or any(place in (file, *file.parents) for place in (base(), pool(), *_NAMESPACES))
    if not of_labs:
        return FileError(f"{file}: {(error.strerror or str(error)).lower()}")
    words = shlex.join(sys.argv[1:])
    return MachineError("root", f"this needs root{f': may not use {file}' if file else ''}", remedy=f"sudo sdn {words}")


def _fail(error: SdnError) -> int:
    if os.environ.get("SDN_DEBUG"):
        import traceback

        traceback.print_exception(error)
    from sdn.cli.output import BAD, SOFT, paint

    problems = error.problems if isinstance(error, FileError) else ()
    lines = [str(problem) for problem in problems] or [f"{paint('error:', BAD, sys.stderr)} {error.message}"]
    remedy = [paint(f"  remedy: {error.remedy}", SOFT, sys.stderr)] if error.remedy else []
    print("\n".join([*lines, *remedy]), file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
