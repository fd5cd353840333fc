"""`sdn get`, `create`, `set`, `delete`: the things of a lab one by one, in the words of the topology file."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from datapath.errors import CheckError, FileError
from sdn.bounds import YES_OR_NO
from sdn.cli import output
from sdn.cli.output import Cell
from sdn.cli.remote import connected

if TYPE_CHECKING:
    from sdn.client import Applied, Client, Resource

Fields = dict[str, Any]
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*)")
_WORDS: Final = {"true": True, "false": False, "null": None}
_AS_PRINTED: Final = {"yes": "true", "no": "false"}

_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "port": ("name", "node", "network", "ip", "mac", "status.chassis", "status.up"),
    "node": ("name", "chassis", "status.ports", "status.up"),
    "guest": ("name", "chassis", "status.phase", "memory", "cpus", "status.up"),
    "network": ("name", "segment", "subnets", "mtu", "status.ports"),
    "chassis": ("name", "datapath", "vtep", "status.flows.connected", "status.flows.count", "status.flows.revision"),
    "physnet": ("name", "mtu", "interface"),
    "switch": ("name", "bridge", "datapath", "dpid_hex", "connected", "flows.count"),
    "link": ("name", "kind", "medium", "networks", "up"),
    "flow": ("chassis", "table", "priority", "match", "actions", "packets", "object"),
    "test": ("name", "from", "to", "ping", "tcp", "udp", "expect"),
}
"""Places in a resource; the last word is the column's name."""
_GENERIC: Final = 6
"""Columns of another kind: its first fields that are plain values."""


def get(lab: str | None, api: str | None, kind: str, words: Sequence[str], as_json: bool) -> None:
    """`words` are names, which may be patterns, and filters: `node=web1`."""
    filters = dict(_filter(word) for word in words if "=" in word)
    names = [word for word in words if "=" not in word]
    alone = len(names) == 1 and not filters and not _is_pattern(names[0])
    with connected(lab, api) as client:
        found = [client.get(kind, names[0])] if alone else _several(client, kind, names, filters)
    if as_json:
        output.as_json(found[0].raw if alone else [resource.raw for resource in found])
    elif alone:
        output.say(_yaml(found[0].raw).rstrip())
    else:
        _table(found)


def _filter(word: str) -> tuple[str, str]:
    """`up=yes`, as the table has it, is `up=true`."""
    key, _, value = word.partition("=")
    return key, _AS_PRINTED.get(value, value) if key in YES_OR_NO else value


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _several(client: Client, kind: str, names: Sequence[str], filters: Mapping[str, str]) -> list[Resource]:
    """One after the other where they are named: a pattern asks for a list."""
    found: dict[str, Resource] = {}
    for name in names or [""]:
        if name and not _is_pattern(name) and not filters:
            some = [client.get(kind, name)]
        else:
            some = list(client.list(kind, **filters, **({"name": name} if name else {})))
        found |= {resource.name: resource for resource in some}
    return list(found.values())


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=120)
    return text


def _table(found: Sequence[Resource]) -> None:
    if not found:
        output.say("there are none")
        return
    places = _COLUMNS.get(found[0].kind) or _plain_places(found[0].raw)
    rows = [[_cell(_at(resource.raw, place)) for place in places] for resource in found]
    output.table([place.rpartition(".")[2] for place in places], rows)


def _plain_places(raw: Mapping[str, Any]) -> tuple[str, ...]:
    plain = [key for key, value in raw.items() if not isinstance(value, dict | list) and key != "source"]
    return tuple(plain[:_GENERIC])


def _at(raw: Any, place: str) -> Any:
    for key in place.split("."):
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw


def _cell(value: Any) -> Cell:
    if isinstance(value, bool):
        return Cell("yes", output.GOOD) if value else Cell("no", output.BAD)
    if isinstance(value, list):
        return Cell(", ".join(map(str, value)))
    if isinstance(value, dict):
        return Cell(" ".join(f"{key} {each}" for key, each in value.items()))
    return Cell("" if value is None else str(value))


