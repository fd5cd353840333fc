"""What somebody changes while we are at work, and is told together with what we do, is not taken for right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from datapath.agent import Agent
from datapath.events import Drift
from datapath.linux.host import Namespace
from datapath.ovs import database
from datapath.spec import device_name, namespace
from tests.lab.test_agent import Lab, hosts, lab, until

pytestmark = pytest.mark.lab
__all__ = ["lab"]

PORT = device_name("p", "n1", "eth0")


def addresses(lab: Lab) -> set[str]:
    return {each["local"] for each in lab.links("n1")["eth0"]["addr_info"]}  # type: ignore[attr-defined]


def flush(lab: Lab) -> None:
    assert lab.inside("n1", "ip", "address", "flush", "dev", "eth0", "scope", "global").returncode == 0


def delete_port(lab: Lab) -> None:
    lab.tool("hv1", "ovs-vsctl", f"--db=unix:{lab.run_dir}/hv1/db.sock", "del-port", PORT)


def ports(lab: Lab) -> list[str]:
    return lab.tool("hv1", "ovs-vsctl", f"--db=unix:{lab.run_dir}/hv1/db.sock", "list-ports", "br-int").split()


@asynccontextmanager
async def restoring(agent: Agent) -> AsyncIterator[None]:
    task = asyncio.create_task(agent.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def drifts(lab: Lab) -> list[Drift]:
    return [event for event in lab.events if isinstance(event, Drift)]


async def test_an_address_that_goes_while_it_is_set(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    send, left = Namespace.send, [True]

    def meanwhile(self: Namespace, batch: Any) -> Any:
        if not left or not any("address 10.0.0.1" in message.about for message in batch):
            return send(self, batch)
        left.clear()
        refused = self.channel.send(batch)
        flush(lab)  # is in the same notifications as what we have done
        self.hear()
        return refused

    agent = lab.agent()
    monkeypatch.setattr(Namespace, "send", meanwhile)
    await agent.apply(hosts(lab.name, 1, 1))
    assert not left
    await agent.apply(hosts(lab.name, 1, 1))
    assert {"10.0.0.1", "fd00::1"} <= addresses(lab)


async def test_a_vtep_that_goes_while_it_is_put_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever flushes addresses that are gone already tells nobody: it must be seen by us."""
    send, left = Namespace.send, list(range(6))
    vteps = "172.31.0.0/24"

    def flush_vtep() -> None:
        assert lab.inside("hv1", "ip", "address", "flush", "to", vteps).returncode == 0

    def meanwhile(self: Namespace, batch: Any) -> Any:
        if not left or not any("address 172.31.0.1" in message.about for message in batch):
            return send(self, batch)
        left.pop()
        refused = self.channel.send(batch)
        flush_vtep()
        self.hear()
        return refused

    agent = lab.agent()
    await agent.apply(hosts(lab.name, 2, 1))
    monkeypatch.setattr(Namespace, "send", meanwhile)
    async with restoring(agent):
        flush_vtep()
        await until(lambda: not left and "172.31.0.1" in lab.inside("hv1", "ip", "address", "show", "to", vteps).stdout)
        await until(lambda: bool(drifts(lab)) and drifts(lab)[-1].repaired > 0)


