"""What a whole topology file, sent by a client, comes to; and the lab as such a file.

Enters: a Model, the text or the plain values of a file. Leaves: the next Model, a plan, a document. Never: a file that
is another lab's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from datapath.errors import FileError
from sdn import lab, topology
from sdn.api.answer import JSON
from sdn.api.problem import MalformedError
from sdn.lab import condition
from sdn.model import Model
from sdn.model.facts import Facts
from sdn.topology import edit, written

YAML: Final = "application/yaml"
YAML_TYPES: Final = frozenset({YAML, "application/x-yaml", "text/yaml", "text/x-yaml", "text/vnd.yaml"})


@dataclass(frozen=True, slots=True)
class Sent:
    """A file as it came: `name` is what its mistakes are told under, and relative paths begin beside it. `confined`: it
    may not name this machine's files."""

    lab: str
    content: bytes
    is_json: bool
    name: str
    confined: bool

    def built(self, previous: Model | None) -> Model:
        """Raises FileError with every mistake, MalformedError for what is no JSON."""
        model = self._of_values(previous) if self.is_json else self._of_text(previous)
        if model.lab != self.lab:
            raise FileError(f"this file is that of lab '{model.lab}'; expected '{self.lab}'", remedy="change its name")
        return model

    def _of_values(self, previous: Model | None) -> Model:
        try:
            sections = orjson.loads(self.content)
        except orjson.JSONDecodeError as error:
            raise MalformedError(f"the request's body is not JSON: {error}") from error
        if not isinstance(sections, dict):
            raise FileError("the file is no JSON object", remedy='expected one with at least "name" and "chassis"')
        return edit.built(sections, previous, confined=self.confined)

    def _of_text(self, previous: Model | None) -> Model:
        try:
            text = self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise FileError(f"{self.name} is not text", remedy="expected UTF-8") from error
        return topology.parse(text, self.name, previous, confined=self.confined)


def plan_of(model: Model, present: Model | None) -> dict[str, Any]:
    """The steps from one model to another. Raises MachineError and ConflictError, as taking them would."""
    from sdn.lab.plan import plan

    return asdict(plan(model, present, lab.look_at_machine(model)))


def troubles(model: Model | None, facts: Facts) -> list[str]:
    """What is wrong with the lab as it runs, whatever the file says."""
    return condition.chassis_troubles(model, facts) if model else []


def counts(model: Model | None) -> dict[str, int]:
    """How many there are of each kind."""
    found = {section: len(written.names(model, section)) if model else 0 for section in written.SECTIONS}
    return found | {"ports": len(model.ports) if model else 0}


def as_text(model: Model) -> str:
    from sdn.topology.text import text
    from sdn.topology.tidy import tidy

    return text(tidy(model))


def wants_json(accept: str) -> bool:
    """Whether the header `Accept` prefers JSON (RFC 9110 section 12.5.1): without a word, a file is YAML."""
    quality: dict[str, float] = {}
    for each in accept.split(","):
        media, *parameters = (part.strip().lower() for part in each.split(";"))
        quality[media] = max(quality.get(media, 0.0), _quality(parameters))
    any_text = quality.get("*/*", 0.0 if quality.keys() - {""} else 1.0)
    yaml = max((quality[kind] for kind in YAML_TYPES & quality.keys()), default=any_text)
    return quality.get(JSON, quality.get("application/*", any_text)) > yaml


def _quality(parameters: list[str]) -> float:
    given = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        return float(given)
    except ValueError:
        return 0.0
