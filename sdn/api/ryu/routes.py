"""Ryu's paths as FastAPI routes, mounted at /stats.

Enters: HTTP requests. Leaves: 200 with Ryu's JSON, or with an empty body where Ryu's is empty; problem details
(RFC 9457) where something is wrong. Never: a 500 for what a client sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from datapath.errors import ConflictError, RefusedError, SdnError, TransientError
from sdn.api.ryu import marks, switches, words
from sdn.api.ryu.body import number, parse
from sdn.api.ryu.paths import ALL, COMMANDS, DONE, EXPERIMENT, FILTER, NUMBER, QUESTIONS, Command, Question
from sdn.api.ryu.problem import Problem, bad
from sdn.api.ryu.switches import About, Switches, kind_and_id
from sdn.problems import MEDIA_TYPE
from sdn.southbound.plain import Plain

_FILTERED: Final = frozenset(question.name for question in QUESTIONS if question.filtered)
"""These are asked for by POST too, which changes nothing."""

Endpoint = Callable[[Request], Awaitable[Response]]
Tell = Callable[[Request, int, str, dict[str, Any]], None]
"""Gets what was asked, of which switch, what was done, and the body."""
_MEANINGS: Final = {
    400: "The request is not understood, or the switch refuses it; `detail` says why",
    404: "No such switch, or no such port",
    409: "A flow that is not the user's is in this place",
    502: "The switch's reply is not understood",
    503: "The switch is away",
}


def _tell_nobody(_request: Request, _dpid: int, _done: str, _body: dict[str, Any]) -> None:
    return


def router(found: Switches, about: About = kind_and_id, tell: Tell = _tell_nobody) -> APIRouter:
    """All of Ryu's paths below its /stats. `about` words why a flow of ours is there, for answers of 409; `tell` is
    called with what has changed."""
    made = APIRouter(route_class=_Route, tags=["Ryu ofctl_rest"])
    _add(made, "/switches", "GET", _dpids(found), "Datapath ids of the switches", answers={"type": "array"})
    for question in QUESTIONS:
        _add_question(made, found, question)
    for command in COMMANDS:
        statuses = (400, 404, 409, 502, 503) if command.constant == "OFPFC_ADD" else (400, 404, 502, 503)
        endpoint = _command(found, about, tell, command)
        _add(made, f"/{command.path}", "POST", endpoint, command.summary, body=command.body, statuses=statuses)
    summary = "Delete all flows of the user's"
    _add(made, "/flowentry/clear/{dpid}", "DELETE", _clear(found, about, tell), summary, parameters=("dpid",))
    summary = "Send an experimenter message"
    path = "/experimenter/{dpid}"
    _add(made, path, "POST", _experiment(found), summary, parameters=("dpid",), body=EXPERIMENT)
    return made


class _Route(APIRoute):
    """Turns what is raised into an answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except Problem as problem:
                return _problem(problem.status, problem.detail)
            except SdnError as error:
                return _problem(_status(error), str(error))

        return handled


def _status(error: SdnError) -> int:
    kinds: tuple[tuple[type[SdnError], int], ...] = ((RefusedError, 400), (ConflictError, 409), (TransientError, 503))
    return next((status for kind, status in kinds if isinstance(error, kind)), 503)


def _problem(status: int, detail: str) -> Response:
    told = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(json.dumps(told), status, media_type=MEDIA_TYPE)


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _dpids(found: Switches) -> Endpoint:
    async def endpoint(_: Request) -> Response:
        return _json(found.dpids())

    return endpoint


def _add_question(made: APIRouter, found: Switches, question: Question) -> None:
    """One path for each number of parameters that are left out."""
    for count in range(len(question.parameters) + 1):
        given = ("dpid", *question.parameters[:count])
        path = f"/{question.name}/" + "/".join(f"{{{name}}}" for name in given)
        _add(made, path, "GET", _question(found, question), question.summary, parameters=given, answers=_BY_DPID)
    if question.filtered:
        path, summary = f"/{question.name}/{{dpid}}", f"{question.summary}, of the flows that the body describes"
        endpoint = _question(found, question)
        _add(made, path, "POST", endpoint, summary, parameters=("dpid",), body=FILTER, answers=_BY_DPID)


def _question(found: Switches, question: Question) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        dpid = number(request.path_params["dpid"], "the datapath id")
        chosen: dict[str, int] = {}
        arguments: list[Any]
        if question.filtered:
            arguments = [parse(await request.body())]
        else:
            arguments, chosen = _choice(question, request)
        async with switches.session(found, dpid) as switch:
            answer = await switches.ask(switch, dpid, question.function, *arguments)
        return await asyncio.to_thread(
            _json, {str(dpid): _in_words(question, answer, chosen)}
        )  # 13 MB for tablefeatures

    return endpoint


def _choice(question: Question, request: Request) -> tuple[list[int | None], dict[str, int]]:
    """What goes to ofctl, and by what its answer is filtered."""
    given = {name: request.path_params.get(name, ALL) for name in question.parameters}
    numbers = {name: None if value == ALL else number(value, name) for name, value in given.items()}
    left = question.parameters[question.passed :]
    passed = [numbers[name] for name in question.parameters[: question.passed]]
    return passed, {name: value for name in left if (value := numbers[name]) is not None}


