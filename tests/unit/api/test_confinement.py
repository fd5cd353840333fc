"""Who is not on the machine gets nothing of it into the lab: by a file, by a resource, by going back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdn import lab
from sdn.api.caller import Caller, Role
from tests.unit.api.lab import Api, api, socket

__all__ = ["socket"]

FAR = Caller("eve", Role.ADMIN)
OFFICE = {"interface": "eth7", "addresses": "move"}


@pytest.fixture(autouse=True)
def willing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has whatever is asked for."""
    monkeypatch.setattr(lab, "look_at_machine", lambda model: {})


async def office(client: Api) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get("/v1/topology", headers={"Accept": "application/json"})).json()
    return document | {"physnets": {"office": OFFICE}, "chassis": {"hv1": {"physnets": ["office"]}, "hv2": {}}}


async def test_an_interface_of_the_machine(socket: Path) -> None:
    async with api(socket) as client:
        far, why = client.by(FAR), "/physnets/office/interface"
        for method, path in (("PUT", "/v1/topology"), ("PUT", "/v1/topology?dry_run=true"), ("POST", "/v1/plan")):
            refused = await far.request(method, path, json=await office(client))
            assert refused.status_code == 422
            assert refused.json()["errors"][0]["pointer"] == why
        assert (await far.put("/v1/physnets/office", json={})).status_code == 201
        assert (await far.patch("/v1/physnets/office", json=OFFICE)).status_code == 422
        assert (await client.put("/v1/topology", json=await office(client))).status_code == 200
        assert (await far.patch("/v1/physnets/office", json={"mtu": 1400})).status_code == 200, "the lab has it"


async def test_a_device_of_the_machine(socket: Path) -> None:
    async with api(socket) as client:
        guest = {"name": "g", "chassis": "hv1", "network": "web", "devices": ["0000:00:01.0"]}
        refused = await client.by(FAR).post("/v1/guests", json=guest)
        assert refused.status_code == 422
        assert "device 0000:00:01.0 is the machine's own" in refused.json()["errors"][0]["message"]
        assert (await client.post("/v1/guests", json=guest)).status_code == 201


async def test_going_back_to_it(socket: Path) -> None:
    async with api(socket) as client:
        before = (await client.get("/v1/topology", headers={"Accept": "application/json"})).json()
        given = (await client.put("/v1/topology", json=await office(client))).json()["revision"]
        assert (await client.by(FAR).put("/v1/topology", json=before)).status_code == 200
        for path in ("/v1/rollback", "/v1/rollback?dry_run=true"):
            refused = await client.by(FAR).post(path, json={"revision": given})
            assert refused.status_code == 422
            assert "interface eth7 is the machine's own" in refused.json()["errors"][0]["message"]
        assert (await client.post("/v1/rollback", json={"revision": given})).status_code == 200
