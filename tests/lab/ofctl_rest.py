"""Ryu's `ofctl_rest` as its documentation has it: the commands by curl, and an Open vSwitch of our own to run them on.

https://ryu.readthedocs.io/en/latest/app/ofctl_rest.html; the commands are as they stand there, up to `localhost:8080`.
Enters: switches by their management sockets. Leaves: `Curl`; fixtures; what the switch has then. Never: a lab.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from sdn.api.ryu import router
from sdn.pipeline.fields import COOKIE_MARK, USER_MARK
from sdn.southbound.plain import Plain, connect
from tests.lab.ovs import Ovs, private_ovs, run

DOCUMENTED = "http://localhost:8080"

ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Switches:
    """By management socket; a session for each request."""

    sockets: Mapping[int, Path]

    def dpids(self) -> list[int]:
        return sorted(self.sockets)

    @asynccontextmanager
    async def connect(self, dpid: int) -> AsyncIterator[Plain]:
        async with connect(self.sockets[dpid], name=f"switch {dpid}") as session:
            yield session


Curl = Callable[[str], tuple[int, Any]]
"""Runs a command of the documentation; returns the HTTP status and the answer (None where it is empty)."""


@contextmanager
def served(switches: Switches, **options: Any) -> Iterator[Curl]:
    app = FastAPI()
    app.include_router(router(switches, **options), prefix="/stats")
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield lambda command: curl(command, f"http://127.0.0.1:{listening.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def curl(command: str, where: str) -> tuple[int, Any]:
    words = shlex.split(command.replace(DOCUMENTED, where).removeprefix("$ "))
    assert words[0] == "curl"
    words[1:1] = ["--silent", "--show-error", "--max-time", str(ANSWER_SECONDS), "--write-out", "\n%{http_code}"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body) if body else None


# ── a switch of our own: 1, with ports 1 and 2 ────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def ovs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ovs]:
    with private_ovs(tmp_path_factory.mktemp("ovs")) as started:
        started.add_bridge("s1", settings=["other_config:datapath-id=0000000000000001"])
        for number in (1, 2):
            name = f"s1-eth{number}"
            started.vsctl(
                "add-port", "s1", name, "--", "set", "interface", name, "type=internal", f"ofport_request={number}"
            )
            run("ip", "-n", started.ns, "link", "set", name, "up")
        yield started


@pytest.fixture(scope="module")
def shell(ovs: Ovs) -> Iterator[Curl]:
    with served(Switches({1: ovs.management("s1")})) as found:
        yield found


@pytest.fixture
def switch(ovs: Ovs) -> Ovs:
    """Without flows, groups and meters, but for one that is not the user's."""
    ovs.ofctl("del-flows", "s1")
    ovs.ofctl("del-groups", "s1")
    ovs.ofctl("del-meters", "s1")
    ovs.ofctl("add-flow", "s1", f"table=9,priority=9,cookie={COOKIE_MARK << 48 | 2 << 40 | 16:#x},ip,actions=drop")
    return ovs


def flows(ovs: Ovs) -> list[str]:
    """The user's, as ovs-ofctl prints them, without counters; the cookie without its mark."""
    dump = ovs.ofctl("dump-flows", "s1", "--no-stats")
    found = re.findall(rf"cookie=0x{USER_MARK:x}(\w{{12}}),? (.*)", dump)
    return sorted(f"{int(cookie, 16)} {rest}" for cookie, rest in found)


def others(ovs: Ovs) -> int:
    return len(re.findall(rf"cookie=0x{COOKIE_MARK:x}", ovs.ofctl("dump-flows", "s1")))


def traced(ovs: Ovs, packet: str) -> str:
    """What the switch would do with a packet: the datapath actions, by names of ports."""
    return ovs.appctl("ofproto/trace", "--names", "s1", packet).rpartition("Datapath actions: ")[2].strip()


ADD_OUTPUT = """$ curl -X POST -d '{
    "dpid": 1,
    "cookie": 1,
    "cookie_mask": 1,
    "table_id": 0,
    "idle_timeout": 30,
    "hard_timeout": 30,
    "priority": 11111,
    "flags": 1,
    "match":{
        "in_port":1
    },
    "actions":[
        {
            "type":"OUTPUT",
            "port": 2
        }
    ]
 }' http://localhost:8080/stats/flowentry/add"""


def simple(priority: int, action: str) -> str:
    return f"""$ curl -X POST -d '{{
    "dpid": 1,
    "priority": {priority},
    "match":{{
        "in_port":1
    }},
    "actions":[
        {{
            {action}
        }}
    ]
 }}' http://localhost:8080/stats/flowentry/add"""


ADD_GOTO = simple(22222, '"type":"GOTO_TABLE",\n            "table_id": 1')

ADD_METADATA = simple(33333, '"type":"WRITE_METADATA",\n            "metadata": 1,\n            "metadata_mask": 1')

ADD_METER = simple(44444, '"type":"METER",\n            "meter_id": 1')

ADD_A_METER = """$ curl -X POST -d '{
    "dpid": 1,
    "flags": "KBPS",
    "meter_id": 1,
    "bands": [
        {
            "type": "DROP",
            "rate": 1000
        }
    ]
 }' http://localhost:8080/stats/meterentry/add"""
