"""What the routes say of themselves in OpenAPI: answers, refusals, bodies, parameters. The whole is in `document`.

Enters: kinds of resources, schemas. Leaves: keywords of FastAPI's routes. Never: a field described twice: what a
resource may have is what the file may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sdn.api.answer import JSON
from sdn.api.resources import Kind
from sdn.api.roles import EXTRA_DRY
from sdn.bounds import YES_OR_NO
from sdn.problems import KINDS, MEDIA_TYPE

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
    412: "It has changed since the revision of If-Match, or is there already (If-None-Match)",
    413: "The request is too large",
    414: "Path and query are too long",
    422: "What was sent is wrong",
    429: "Too many requests",
    503: "The store or a switch is away",
}
_GATE: Final = (401, 403, 408, 413, 414, 429)
_EXAMPLES: Final[Mapping[str, Any]] = {
    "chassis": {"name": "hv3", "datapath": "ovs"},
    "physnets": {"name": "office", "mtu": 1500},
    "networks": {"name": "db", "segment": {"vxlan": 10020}, "subnet": "10.20.0.0/24"},
    "nodes": {"name": "web9", "chassis": "hv1", "network": "web"},
    "guests": {"name": "vm1", "network": "web", "memory": "128M"},
    "tests": {"name": "web", "from": ["web1"], "to": ["web2"], "ping": "ok"},
    "ports": {"name": "web1:eth1", "network": "db"},
}


_PATCHES: Final[Mapping[str, Any]] = {
    "chassis": {"memory": "2G", "cpus": 2},
    "physnets": {"mtu": 9000},
    "networks": {"mtu": 1400},
    "nodes": {"chassis": "hv2"},
    "guests": {"memory": "256M"},
    "tests": {"expect": "denied"},
    "ports": {"ip": "10.20.0.9", "spoof_guard": False},
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documented answers that are problems; those of the gate and of a store that is away always belong to them."""
    return _problems(400, *_GATE, 422, 503, *statuses)


def of_the_gate() -> dict[int | str, dict[str, Any]]:
    """What whoever asks for what is not public may be answered before a route is reached."""
    return _problems(*_GATE)


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _REFUSALS[status], "content": content} for status in sorted(set(statuses))}


def found(description: str, schema: Schema, status: int = 200, **headers: str) -> dict[int | str, dict[str, Any]]:
    """A documented answer in JSON."""
    answer: dict[str, Any] = {"description": description, "content": {JSON: {"schema": schema}}}
    if headers:
        answer["headers"] = documented(headers)
    return {status: answer}


def read(summary: str, description: str, schema: Schema, *parameters: Schema) -> dict[str, Any]:
    """The keywords of a GET whose answer has an ETag (`conditions.read`)."""
    return reading(summary, found(description, schema, ETag=TAG), *parameters)


def reading(summary: str, answers: dict[int | str, dict[str, Any]], *parameters: Schema) -> dict[str, Any]:
    """As `read`, with answers that are described already."""
    same = {"description": "It is the same as in If-None-Match", "headers": documented({"ETag": TAG})}
    return {
        "summary": summary,
        "response_model": None,
        "responses": {**answers, 304: same, **refusals(404)},
        "openapi_extra": {"parameters": [IF_NONE_MATCH, *parameters]},
    }


def documented(headers: Mapping[str, str]) -> dict[str, Any]:
    """Headers of an answer, and what each says."""
    return {
        name.replace("_", "-"): {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
    }


def request_body(schema: Schema, example: Any = None, media: str = JSON) -> dict[str, Any]:
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
        self.named, self.sent, self.patch = (
            {"$ref": f"#/components/schemas/{kind.noun.capitalize()}{what}"} for what in ("Resource", "Fields", "Patch")
        )

    def listing(self) -> dict[str, Any]:
        return read(f"List {self.kind.path}", "A page of them", page(self.named), *map(query, self.kind.filters))

    def getting(self) -> dict[str, Any]:
        return read(f"Get a {self.kind.noun}", f"The {self.kind.noun}", self.named)

    def creating(self) -> dict[str, Any]:
        sent = {**self.sent, "required": ["name"]}
        return self._writing("Create", request_body(sent, _EXAMPLES[self.kind.path]), 201)

    def replacing(self) -> dict[str, Any]:
        return self._writing("Create or replace", self._body(), 201)

    def patching(self) -> dict[str, Any]:
        """RFC 7396."""
        told = {"schema": self.patch, "example": _PATCHES[self.kind.path]}
        content = dict.fromkeys(("application/merge-patch+json", JSON), told)
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
        answers = found("As it is stored", planned, ETag="For If-Match", Sdn_Changed="`false` where it was so already")
        for status in more:
            answers |= found("Created", self.named, status, Location="Its path")
        answers |= found("Stored, but not confirmed in time", self.named, 202)
        parameters = {"parameters": [IF_MATCH, IF_NONE]}
        return self._route(verb, {**answers, **refusals(404, 409, 412)}, {**extra, **parameters})

    def _route(self, verb: str, responses: Any, extra: dict[str, Any]) -> dict[str, Any]:
        summary = f"{verb} a {self.kind.noun}"
        return {"summary": summary, "response_model": None, "responses": responses, "openapi_extra": extra | DRY}


def query(name: str, description: str = "") -> Schema:
    schema = {"type": "boolean" if name in YES_OR_NO else "string"}
    found = {"name": name, "in": "query", "required": False, "schema": schema}
    return {**found, "description": description} if description else found


def _header(name: str, description: str) -> Schema:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}


DRY: Final = {EXTRA_DRY: "read"}
"""Of what takes `dry_run`."""
TAG: Final = "The lab's revision, and what was answered"
IF_MATCH: Final = _header(
    "If-Match", 'Only if it has not changed after this revision: the ETag of an answer, such as "12".'
)
IF_NONE: Final = _header("If-None-Match", "`*`: only where there is none yet.")
IF_NONE_MATCH: Final = _header("If-None-Match", "Not again where the answer has this ETag still: 304.")
