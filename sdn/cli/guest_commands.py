"""`sdn guest …`, `sdn console` and `sdn migrate`: their arguments and help. What they do is imported when they run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sdn.cli import complete
from sdn.cli.arguments import GUESTS, LOOK, Form, Guest, Guests, Lab, Output, Patience, Snapshot


class Mode(StrEnum):
    AUTO = "auto"
    PRE_COPY = "pre-copy"
    STOP_AND_COPY = "stop-and-copy"
    POST_COPY = "post-copy"


app = typer.Typer(
    no_args_is_help=True,
    help="The machines of a lab: QEMU guests and their lives.\n\n"
    "A guest is created by a line under `guests:` in the file and `sdn apply`, and deleted by taking it out. What is "
    "done here stays, unless the file says otherwise when it is applied again.",
)
snapshots = typer.Typer(no_args_is_help=True, help="Snapshots of a guest: its disk, and its memory if it runs.")
_LIVES = "Lives"
_STATES = "Snapshots"
app.add_typer(snapshots, name="snapshot", rich_help_panel=_STATES)


@app.command("list", rich_help_panel=LOOK)
def list_guests(lab: Lab = None, output: Output = Form.TABLE) -> None:
    """List the guests of a lab: where they are and how.

    Example: `sdn guest list -o json`
    """
    from sdn.cli import guests

    guests.list_guests(lab, as_json=output is Form.JSON)


@app.command(rich_help_panel=LOOK)
def show(guest: Guest, lab: Lab = None, output: Output = Form.TABLE) -> None:
    """Show everything about a guest: hardware, disks, interfaces, snapshots, its last error, why its accelerator.

    Example: `sdn guest show web1`
    """
    from sdn.cli import guests

    guests.show(lab, guest, as_json=output is Form.JSON)


@app.command(rich_help_panel=LOOK)
def stats(guests: Guests = None, lab: Lab = None, output: Output = Form.TABLE) -> None:  # type: ignore[assignment]
    """Show what guests use: memory as their balloon tells it, processor time, traffic of each interface.

    Examples: `sdn guest stats` · `sdn guest stats web1 -o json`
    """
    from sdn.cli import stats as figures

    figures.show(lab, guests or [], as_json=output is Form.JSON)


@app.command(rich_help_panel=_LIVES)
def start(guests: Guests, timeout: Patience = 90.0, lab: Lab = None) -> None:
    """Switch guests on, and wait until they run, built-in ones until they answer; also such that have died and are not
    started again.

    Example: `sdn guest start web1 web2`
    """
    from sdn.cli import power

    power.start(lab, guests, timeout)


@app.command(rich_help_panel=_LIVES)
def stop(
    guests: Guests,
    force: Annotated[bool, typer.Option("--force", help="At once, as by pulling the plug.")] = False,
    timeout: Patience = 60.0,
    lab: Lab = None,
) -> None:
    """Press the power button of guests; one that is not off after 20 s is ended.

    Examples: `sdn guest stop web1` · `sdn guest stop --force web1`
    """
    from sdn.cli import power

    power.stop(lab, guests, timeout, force=force)


@app.command(rich_help_panel=_LIVES)
def pause(guests: Guests, timeout: Patience = 60.0, lab: Lab = None) -> None:
    """Halt the processors of guests; their memory stays as it is.

    Example: `sdn guest pause web1`
    """
    from sdn.cli import power

    power.pause(lab, guests, timeout)


@app.command(rich_help_panel=_LIVES)
def resume(guests: Guests, timeout: Patience = 60.0, lab: Lab = None) -> None:
    """Let paused guests go on.

    Example: `sdn guest resume web1`
    """
    from sdn.cli import power

    power.resume(lab, guests, timeout)


@app.command(rich_help_panel=_LIVES)
def reboot(
    guests: Guests,
    hard: Annotated[bool, typer.Option("--hard", help="Press its reset button instead of asking.")] = False,
    timeout: Patience = 60.0,
    lab: Lab = None,
) -> None:
    """Ask guests to boot again, by their agent or Ctrl-Alt-Del; waits where an agent says when they are back.

    Examples: `sdn guest reboot web1` · `sdn guest reboot --hard web1`
    """
    from sdn.cli import power

    power.reboot(lab, guests, timeout, hard=hard)


@app.command(rich_help_panel=_LIVES)
def delete(guests: Guests, timeout: Patience = 60.0, lab: Lab = None) -> None:
    """Remove guests and their own disks from the running lab. The file still has them: take them out of it too.

    Example: `sdn guest delete web1`
    """
    from sdn.cli import power

    power.delete(lab, guests, timeout)


@app.command(rich_help_panel=_STATES)
def revert(guest: Guest, name: Snapshot, lab: Lab = None) -> None:
    """Take a guest back to what it was at a snapshot. What it has done since is lost.

    Example: `sdn guest revert web1 before-upgrade`
    """
    from sdn.cli import snapshots as states

    states.revert(lab, guest, name)


@snapshots.command("create")
def create_snapshot(guest: Guest, name: Snapshot, lab: Lab = None) -> None:
    """Keep what a guest is now: its disk, and if it runs its memory, which pauses it meanwhile.

    Example: `sdn guest snapshot create web1 before-upgrade`
    """
    from sdn.cli import snapshots as states

    states.create(lab, guest, name)


@snapshots.command("list")
def list_snapshots(guest: Guest, lab: Lab = None, output: Output = Form.TABLE) -> None:
    """List the snapshots of a guest.

    Example: `sdn guest snapshot list web1`
    """
    from sdn.cli import snapshots as states

    states.show(lab, guest, as_json=output is Form.JSON)


@snapshots.command("delete")
def delete_snapshot(guest: Guest, name: Snapshot, lab: Lab = None) -> None:
    """Forget a snapshot.

    Example: `sdn guest snapshot delete web1 before-upgrade`
    """
    from sdn.cli import snapshots as states

    states.delete(lab, guest, name)


def console(
    guest: Guest,
    log: Annotated[bool, typer.Option("--log", help="Print all that it has printed, and end.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="With --log: go on as it prints more.")] = False,
    read_only: Annotated[bool, typer.Option("--read-only", "-r", help="Look, and type nothing.")] = False,
    lab: Lab = None,
) -> None:
    """Attach to the serial console of a guest; Ctrl-] leaves. Any number of people may be there, and see the same.

    From a pipe: what it holds is typed, and the command ends when the guest has been silent for a second.

    Examples: `sdn console web1` · `sdn console web1 --log -f` · `echo uptime | sdn console web1`
    """
    from sdn.cli import console as line

    if log or follow:
        line.log(lab, guest, follow=follow)
    else:
        raise typer.Exit(line.attach(lab, guest, read_only=read_only))


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


def add_to(root: typer.Typer) -> None:
    root.add_typer(app, name="guest", rich_help_panel=GUESTS)
    root.command("console", rich_help_panel=GUESTS)(console)
    root.command(rich_help_panel=GUESTS)(migrate)
