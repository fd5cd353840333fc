"""`logs`: what the lab's processes wrote."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from datapath.errors import FileError
from sdn import lab
from sdn.cli import output, target
from sdn.lab.rundir import RunDir


def files(name: str) -> dict[str, Path]:
    """Log files of a lab by what wrote them: `controller`, `hv1/ovs-vswitchd`."""
    folder = lab.run_dir(name)
    if folder.is_dir():
        os.listdir(folder)  # raises PermissionError, which glob takes for nothing there
    own = {path.stem: path for path in sorted(folder.glob("logs/*.log"))}
    switches = {f"{path.parent.name}/{path.stem}": path for path in sorted(folder.glob("*/*.log"))}
    return {**own, **{key: path for key, path in switches.items() if path.parent.name != "logs"}}


def names(name: str) -> list[str]:
    """What can be asked for: a log, or a chassis, which means all of its logs."""
    found = files(name)
    return [*found, *dict.fromkeys(key.split("/")[0] for key in found if "/" in key)]


def logs(wanted: str | None, which: str | None, lines: int, follow: bool) -> None:
    name = target.lab_of(wanted)
    found = files(name)
    chosen = {key: path for key, path in found.items() if which is None or which in (key, key.split("/")[0])}
    if not chosen:
        what = f"{which} of lab {name}" if which else f"lab {name}"
        is_guest = which is not None and RunDir(name).guest(which).is_dir()
        there = f"sdn console {which} --log" if is_guest else f"there are: {', '.join(names(name)) or 'none'}"
        raise FileError(f"there is no log of {what}", remedy=there)
    if follow:  # tail follows through rotation and restarts, and waits with inotify
        os.execvp("tail", ["tail", f"--lines={lines}", "--follow=name", "--retry", *map(str, chosen.values())])  # noqa: S606,S607
    width = max(map(len, chosen))
    for key, path in chosen.items():
        for line in _last(path, lines):
            output.say(f"{output.paint(key.ljust(width), output.ACCENT)}  {line}" if len(chosen) > 1 else line)


def _last(path: Path, lines: int) -> Iterator[str]:
    with path.open(errors="replace") as file:
        yield from (line.rstrip("\n") for line in deque(file, lines))
