"""The command line: which commands there are, and what becomes of their errors. Arguments and help are in `*_commands`.

Enters: a command line. Leaves: an exit code. Never: a traceback, unless SDN_DEBUG is set.

Exit codes: 0 done, 1 a test or check failed, 2 the file or the arguments are wrong, 3 this machine lacks something.
"""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from datapath.errors import FileError, MachineError, SdnError
from sdn.author import acting
from sdn.cli import (
    api_commands,
    check_commands,
    guest_commands,
    life_commands,
    look_commands,
    packet_commands,
    token_commands,
    volume_commands,
)
from sdn.cli.arguments import LOOK

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


for module in (
    life_commands,
    look_commands,
    check_commands,
    packet_commands,
    guest_commands,
    volume_commands,
    api_commands,
    token_commands,
):
    module.add_to(app)


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
