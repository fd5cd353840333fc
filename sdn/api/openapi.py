"""What the API says of itself: schemas and examples of OpenAPI 3.1, made from the topology file's own schema.

Enters: kinds of resources, and the app's routes. Leaves: keywords for routes, and the whole document. Never: a field
described twice: what a resource may have is what the file may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sdn.api.resources import Kind
from sdn.problems import KINDS
from sdn.topology import json_schema

Schema = dict[str, Any]

PROBLEM: Final[Schema] = {
    "type": "object",
    "title": "Problem",
    "description": f"What went wrong (RFC 9457). `type` tells the kind: {', '.join(KINDS)}.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": [KINDS["file"].type]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "remedy": {"type": "string", "description": "What one can do about it."},
        "errors": {
            "type": "array",
            "description": "Every mistake in what was sent, with its place in a file or its JSON pointer.",
            "items": {
                "type": "object",
                "required": ["message"],
                "properties": {
                    "pointer": {"type": "string"},
                    "file": {"type": "string"},
                    "line": {"type": "integer"},
                    "column": {"type": "integer"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
PLAN: Final[Schema] = {
    "type": "object",
    "required": ["steps", "flows"],
    "properties": {
        "steps": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {key: {"type": "string"} for key in ("where", "verb", "what", "why", "disturbs")},
            },
        },
        "flows": {
            "type": "object",
            "description": "By chassis how many flows are added, changed and removed.",
            "additionalProperties": {"type": "array", "items": {"type": "integer"}},
        },
    },
}
APPLIED: Final[Schema] = {
    "type": "object",
    "description": "With `?wait=`: what was confirmed, how many seconds after the request, and what is missing.",
    "required": ["revision", "seconds", "missing"],
    "properties": {
        "revision": {"type": "integer"},
        "seconds": {"type": "number"},
        "missing": {"type": "array", "items": {"type": "string"}},
    },
}
_REFUSALS: Final = {
    400: "The request is malformed",
    401: "No token, or none that is valid",
    403: "The token's role is too weak",
    404: "There is no such thing",
    408: "The body did not come in time",
    409: "Something is in the way",
    412: "It has changed since the revision of If-Match",
    413: "The request is too large",
    414: "Path and query are too long",
    422: "What was sent is wrong",
    429: "Too many requests",
    503: "The store or a switch is away",
}
_EXAMPLES: Final[Mapping[str, Any]] = {
    "chassis": {"name": "hv3", "datapath": "ovs"},
    "physnets": {"name": "office", "mtu": 1500},
    "networks": {"name": "db", "segment": {"vxlan": 10020}, "subnet": "10.20.0.0/24"},
    "nodes": {"name": "web9", "chassis": "hv1", "network": "web"},
    "guests": {"name": "vm1", "network": "web", "memory": "128M"},
    "tests": {"name": "web", "from": ["web1"], "to": ["web2"], "ping": "ok"},
    "ports": {"name": "web1:eth1", "network": "db"},
}
_DEFINITIONS: Final = {
    "chassis": "Chassis",
    "physnets": "Physnet",
    "networks": "Network",
    "nodes": "Node",
    "guests": "Guest",
    "tests": "Test",
    "ports": "Nic",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documented answers that are problems; those of the gate and of a store that is away always belong to them."""
    found = sorted({400, 401, 403, 408, 413, 414, 422, 429, 503, *statuses})
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _REFUSALS[status], "content": content} for status in found}


def found(description: str, schema: Schema, status: int = 200, **headers: str) -> dict[int | str, dict[str, Any]]:
    """A documented answer in JSON."""
    answer: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": schema}}}
    if headers:
        answer["headers"] = documented(headers)
    return {status: answer}


def documented(headers: Mapping[str, str]) -> dict[str, Any]:
    """Headers of an answer, and what each says."""
    return {
        name.replace("_", "-"): {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
    }


def request_body(schema: Schema, example: Any = None, media: str = "application/json") -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"requestBody": {"required": True, "content": {media: content}}}


def page(item: Schema) -> Schema:
    """Of a list: `next` is the path of the page after it."""
    return {
        "type": "object",
        "required": ["items", "next", "revision"],
        "properties": {
            "items": {"type": "array", "items": item},
            "next": {"type": ["string", "null"]},
            "revision": {"type": "integer"},
        },
    }


