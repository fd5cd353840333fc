"""Commands that ask the API of a lab, here or elsewhere: their arguments and help. What they do is imported when they
run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from datapath.errors import FileError
from sdn.bounds import LONGEST_WAIT, REVISIONS_KEPT
from sdn.cli import complete
from sdn.cli.arguments import BUILD, LOOK, Form, Lab, Output, Target, chosen_lab

THINGS: Final = "Things one by one"
"""Panel of `sdn --help`."""

Api = Annotated[
    str | None,
    typer.Option(
        "--api",
        metavar="URL",
        help="Of another machine, such as https://host:8443; SDN_TOKEN and SDN_CA go with it.",
        envvar="SDN_API",
    ),
]
Kind = Annotated[
    str,
    typer.Argument(
        metavar="KIND", help="port, node, network, chassis …", autocompletion=complete.kinds, show_default=False
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.", autocompletion=complete.named)]
Values = Annotated[
    list[str] | None,
    typer.Argument(metavar="FIELD=VALUE...", help="Fields as in the topology file, or one JSON object."),
]
Content = Annotated[
    Path | None, typer.Option("--file", "-f", metavar="PATH", help="Fields as YAML or JSON; - is standard input.")
]
Waiting = Annotated[bool, typer.Option("--wait", "-w", help="Until switches and hosts have confirmed it.")]
Longest = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, max=LONGEST_WAIT, help="How long to wait.")
]
Number = Annotated[int, typer.Argument(metavar="R", min=0, help="A revision; 0 is the empty lab.")]


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel=LOOK)(events)
    app.command(rich_help_panel=LOOK)(history)
    app.command(rich_help_panel=LOOK)(diff)
    app.command(rich_help_panel=BUILD)(rollback)
    app.command(rich_help_panel=THINGS)(get)
    app.command(rich_help_panel=THINGS)(create)
    app.command("set", rich_help_panel=THINGS)(change)
    app.command(rich_help_panel=THINGS)(delete)


def events(
    context: typer.Context,
    target: Target = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as things happen.")] = False,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", "-k", metavar="K", help="Only such: port, drift.*, failure.", autocompletion=complete.events
        ),
    ] = None,
    about: Annotated[
        list[str] | None, typer.Option("--object", "-O", metavar="O", help="Only about such: port/web1:*, guest/vm1.")
    ] = None,
    chassis: Annotated[
        list[str] | None,
        typer.Option("--chassis", metavar="C", help="Only on this one.", autocompletion=complete.chassis),
    ] = None,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="10m, 2h, or a date and time.")] = "",
    lab: Lab = None,
    api: Api = None,
    output: Output = Form.TABLE,
) -> None:
    """Show what happened in a lab: changes, ports, guests, drift and its repair, failures. With -f, what happens.

    With `-o json` there is one JSON object on each line.

    Examples: `sdn events -f` · `sdn events overlay --kind failure --since 1h` · `sdn events -f --object 'port/web1:*'`
    """
    from sdn.cli import events as telling

    wanted = telling.Wanted(tuple(kind or ()), tuple(about or ()), tuple(chassis or ()), since)
    telling.events(chosen_lab(context, target, lab), api, wanted, follow, output is Form.JSON)


def history(
    context: typer.Context,
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="[R|LAB]",
            help="One revision, with its plan; or a lab, where several run.",
            autocompletion=complete.labs,
            show_default=False,
        ),
    ] = None,
    most: Annotated[
        int, typer.Option("--number", "-n", min=1, max=REVISIONS_KEPT, help="How many, the newest first.")
    ] = 20,
    lab: Lab = None,
    api: Api = None,
    output: Output = Form.TABLE,
) -> None:
    """List what was changed in a lab, when, by whom, and how it ended; or one change with all that it did.

    Examples: `sdn history` · `sdn history overlay` · `sdn history 12`
    """
    from sdn.cli import history as past

    if which is not None and which.isdecimal():
        past.one(lab, api, int(which), output is Form.JSON)
    else:
        past.history(chosen_lab(context, which, lab), api, most, output is Form.JSON)


def diff(
    old: Number,
    new: Annotated[
        int | None, typer.Argument(metavar="[R2]", min=0, help="The present one without it.", show_default=False)
    ] = None,
    lab: Lab = None,
    api: Api = None,
    output: Output = Form.TABLE,
) -> None:
    """Show what differs between two revisions, in the words of the topology file.

    Examples: `sdn diff 3` · `sdn diff 3 5`
    """
    from sdn.cli import history as past

    past.diff(lab, api, old, new, output is Form.JSON)


def rollback(
    revision: Annotated[int, typer.Argument(metavar="R", min=1, help="A revision; see `sdn history`.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")] = False,
    timeout: Longest = 60.0,
    lab: Lab = None,
    api: Api = None,
    output: Output = Form.TABLE,
) -> None:
    """Make a lab what it was in a revision, with the same addresses, MACs and numbers. That is a revision too.

    Examples: `sdn rollback 11 --dry-run` · `sdn rollback 11`
    """
    from sdn.cli import history as past

    past.rollback(lab, api, revision, dry_run, timeout, output is Form.JSON)


def get(
    kind: Kind,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FIELD=VALUE]...",
            help="Names, patterns; fields to narrow it down.",
            autocompletion=complete.named,
        ),
    ] = None,
    lab: Lab = None,
    api: Api = None,
    output: Output = Form.TABLE,
) -> None:
    """Show the things of one kind, or one of them with everything that is known of it.

    Kinds: lab, chassis, physnet, network, port, node, guest, test, switch, link, flow.

    Examples: `sdn get ports` · `sdn get port web1:eth0` · `sdn get ports node=web1 up=true` · `sdn get node 'web*'`
    """
    from sdn.cli import resources

    resources.get(lab, api, kind, words or [], output is Form.JSON)


def create(
    kind: Kind,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")],
    values: Values = None,
    file: Content = None,
    wait: Waiting = False,
    timeout: Longest = 60.0,
    lab: Lab = None,
    api: Api = None,
    output: Output = Form.TABLE,
) -> None:
    """Create a thing in a running lab. What is not said is left to sdn. One that is there and so is left as it is.

    Examples: `sdn create node web9 network=web chassis=hv1 --wait` · `sdn create network lab segment.vxlan=77
    subnet=10.7.0.0/24` · `sdn create port web1:eth1 '{"network": "db"}'`
    """
    from sdn.cli import resources

    made = resources.create(lab, api, kind, name, values or [], file, _how(wait, timeout))
    resources.tell(made, output is Form.JSON)


def change(
    kind: Kind,
    name: Name,
    values: Values = None,
    file: Content = None,
    if_match: Annotated[
        int | None, typer.Option("--if-match", metavar="R", help="Only if it has not changed after this revision.")
    ] = None,
    wait: Waiting = False,
    timeout: Longest = 60.0,
    lab: Lab = None,
    api: Api = None,
    output: Output = Form.TABLE,
) -> None:
    """Change fields of a thing; the others stay. `FIELD=` without a value leaves the field to sdn, which keeps what
    there is where that still fits.

    Examples: `sdn set network web mtu=1400 --wait` · `sdn set port web1:eth0 ip=10.10.0.9` · `sdn set node web1
    chassis=`
    """
    from sdn.cli import resources

    how = _how(wait, timeout) | ({"if_match": f'"{if_match}"'} if if_match is not None else {})
    resources.tell(resources.change(lab, api, kind, name, values or [], file, how), output is Form.JSON)


def delete(
    kind: Kind,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names.", autocompletion=complete.named)],
    wait: Waiting = False,
    timeout: Longest = 60.0,
    lab: Lab = None,
    api: Api = None,
    output: Output = Form.TABLE,
) -> None:
    """Remove things from a running lab. What others need stays, and it says who.

    Examples: `sdn delete node web9` · `sdn delete port web1:eth1 web2:eth1 --wait`
    """
    from sdn.cli import resources

    if any(set(name) & set("*?") for name in names):
        raise FileError("names are given one by one", remedy=f"see: sdn get {kind}")
    resources.delete(lab, api, kind, names, _how(wait, timeout), output is Form.JSON)


def _how(wait: bool, timeout: float) -> dict[str, Any]:
    return {"wait": "whole", "timeout": timeout} if wait else {}
