"""What a switch leaves out of /v1/flows is what the API would have left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from sdn.api.flows import kind
from tests.lab.conftest import Labs
from tests.lab.labs import Lab

pytestmark = pytest.mark.lab

TOPOLOGY: dict[str, Any] = {
    "chassis": {"hv1": {}, "hv2": {}},
    "networks": {"lan": {"segment": {"vxlan": 100}, "subnet": "10.7.0.0/24"}},
    "nodes": {"n[1-4]": {"network": "lan", "place": "spread"}},
}
Item = dict[str, Any]


@pytest.fixture
def client(lab: Labs) -> Iterator[httpx.Client]:
    running: Lab = lab(TOPOLOGY)
    transport = httpx.HTTPTransport(uds=str(running.run.api_socket))
    with httpx.Client(transport=transport, base_url="http://sdn", timeout=30) as made:
        yield made


def test_what_is_asked_for_is_narrowed_by_the_switch(client: httpx.Client) -> None:
    user = {"dpid": client.get("/stats/switches").json()[0], "priority": 7, "cookie": 5, "match": {"in_port": 999}}
    client.post("/stats/flowentry/add", json=user).raise_for_status()
    all_of_them = listed(client)
    kinds = {name: of_kind(name) for name in ("chassis", "network", "port", "user", "learned", "other")}
    wanted: dict[str, Callable[[Item], bool]] = {
        "": lambda _: True,
        "table=0": lambda item: item["table_id"] == 0,
        "chassis=hv2": lambda item: item["chassis"] == "hv2",
        "port=n1:eth0": lambda item: (item["object"] or "").startswith("port n1:eth0"),
        "port=n1:eth0&table=0": lambda item: (item["object"] or "").startswith("port n1:eth0") and not item["table_id"],
        **{f"cookie={name}": holds for name, holds in kinds.items()},
    }
    found = {query: listed(client, query) for query in wanted}
    for query, holds in wanted.items():
        assert found[query].keys() == {key for key, item in all_of_them.items() if holds(item)}, query
    assert len(found["cookie=user"]) == 1
    assert all(found[query] for query in ("table=0", "port=n1:eth0", "cookie=port", "cookie=chassis"))
    for key in (*list(all_of_them)[:3], *found["cookie=user"]):
        assert client.get(f"/v1/flows/{key}").json()["match"] == all_of_them[key]["match"]
    for table in ("255", "300", "-1"):
        assert client.get(f"/v1/flows/hv1/{table}/5/0000").status_code == 404


def test_what_was_just_written_is_in_the_answer(client: httpx.Client) -> None:
    """Neither a trace nor a list is of before a flow came or went."""
    switches = client.get("/stats/switches").json()
    drop = {"dpid": switches[0], "priority": 40000, "cookie": 5, "match": {"eth_type": 0x0800}, "actions": []}
    way = {"from": "n1", "to": "n2"}
    for _ in range(3):
        assert client.post("/v1/trace", json=way).json()["reached"]
        assert not listed(client, "cookie=user")
        client.post("/stats/flowentry/add", json=drop).raise_for_status()
        assert not client.post("/v1/trace", json=way).json()["reached"]
        assert len(listed(client, "cookie=user")) == 1
        client.post("/stats/flowentry/delete", json=drop).raise_for_status()


def of_kind(name: str) -> Callable[[Item], bool]:
    return lambda item: kind(int(item["cookie"], 0)) == name


def listed(client: httpx.Client, query: str = "") -> dict[str, Item]:
    answer = client.get(f"/v1/flows?limit=5000&{query}".rstrip("&"))
    assert answer.status_code == 200, answer.text
    return {item["id"]: item for item in answer.json()["items"]}
