"""Whole files, traces, tests and what follows from the model, over HTTP, of a lab that runs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import yaml

from sdn.cli.main import main
from tests.lab.conftest import Labs
from tests.lab.labs import Lab
from tests.lab.three import THREE, with_node
from tests.unit.api.lab import Api, api

pytestmark = pytest.mark.lab

FILE = f"{THREE}  apart: {{from: db1, to: web1, ping: fail}}\n"
YAML = {"Content-Type": "application/yaml"}


def test_a_running_lab(lab: Labs, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_expect_the_same_everywhere(lab(FILE), capsys))


async def _expect_the_same_everywhere(running: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    async with api(running.run.store_socket, running.name) as client:
        await _expect_a_file_to_go_round(client, running, capsys)
        await _expect_the_same_of_tests(client, running, capsys)
        await _expect_the_same_of_traces(client, running, capsys)
        await _expect_the_same_of_switches(client, running, capsys)


async def _expect_a_file_to_go_round(client: Api, running: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Applied over HTTP, read over HTTP, printed by the command line; what was read changes nothing."""
    more = with_node(running.text, "db2", "hv1").replace("to: web1,", "to: web*,")
    plan = (await client.post("/v1/plan", content=more, headers=YAML)).json()
    assert ("hv1", "node db2") in {(step["where"], step["what"]) for step in plan["steps"]}
    assert plan["troubles"] == []
    done = await client.put("/v1/topology?file=lab.yaml&wait=whole", content=more, headers=YAML)
    assert (done.status_code, done.json()["changed"], done.json()["applied"]["missing"]) == (200, True, []), done.text
    text = (await client.get("/v1/topology")).text
    assert await _printed(capsys, "export", "topology", "--lab", running.name) == text
    assert yaml.safe_load(text)["nodes"]["db2"]["chassis"] == "hv1"
    assert (await client.post("/v1/plan", content=text, headers=YAML)).json()["steps"] == []
    status = (await client.get(f"/v1/labs/{running.name}")).json()
    assert (status["troubles"], status["confirmed"]) == ([], status["revision"])
    assert {"supervisor", "controller", "agent"} <= {each["name"] for each in status["processes"] if each["alive"]}
    assert status["seconds"] > 0
    links = (await client.get("/v1/links")).json()["items"]
    assert all(each["up"] for each in links)
    assert {each["name"] for each in links if each["kind"] == "tunnel"} == {
        "hv1--hv2/vxlan",
        "hv1--hv3/vxlan",
        "hv2--hv3/vxlan",
    }


async def _expect_the_same_of_tests(client: Api, running: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    found = (await client.post("/v1/test", json={"matrix": True})).json()
    assert found["passed"], found
    printed = json.loads(await _printed(capsys, "test", running.name, "--matrix", "-o", "json"))
    for each in (found, printed):
        del each["seconds"]
    assert found == printed


async def _expect_the_same_of_traces(client: Api, running: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    body = {"from": "web1", "to": "web3", "protocol": "tcp/80"}
    found = (await client.post("/v1/trace", json=body)).json()
    assert found["reached"]
    printed = await _printed(capsys, "trace", "web1", "web3", "tcp/80", "--lab", running.name, "-o", "json")
    assert json.loads(printed) == found


async def _expect_the_same_of_switches(client: Api, running: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """What the switch has is what `sdn flows` prints, and every flow is found again by its id."""
    switch = (await client.get("/v1/switches/hv1")).json()
    assert (switch["error"], switch["description"]["hw_desc"]) == ("", "Open vSwitch")
    assert {port["port_no"] for port in switch["ports"]} >= {running.port("web1").ofport, 1}
    everything = await _all(client, "/v1/flows?limit=7")
    assert {each["chassis"] for each in everything} == {"hv1", "hv2"}
    assert len({each["id"] for each in everything}) == len(everything)
    printed = json.loads(await _printed(capsys, "flows", "--lab", running.name, "-o", "json"))
    assert [each["raw"] for each in everything] == [flow["raw"] for name in ("hv1", "hv2") for flow in printed[name]]
    one = everything[3]
    again = (await client.get(f"/v1/flows/{one['id']}")).json()
    assert (again["raw"], again["object"]) == (one["raw"], one["object"])
    of_node = await _all(client, "/v1/flows?node=web1&chassis=hv1")
    assert of_node
    assert all("port web1:eth0" in each["object"] for each in of_node)
    of_network = await _all(client, "/v1/flows?network=db&cookie=network&table=forward")
    assert all("network db" in each["object"] and each["table"] == "forward" for each in of_network)


async def _all(client: Api, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    following: str | None = path
    while following:
        page = (await client.get(following)).json()
        found += page["items"]
        following = page["next"]
    return found


async def _printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    await asyncio.to_thread(main, list(arguments))
    return capsys.readouterr().out
