"""The edge where a topology file becomes a Model.

    text ─ nodes ─▶ Document ─ schema, draft ─▶ Topology ─ hosts, networks, plugs, ports, checks, allot ─▶ Model

Enters: a YAML file. Leaves: `sdn.model.Model`, or FileError with every mistake in it as `file:line:column`.
Never: a half-built model, or only the first mistake. What is heavy is imported when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapath.errors import FileError, Problem

if TYPE_CHECKING:
    from sdn.model import Model


def read(path: Path, previous: Model | None = None) -> Model:
    """The model of the file at `path`; `previous` is that of the running lab, whose numbers are kept.

    Raises FileError with every problem.
    """
    return parse(_text(path), str(path), previous)


def parse(text: str, file: str, previous: Model | None = None, *, confined: bool = False) -> Model:
    """As `read`, of `text`; `file` is what problems and sources call it. `confined`: whoever wrote it has no files of
    this machine but those of the image pool, and those that `previous` names already."""
    from sdn.topology.build import build
    from sdn.topology.nodes import load

    return build(load(text, file), previous, confined=confined)


def json_schema() -> dict[str, Any]:
    """The file's JSON schema, draft 2020-12."""
    from sdn.topology.schema import json_schema as schema

    return schema()


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        problem = Problem(str(path), line, column, "this is not text; expected UTF-8")
        raise FileError(f"{path} cannot be read", [problem]) from error
    except OSError as error:
        message = f"{path} cannot be read: {(error.strerror or str(error)).lower()}"
        raise FileError(message, remedy="give the path of a topology file") from error
