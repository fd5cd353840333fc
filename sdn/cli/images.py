"""`sdn image …`: what guests' disks are layers over.

Enters: names, a file. Leaves: read-only images in the pool, a table. Never: an image that is the base of a disk gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from datapath.guest.pool import images, qcow2
from datapath.guest.pool.qemu_img import Progress
from sdn.cli import output
from sdn.cli.output import SOFT, STRONG, Cell

_MIB = 1 << 20
_PHASES = {"copy": "MiB copied"}


def list_images(as_json: bool) -> None:
    found = images.every()
    if as_json:
        output.as_json([asdict(each) for each in found])
    elif not found:
        output.say("there is no image yet")
        output.say(output.paint("next: sdn image import debian-12-genericcloud-amd64.qcow2", SOFT))
    else:
        columns = ("name", "format", "size", "on disk", "base of")
        output.table(columns, [_image_row(each) for each in found], right=("size", "on disk"))


def _image_row(base: images.Base) -> output.Row:
    size, occupied = output.size(base.image.size), output.size(base.image.occupied)
    return Cell(base.name, STRONG), base.image.format, size, occupied, ", ".join(base.layers) or "-"


def import_image(file: Path, name: str | None, convert: bool, vouched: bool) -> None:
    named = name or (f"{file.stem}.qcow2" if convert else file.name)
    with copying() as progress:
        path = images.bring(file, named, convert, progress, vouched=vouched)
    output.say(f"image {named} is in the pool ({output.size(qcow2.read(path).size)})")
    output.say(output.paint(f"next: `image: {named}` in a file, or: sdn volume create NAME --from {named}", SOFT))


def delete_images(names: list[str]) -> None:
    for name in names:
        images.delete(name)
        output.say(f"image {name} is gone")


@contextmanager
def copying() -> Iterator[Progress]:
    with output.progress(_PHASES) as report:

        def tell(done: int, total: int) -> None:
            report("copy", -(-done // _MIB), -(-total // _MIB))

        yield tell
