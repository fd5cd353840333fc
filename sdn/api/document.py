"""The whole OpenAPI document, and the schemas that its routes refer to, made from the topology file's own.

Enters: the app's routes. Leaves: OpenAPI 3.1. Never: a field described twice: what a resource
may have is what the file may have, and what the file refuses, unknown fields too, the schemas refuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sdn.api.openapi import APPLIED, PROBLEM, Schema, of_the_gate
from sdn.api.resources import KINDS, Kind
from sdn.api.roles import EXTRA, PUBLIC
from sdn.topology import json_schema

_DEFINITIONS: Final = {
    "chassis": "Chassis",
    "physnets": "Physnet",
    "networks": "Network",
    "nodes": "Node",
    "guests": "Guest",
    "tests": "Test",
    "ports": "Nic",
}
"""By path the file's name for one."""
_PASSED_OVER: Final = "Passed over, so that what was read can be sent."
_GIVEN: Final[Schema] = {
    "name": {"type": "string"},
    "status": {"description": _PASSED_OVER},
    "source": {"description": _PASSED_OVER},
    "applied": {"description": _PASSED_OVER},
}
"""What may be sent beside the file's entry (`resources.GIVEN`)."""
_SCHEMES: Final[Schema] = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "`sdn token create NAME`: its role is the operation's `x-sdn-role`, else `read` for GET "
        "and `operate` for the rest. Root on the machine of the lab needs none, unless the server was told to ask.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-sdn",
        "description": "Instead of the token: POST /v1/session sets it. Without TLS it is called sdn-PORT.",
    },
}
_ONLY_OF_THE_WHOLE: Final = frozenset({"required", "oneOf", "minProperties"})
"""What holds of an object, and not of a part of it."""


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
        schemas.update(_schemas())
        made["components"]["securitySchemes"] = _SCHEMES
        made["security"] = [{name: []} for name in _SCHEMES] + [{}]
        for methods in made["paths"].values():
            for operation in methods.values():
                _guard(operation)
            if "get" in methods:
                methods["head"] = _head(methods["get"])
        app.openapi_schema = made
    return app.openapi_schema


def _version() -> str:
    try:
        return version("sdn")
    except PackageNotFoundError:  # run from a clone that is not installed
        return "0"


def _guard(operation: Schema) -> None:
    """What the gate may answer is written once: Ryu's routes know nothing of it."""
    if operation.get(EXTRA) == PUBLIC:
        operation["security"] = []
        return
    for status, answer in of_the_gate().items():
        operation["responses"].setdefault(str(status), answer)


def _head(get: Schema) -> Schema:
    """RFC 9110 section 9.3.2 (`sdn.api.head`)."""
    answers = {
        status: {key: value for key, value in answer.items() if key != "content"}
        for status, answer in get["responses"].items()
    }
    summary = f"{get['summary']}: the head of the answer alone"
    return {**get, "summary": summary, "operationId": f"{get['operationId']}_head", "responses": answers}


def _schemas() -> dict[str, Schema]:
    """Of what is sent and what is answered, of each kind, and all that the file's schema refers to."""
    definitions = _file_schemas()
    made = {"Problem": PROBLEM, **definitions, "Topology": _whole_file()}
    for kind in KINDS.values():
        entry = _entry(definitions, kind)
        name = kind.noun.capitalize()
        made[f"{name}Fields"] = {**entry, "properties": {**entry["properties"], **_GIVEN}}
        made[f"{name}Patch"] = _patch(definitions, entry)
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


def _patch(definitions: Mapping[str, Schema], entry: Schema) -> Schema:
    """A JSON merge patch (RFC 7396): what is null is left to sdn, what is not there stays."""
    part: Schema = _part(definitions, entry)
    return {**part, "properties": {**part["properties"], **_GIVEN}, "description": "A JSON merge patch (RFC 7396)."}


def _part(definitions: Mapping[str, Schema], schema: Schema) -> Schema:
    """What a patch may have in the place of such a value: of an object some of its fields, of a list the whole."""
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**_part(definitions, definitions[schema["$ref"].rpartition("/")[2]]), **rest}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_part(definitions, each) for each in schema["anyOf"]]}
    if schema.get("type") != "object":
        return schema
    found = {key: value for key, value in schema.items() if key not in _ONLY_OF_THE_WHOLE}
    for key in ("properties", "patternProperties"):
        if key in found:
            found[key] = {name: _or_null(_part(definitions, each)) for name, each in found[key].items()}
    return found


def _or_null(schema: Schema) -> Schema:
    told = {key: schema[key] for key in ("description",) if key in schema}
    return {**told, "anyOf": [{key: value for key, value in schema.items() if key not in told}, {"type": "null"}]}


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
