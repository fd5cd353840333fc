"""`sdn volume …` and `sdn image …`: their arguments and help. What they do is imported when they run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sdn.cli import complete
from sdn.cli.arguments import GUESTS, LOOK, Form, Guest, Lab, Output, Patience

volume = typer.Typer(
    no_args_is_help=True,
    help="Disks of the pool, which stay when labs go. LAB/GUEST means the own disk of a guest, which goes with it.",
)
image = typer.Typer(no_args_is_help=True, help="Images of the pool: what guests' disks are layers over. Never written.")
snapshot = typer.Typer(no_args_is_help=True, help="Volumes as they were. Of a guest that runs: `sdn guest snapshot`.")

_MAKE, _AT_GUESTS, _STATES = "Make and change", "At guests", "Snapshots"
volume.add_typer(snapshot, name="snapshot", rich_help_panel=_STATES)

Volume = Annotated[str, typer.Argument(metavar="VOLUME", help="A volume of the pool.", autocompletion=complete.volumes)]
Volumes = Annotated[
    list[str], typer.Argument(metavar="VOLUME...", help="Volumes of the pool.", autocompletion=complete.volumes)
]
Fresh = Annotated[str, typer.Argument(metavar="NAME", help="Of the new volume.")]
State = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Name of the snapshot.")]


class Vouched(StrEnum):
    RAW = "raw"


def add_to(app: typer.Typer) -> None:
    app.add_typer(volume, name="volume", rich_help_panel=GUESTS)
    app.add_typer(image, name="image", rich_help_panel=GUESTS)


@volume.command("list", rich_help_panel=LOOK)
def list_volumes(
    every: Annotated[bool, typer.Option("--all", help="The guests' own disks too.")] = False,
    output: Output = Form.TABLE,
) -> None:
    """List the volumes: how large, over what, and who has them.

    Example: `sdn volume list --all`
    """
    from sdn.cli import volumes

    volumes.list_volumes(every, output is Form.JSON)


@volume.command(rich_help_panel=LOOK)
def info(name: Volume, output: Output = Form.TABLE) -> None:
    """Show everything about a volume.

    Examples: `sdn volume info data1` · `sdn volume info demo/web1`
    """
    from sdn.cli import volumes

    volumes.info(name, output is Form.JSON)


@volume.command(rich_help_panel=_MAKE)
def create(
    name: Fresh,
    size: Annotated[str | None, typer.Option("--size", "-s", metavar="SIZE", help="Such as 10G.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="IMAGE|VOLUME", help="What is in it.", autocompletion=complete.bases)
    ] = None,
    linked: Annotated[
        bool | None,
        typer.Option("--linked/--copy", help="A layer over it, or a whole copy; else a layer over an image."),
    ] = None,
) -> None:
    """Make a volume: empty, over an image, or from another volume.

    Examples: `sdn volume create data1 --size 10G` · `sdn volume create root1 --from debian-12.qcow2 --size 20G`
    """
    from sdn.cli import volumes

    volumes.create(name, size, source, linked)


@volume.command(rich_help_panel=_MAKE)
def clone(
    name: Volume,
    fresh: Fresh,
    linked: Annotated[bool, typer.Option("--linked", help="A layer: then nobody may write VOLUME any more.")] = False,
) -> None:
    """Copy a volume, without its snapshots.

    Example: `sdn volume clone data1 data2`
    """
    from sdn.cli import volumes

    volumes.clone(name, fresh, linked)


@volume.command(rich_help_panel=_MAKE)
def resize(
    name: Volume,
    size: Annotated[str, typer.Argument(metavar="SIZE", help="Such as 20G.")],
    shrink: Annotated[bool, typer.Option("--shrink", help="What is behind the new end may be lost.")] = False,
) -> None:
    """Make a volume larger. The file system in it is the guest's business.

    Example: `sdn volume resize data1 20G`
    """
    from sdn.cli import volumes

    volumes.resize(name, size, shrink)


@volume.command(rich_help_panel=_MAKE)
def delete(names: Volumes) -> None:
    """Delete volumes with their snapshots; of LAB/GUEST what the guest has written, it starts from its image again.

    Example: `sdn volume delete data1`
    """
    from sdn.cli import volumes

    volumes.delete(names)


@volume.command(rich_help_panel=_AT_GUESTS)
def attach(guest: Guest, name: Volume, timeout: Patience = 30.0, lab: Lab = None) -> None:
    """Plug a volume into a guest, while it runs too.

    Example: `sdn volume attach web1 data1`
    """
    from sdn.cli import volumes

    volumes.attach(lab, guest, name, timeout)


@volume.command(rich_help_panel=_AT_GUESTS)
def detach(guest: Guest, name: Volume, timeout: Patience = 30.0, lab: Lab = None) -> None:
    """Unplug a volume from a guest. What is mounted from it there should not be any more.

    Example: `sdn volume detach web1 data1`
    """
    from sdn.cli import volumes

    volumes.detach(lab, guest, name, timeout)


# ── snapshots ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@snapshot.command("list")
def list_snapshots(name: Volume, output: Output = Form.TABLE) -> None:
    """List the snapshots of a volume.

    Example: `sdn volume snapshot list data1`
    """
    from sdn.cli import volumes

    volumes.list_snapshots(name, output is Form.JSON)


@snapshot.command("create")
def take_snapshot(name: Volume, state: State) -> None:
    """Keep a volume as it is now.

    Example: `sdn volume snapshot create data1 before-upgrade`
    """
    from sdn.cli import volumes

    volumes.take_snapshot(name, state)


@snapshot.command("revert")
def revert(name: Volume, state: State) -> None:
    """Take a volume back to what it was. What was written since is lost.

    Example: `sdn volume snapshot revert data1 before-upgrade`
    """
    from sdn.cli import volumes

    volumes.revert(name, state)


@snapshot.command("delete")
def delete_snapshot(name: Volume, state: State) -> None:
    """Forget a snapshot. The volume stays as it is.

    Example: `sdn volume snapshot delete data1 before-upgrade`
    """
    from sdn.cli import volumes

    volumes.delete_snapshot(name, state)


# ── images ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@image.command("list")
def list_images(output: Output = Form.TABLE) -> None:
    """List the images of the pool, and the disks over them.

    Example: `sdn image list`
    """
    from sdn.cli import images

    images.list_images(output is Form.JSON)


@image.command("import")
def import_image(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A qcow2 or raw image.")],
    name: Annotated[str | None, typer.Option("--name", "-n", metavar="NAME", help="Else that of the file.")] = None,
    convert: Annotated[
        bool,
        typer.Option("--convert", help="Of another format, or a layer: makes one qcow2 of it and all files it names."),
    ] = False,
    form: Annotated[
        Vouched | None, typer.Option("--format", "-f", help="It is raw, though it does not look like a disk.")
    ] = None,
) -> None:
    """Copy an image into the pool, where it stays as it is. A raw one needs something of a disk in it: a partition
    table, a boot sector, a file system.

    Examples: `sdn image import debian-12.qcow2` · `sdn image import --convert old.vmdk --name old.qcow2`
    """
    from sdn.cli import images

    images.import_image(file, name, convert, form is not None)


@image.command("delete")
def delete_images(
    names: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Images of the pool.", autocompletion=complete.images)
    ],
) -> None:
    """Delete images that no disk is a layer over.

    Example: `sdn image delete debian-12.qcow2`
    """
    from sdn.cli import images

    images.delete_images(names)
