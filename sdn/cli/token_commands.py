"""`sdn serve` and `sdn token …`: their arguments and help. What they do is imported when they run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from sdn.cli.arguments import Form, Lab, Output

token = typer.Typer(
    no_args_is_help=True,
    help="Who may use the REST API and the page from elsewhere. A token is for all labs of this machine.",
)
SERVE: Final = "REST and the page"
"""Panel of `sdn --help`."""


class Role(StrEnum):
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel=SERVE)(serve)
    app.add_typer(token, name="token", rich_help_panel=SERVE)


def serve(
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="ADDR:PORT", help="Also [::1]:8080 or unix:/path; may be given again."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="PEM, with what it is signed by.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="PEM, mode 0600.")] = None,
    require_token: Annotated[
        bool, typer.Option("--require-token", help="On loopback too, where none is needed otherwise.")
    ] = False,
    rate: Annotated[
        float, typer.Option("--rate", metavar="N", min=0, help="Requests a second of one caller; 0: no limit.")
    ] = 200.0,
    lab: Lab = None,
) -> None:
    """Serve the REST API and the page until ^C; else they are at /run/sdn/LAB/api.sock only. On addresses that are not
    loopback only with TLS, and then a token is needed.

    Examples: `sdn serve` · `sdn serve --listen 192.0.2.7:8443 --tls-cert sdn.crt --tls-key sdn.key`
    """
    from sdn.cli import serve as serving

    serving.serve(lab, serving.Wanted(tuple(listen or ()), certificate, key, require_token, rate))


@token.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what has it: the author of its changes.")],
    role: Annotated[
        Role, typer.Option("--role", "-r", help="read looks, operate changes the lab, admin does everything.")
    ] = Role.READ,
    expires: Annotated[str, typer.Option("--expires", metavar="30d|12h|never", help="After how long.")] = "30d",
    output: Output = Form.TABLE,
) -> None:
    """Make a token and print it, this once.

    Example: `sdn token create grafana --role read --expires 90d`
    """
    from sdn.cli import tokens

    tokens.create(name, role.value, expires, output is Form.JSON)


@token.command("list")
def list_tokens(output: Output = Form.TABLE) -> None:
    """List the tokens, with their roles and how long they are valid.

    Example: `sdn token list`
    """
    from sdn.cli import tokens

    tokens.list_tokens(output is Form.JSON)


@token.command()
def revoke(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names or ids of tokens.")],
) -> None:
    """Make tokens invalid at once, in servers that run too: what is open with them ends.

    Example: `sdn token revoke grafana`
    """
    from sdn.cli import tokens

    tokens.revoke(names)
