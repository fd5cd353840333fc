"""`sdn exec`, `trace`, `flows`: their arguments and help. What they do is imported when they run."""

from __future__ import annotations

from typing import Annotated

import typer

from datapath.errors import FileError
from sdn.cli import complete
from sdn.cli.arguments import LOOK, Form, Lab, Output


def add_to(app: typer.Typer) -> None:
    words = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command("exec", rich_help_panel=LOOK, context_settings=words)(execute)
    app.command(rich_help_panel=LOOK)(trace)
    app.command(rich_help_panel=LOOK)(flows)


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