class Words:
    """The keywords of the routes of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.named = {"$ref": f"#/components/schemas/{kind.noun.capitalize()}Resource"}
        self.sent = {"$ref": f"#/components/schemas/{kind.noun.capitalize()}Fields"}

    def listing(self) -> dict[str, Any]:
        filters = [query(name) for name in self.kind.filters]
        return {
            "summary": f"List {self.kind.path}",
            "response_model": None,
            "responses": {**found("A page of them", page(self.named), ETag="The lab's revision"), **refusals(404)},
            "openapi_extra": {"parameters": filters} if filters else {},
        }

    def getting(self) -> dict[str, Any]:
        return self._route("Get", {**found(self._one(), self.named, ETag="For If-Match"), **refusals(404)}, {})

    def creating(self) -> dict[str, Any]:
        extra = request_body({**self.sent}, _EXAMPLES[self.kind.path])
        return self._writing("Create", extra, 201)

    def replacing(self) -> dict[str, Any]:
        return self._writing("Create or replace", self._body(), 201)

    def patching(self) -> dict[str, Any]:
        loose = {"type": "object", "description": "A JSON merge patch (RFC 7396)"}
        content = {media: {"schema": loose} for media in ("application/merge-patch+json", "application/json")}
        return self._writing("Change", {"requestBody": {"required": True, "content": content}})

    def deleting(self) -> dict[str, Any]:
        gone: dict[int | str, dict[str, Any]] = {204: {"description": "It is gone"}}
        applied = {"type": "object", "properties": {"name": {"type": "string"}, "applied": APPLIED}}
        planned = {"anyOf": [applied, PLAN], "description": "With `dry_run` the plan."}
        waited = {**found("It is gone, as was waited for", planned), **found("Gone, not confirmed", applied, 202)}
        return self._route("Remove", {**gone, **waited, **refusals(404, 409, 412)}, {"parameters": [IF_MATCH]})

    def _body(self) -> dict[str, Any]:
        example = {key: value for key, value in _EXAMPLES[self.kind.path].items() if key != "name"}
        return request_body(self.sent, example)

    def _writing(self, verb: str, extra: dict[str, Any], *more: int) -> dict[str, Any]:
        planned = {"oneOf": [self.named, PLAN], "description": "What is stored; with `dry_run` the plan."}
        answers = found("As it is stored", planned, ETag="For If-Match")
        for status in more:
            answers |= found("Created", self.named, status, Location="Its path")
        answers |= found("Stored, but not confirmed in time", self.named, 202)
        parameters = {"parameters": [IF_MATCH]}
        return self._route(verb, {**answers, **refusals(404, 409, 412)}, {**extra, **parameters})

    def _one(self) -> str:
        return f"The {self.kind.noun}"

    def _route(self, verb: str, responses: Any, extra: dict[str, Any]) -> dict[str, Any]:
        summary = f"{verb} a {self.kind.noun}"
        return {"summary": summary, "response_model": None, "responses": responses, "openapi_extra": extra}


IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": 'Only if it has not changed after this revision: the ETag of an answer, such as "12".',
    "schema": {"type": "string"},
}


def query(name: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole, made once and kept."""
    if app.openapi_schema is None:
        made = get_openapi(
            title="sdn",
            version=_version(),
            description="One topology file becomes a running virtual network. Resources are entries of that file.",
            routes=app.routes,
        )
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(_schemas(app.state.kinds))
        app.openapi_schema = made
    return app.openapi_schema


def _version() -> str:
    try:
        return version("sdn")
    except PackageNotFoundError:  # run from a clone that is not installed
        return "0"


def _schemas(kinds: Iterable[Kind]) -> dict[str, Schema]:
    """Of what is sent and what is answered, of each kind, and all that the file's schema refers to."""
    definitions = _file_schemas()
    made = {"Problem": PROBLEM, **definitions, "Topology": _whole_file()}
    for kind in kinds:
        entry = _entry(definitions, kind)
        name = kind.noun.capitalize()
        made[f"{name}Fields"] = {**entry, "properties": {"name": {"type": "string"}, **entry["properties"]}}
        made[f"{name}Resource"] = _resource(kind, entry)
    return made


def _entry(definitions: dict[str, Schema], kind: Kind) -> Schema:
    found = deepcopy(definitions[_DEFINITIONS[kind.path]])
    if not kind.section:
        for key in ("trunk", "groups"):
            found["properties"].pop(key)
        found["properties"].pop("name")
        found["description"] = "The attachment of an interface to a network; NODE:INTERFACE.TAG is one of a trunk's."
        found["properties"] |= {
            "node": {"type": "string"},
            "interface": {"type": "string"},
            "tag": {"type": ["integer", "null"]},
        }
    return found


def _resource(kind: Kind, entry: Schema) -> Schema:
    """As it is answered: with everything that was left open, so that what is only for writing may be missing."""
    fields = {
        "name": {"type": "string"},
        **entry["properties"],
        "status": {"type": "object", "description": "What was observed and allotted."},
        "source": {"type": "string", "description": "Its place in the topology file, or `revision:N:1`."},
        "applied": APPLIED,
    }
    return {
        "type": "object",
        "description": entry.get("description", kind.noun),
        "required": ["name", "status", "source"],
        "properties": fields,
    }


@cache
def _file_schemas() -> dict[str, Schema]:
    """The definitions of the topology file, with references as OpenAPI has them."""
    return {name: _moved(schema) for name, schema in json_schema()["$defs"].items()}


def _whole_file() -> Schema:
    whole = {key: value for key, value in json_schema().items() if key not in ("$schema", "$defs")}
    found: Schema = _moved(whole)
    return found


def _moved(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reference(each) if key == "$ref" else _moved(each) for key, each in value.items()}
    return [_moved(each) for each in value] if isinstance(value, list) else value


def _reference(text: str) -> str:
    return re.sub(r"^#/\$defs/", "#/components/schemas/", text)