def _in_words(question: Question, answer: Any, chosen: dict[str, int]) -> Any:
    if question.filtered:
        return marks.unmark(answer)
    if question.name == "queuedesc":
        answer = [queue for port in answer for queue in _queues(port)]
    if not chosen:
        return answer
    names = {name: words.port_name(value) if name == "port_no" else value for name, value in chosen.items()}
    return [item for item in answer if all(item[name] == value for name, value in names.items())]


def _queues(port: dict[str, Any]) -> list[dict[str, Any]]:
    """A port of `queueconfig` as OpenFlow 1.4 describes its queues: 16 bytes for each, and 8 for each property."""
    return [
        {
            "len": 16 + 8 * len(queue["properties"]),
            "port_no": port["port"],
            "queue_id": queue["queue_id"],
            "properties": [{"length": 8, "type": rate.pop("property"), **rate} for rate in queue["properties"]],
        }
        for queue in port["queues"]
    ]


# ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _command(found: Switches, about: About, tell: Tell, command: Command) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        body = parse(await request.body())
        if not body.get("dpid"):
            raise bad("the body should have a dpid")
        dpid = number(body["dpid"], "dpid")
        async with switches.session(found, dpid) as switch:
            await _carry_out(switch, dpid, about, command, body)
        if command.path in DONE:
            tell(request, dpid, DONE[command.path], body)
        return Response()

    return endpoint


async def _carry_out(switch: Plain, dpid: int, about: About, command: Command, body: dict[str, Any]) -> None:
    change: Any = getattr(words.ofproto(), command.constant) if command.constant else None
    if command.function == "flow":
        await switches.change_flows(switch, dpid, about, body, change)
    elif command.function == "group":
        await switches.change_groups(switch, body, change)
    elif command.function == "port":
        await switches.change_port(switch, dpid, body)
    elif change is None:
        await switches.tell(switch, command.function, body)
    else:
        await switches.tell(switch, command.function, body, change)


def _clear(found: Switches, about: About, tell: Tell) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        dpid = number(request.path_params["dpid"], "the datapath id")
        async with switches.session(found, dpid) as switch:
            ofproto = words.ofproto()
            everything = {"table_id": ofproto.OFPTT_ALL}
            await switches.change_flows(switch, dpid, about, everything, ofproto.OFPFC_DELETE)
        tell(request, dpid, DONE["flowentry/clear"], {})
        return Response()

    return endpoint


def _experiment(found: Switches) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        body = parse(await request.body())
        dpid = number(body.get("dpid") or request.path_params["dpid"], "the datapath id")
        async with switches.session(found, dpid) as switch:
            await switches.experiment(switch, body)
        return Response()

    return endpoint


# ── describing ────────────────────────────────────────────────────────────────────────────────────────────────────────

_BY_DPID: Final = {"type": "object", "additionalProperties": {"type": ["array", "object"]}}
_PARAMETERS: Final = {
    "dpid": "Datapath id, decimal or with 0x",
    "port_no": "Port number, or ALL",
    "port": "Port number, or ALL",
    "queue_id": "Queue, or ALL",
    "group_id": "Group, or ALL",
    "meter_id": "Meter, or ALL",
}


def _add(
    made: APIRouter,
    path: str,
    method: str,
    endpoint: Endpoint,
    summary: str,
    *,
    parameters: tuple[str, ...] = (),
    body: dict[str, Any] | None = None,
    answers: dict[str, Any] | None = None,
    statuses: tuple[int, ...] = (400, 404, 502, 503),
) -> None:
    """Ryu reads the body whatever its type is said to be, so FastAPI must not."""
    only_asks = method == "GET" or path.split("/")[1] in _FILTERED
    extra: dict[str, Any] = {"parameters": [_parameter(name) for name in parameters]}
    extra["x-sdn-role"] = "read" if only_asks else "admin"  # past the model
    if body:
        extra["requestBody"] = {"content": {"application/json": {"schema": body}}, "required": bool(body["required"])}
    content = {"application/json": {"schema": answers}} if answers else None
    done = {"description": "As Ryu answers"} | ({"content": content} if content else {})
    problems = () if path == "/switches" else statuses
    made.add_api_route(
        path,
        endpoint,
        methods=[method],
        summary=summary,
        operation_id=_operation(path, method),
        response_class=Response,
        responses={200: done, **{status: _described(status) for status in problems}},
        openapi_extra=extra,
    )


def _operation(path: str, method: str) -> str:
    """`ryu_get_queue_by_port_no_queue_id`."""
    parts = [part for part in path.split("/") if part]
    named = "_".join(part for part in parts if not part.startswith("{"))
    by = "_".join(part.strip("{}") for part in parts if part.startswith("{") and part != "{dpid}")
    return f"ryu_{method.lower()}_{named}" + (f"_by_{by}" if by else "")


def _parameter(name: str) -> dict[str, Any]:
    pattern = NUMBER if name == "dpid" else f"{NUMBER}|^{ALL}$"
    schema = {"type": "string", "pattern": pattern}
    return {"name": name, "in": "path", "required": True, "description": _PARAMETERS[name], "schema": schema}


def _described(status: int) -> dict[str, Any]:
    fields = {"type": {"type": "string"}, "title": {"type": "string"}, "detail": {"type": "string"}}
    schema = {"type": "object", "properties": {**fields, "status": {"type": "integer"}}}
    return {"description": _MEANINGS[status], "content": {MEDIA_TYPE: {"schema": schema}}}


def _json(value: Any) -> Response:
    return Response(json.dumps(value), media_type="application/json")