async def test_a_port_that_goes_while_it_is_added(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, left = database.Switch._commit, [True]

    def meanwhile(self: database.Switch, *arguments: Any, **options: Any) -> Any:
        done = commit(self, *arguments, **options)
        if PORT in self.idl.seen and left:
            left.clear()
            delete_port(lab)
            with self.idl.moved:
                self.idl.moved.wait_for(lambda: PORT not in self.idl.seen, 5)
        return done

    agent = lab.agent()
    monkeypatch.setattr(database.Switch, "_commit", meanwhile)
    await agent.apply(hosts(lab.name, 1, 1))
    assert not left
    assert PORT in ports(lab)
    work = agent.work
    await agent.apply(hosts(lab.name, 1, 1))
    assert agent.work == work


def heard_of_devices(agent: Agent) -> int:
    return agent._host.namespaces[namespace(agent.lab, "n1")].devices.version


def heard_of_ports(agent: Agent) -> int:
    return len(agent._roster["hv1"].switch.found)


DAMAGES: dict[str, tuple[Callable[[Lab], None], Callable[[Agent], int]]] = {
    "address": (flush, heard_of_devices),
    "port": (delete_port, heard_of_ports),
}
"""And what is another number once the agent has been told."""


@pytest.mark.parametrize("what", DAMAGES)
async def test_what_is_told_while_we_are_at_work_is_told_on(what: str, lab: Lab) -> None:
    """`apply` awaits its switches; what somebody does then is found when it is done, and put right."""
    damage, heard = DAMAGES[what]
    agent = lab.agent()
    await agent.apply(hosts(lab.name, 1, 1))
    async with restoring(agent):
        configure = agent._configure

        async def meanwhile(*arguments: Any) -> None:
            await configure(*arguments)
            if not drifts(lab):
                before = heard(agent)
                await asyncio.to_thread(damage, lab)
                await until(lambda: heard(agent) != before)

        agent._configure = meanwhile  # type: ignore[method-assign]
        await agent.apply(hosts(lab.name, 1, 1), anew=True)
        await until(lambda: bool(drifts(lab)) and drifts(lab)[-1].repaired > 0)
    assert {"10.0.0.1", "fd00::1"} <= addresses(lab)
    assert PORT in ports(lab)


def routes(lab: Lab) -> set[str]:
    """Of node n1: those that the kernel makes with addresses."""
    shown = lab.inside("n1", "ip", "route").stdout + lab.inside("n1", "ip", "-6", "route").stdout
    return {" ".join(line.split()) for line in shown.splitlines()}


CONNECTED = {
    "10.0.0.0/16 dev eth0 proto kernel scope link src 10.0.0.1",
    "fd00::/64 dev eth0 proto kernel metric 256 pref medium",
    "fe80::/64 dev eth0 proto kernel metric 256 pref medium",
}


@pytest.mark.parametrize("is_new", [False, True], ids=["the same agent", "a new agent"])
async def test_routes_and_lo_that_were_lost_unheard(is_new: bool, lab: Lab) -> None:
    """In the kernel's own form."""
    agent = lab.agent()
    await agent.apply(hosts(lab.name, 1, 1))
    await until(lambda: routes(lab) == CONNECTED)  # the link-local one comes when the link is ready
    if is_new:
        lab.close()
    for command in ("route flush table main", "-6 route flush table main", "link set lo down"):
        lab.inside("n1", "ip", *command.split())
    assert routes(lab) == set()
    agent = lab.agent() if is_new else agent
    await agent.apply(hosts(lab.name, 1, 1), anew=True)
    assert routes(lab) == CONNECTED
    lo = lab.links("n1")["lo"]
    assert "UP" in lo["flags"]  # type: ignore[operator]
    assert {each["local"] for each in lo["addr_info"]} == {"127.0.0.1", "::1"}  # type: ignore[attr-defined]
    assert lab.ping("n1", "127.0.0.1")
    assert lab.ping("n1", "10.0.0.1")
    work = agent.work
    await agent.apply(hosts(lab.name, 1, 1))
    assert agent.work == work


async def test_what_others_add_to_lo_stays(lab: Lab) -> None:
    agent = lab.agent()
    await agent.apply(hosts(lab.name, 1, 1))
    lab.inside("n1", "ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    lab.inside("n1", "ip", "link", "set", "lo", "down")
    await agent.apply(hosts(lab.name, 1, 1), anew=True)
    lo = lab.links("n1")["lo"]
    assert {each["local"] for each in lo["addr_info"]} == {"127.0.0.1", "192.0.2.1", "::1"}  # type: ignore[attr-defined]


async def test_a_wish_for_the_same_looks_at_what_is_known_to_be_right(lab: Lab) -> None:
    """Settings that nobody tells of are found so, and whatever else may have escaped."""
    agent = lab.agent()
    await agent.apply(hosts(lab.name, 1, 1))
    held = agent._host.namespaces["sdn-" + lab.name + "-n1"]
    flush(lab)
    before = held.devices.version
    held.hear()
    for name, settled in list(agent._cabling._right.items()):
        agent._cabling._right[name] = settled.__class__(
            settled.node, settled.chassis, settled.home, settled.namespace, held.devices.version
        )
    assert held.devices.version != before, "it counts as right all the same"
    await agent.apply(hosts(lab.name, 1, 1))
    assert "10.0.0.1" not in addresses(lab)
    await agent.apply(hosts(lab.name, 1, 1), anew=True)
    assert {"10.0.0.1", "fd00::1"} <= addresses(lab)