# Writing


def create(
    lab: str | None, api: str | None, kind: str, name: str, words: Sequence[str], file: Path | None, how: Fields
) -> Resource:
    fields = {key: value for key, value in fields_of(words, file).items() if value is not None}
    return _written(lab, api, lambda client: client.create(kind, name, fields, **how))


def change(
    lab: str | None, api: str | None, kind: str, name: str, words: Sequence[str], file: Path | None, how: Fields
) -> Resource:
    fields = fields_of(words, file)
    if not fields:
        raise FileError("nothing was said to be changed", remedy=f"such as: sdn set {kind} {name} mtu=1400")
    return _written(lab, api, lambda client: client.patch(kind, name, fields, **how))


def _written(lab: str | None, api: str | None, write: Callable[[Client], Resource]) -> Resource:
    with connected(lab, api) as client:
        return write(client)


def tell(resource: Resource, as_json: bool) -> None:
    """Raises CheckError where it was waited for in vain."""
    applied = resource.applied
    if as_json:
        output.as_json(resource.raw)
    else:
        done = "stored" if resource.changed else "unchanged"
        output.say(f"{resource.kind} {resource.name} is {done}{_confirmed(applied)} (revision {resource.revision})")
    _must_be_whole(applied)


def delete(lab: str | None, api: str | None, kind: str, names: Sequence[str], how: Fields, as_json: bool) -> None:
    from sdn.client.resources import kind_of

    noun, done = kind_of(kind).noun, []
    with connected(lab, api) as client:
        for name in names:
            applied = client.delete(kind, name, **how)
            done.append({"kind": noun, "name": name})
            if not as_json:
                output.say(f"{noun} {name} is gone{_confirmed(applied)}")
            _must_be_whole(applied)
    if as_json:
        output.as_json(done)


def _confirmed(applied: Applied | None) -> str:
    if applied is None or applied.missing:
        return ""
    return f", confirmed after {applied.seconds * 1000:.0f} ms"


def _must_be_whole(applied: Applied | None) -> None:
    if applied and applied.missing:
        missing = "\n  ".join(applied.missing)
        raise CheckError(f"it is stored, and the lab is not whole:\n  {missing}", remedy="see: sdn status")


def fields_of(words: Sequence[str], file: Path | None) -> Fields:
    """`mtu=1400`, `segment.vxlan=7`, `ip=` (left to sdn), one JSON object, a file with a mapping. Raises FileError."""
    found = _of_file(file) if file else {}
    for word in words:
        if word.lstrip().startswith("{"):
            found = _merged(found, _mapping(word, "the arguments"))
            continue
        place, sign, text = word.partition("=")
        if not sign or not place:
            raise FileError(f"{word!r} is no field", remedy="such as mtu=1400, or one JSON object in quotes")
        nested: Any = _value(text)
        for key in reversed(place.split(".")):
            nested = {key: nested}
        found = _merged(found, nested)
    return found


def _of_file(file: Path) -> Fields:
    text = sys.stdin.read() if str(file) == "-" else file.read_text()
    return _mapping(text, str(file))


def _mapping(text: str, where: str) -> Fields:
    """Of JSON or YAML."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FileError(f"{where}: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise FileError(f"{where}: expected a mapping of fields", remedy='such as {"network": "web"}')
    return found


def _value(text: str) -> Any:
    """What is in brackets is YAML; else numbers, true, false, and text. '' is null: left to sdn."""
    if text[:1] in ("[", "{", '"'):
        import yaml

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise FileError(f"{text}: {' '.join(str(error).split())}") from error
    if not text:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    return _WORDS.get(text, text)


def _merged(one: Fields, other: Fields) -> Fields:
    """Mappings within mappings become one."""
    found = dict(one)
    for key, value in other.items():
        known = found.get(key)
        found[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return found
