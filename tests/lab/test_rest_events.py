"""Events of a real lab: every kind for a real cause, in time, and none lost over a cut."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import pytest

from datapath.errors import TransientError
from sdn.client import Client, Event
from sdn.store import Store
from tests.lab.browser import serving
from tests.lab.conftest import Labs
from tests.lab.labs import ROOT, Lab, run
from tests.lab.processes import daemon, eventually, kill, pid_of, stopped, whole
from tests.machine.pace import PATIENCE

pytestmark = pytest.mark.lab

TOPOLOGY = """
chassis: {hv1: {}, hv2: {}}
networks: {web: {segment: {vxlan: 7}, subnet: 10.9.0.0/24}}
nodes:
  a: {network: web, chassis: hv1}
  b: {network: web, chassis: hv2}
tests:
  near: {from: a, to: b, ping: ok}
  wrong: {from: b, to: a, tcp: 80, expect: denied}
"""
GUEST = """
guests:
  vm1: {network: web, chassis: hv1, restart: never}
"""


class Closed(Exception):
    """Nobody wants to hear more."""


class Listener:
    """Hears events in a thread of its own, until `close`."""

    def __init__(self, lab: str, api: str = "") -> None:
        self.heard: list[Event] = []
        self.cuts = 0
        self._is_closed = False
        self._news = threading.Condition()
        self._client = Client.at(api) if api else Client.of(lab)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for event in self._client.events(after="0", on_cut=self._cut):
                with self._news:
                    self.heard.append(event)
                    self._news.notify_all()
        except Closed:
            return

    def _cut(self, _error: object) -> None:
        self.cuts += 1
        if self._is_closed:
            raise Closed

    def close(self) -> None:
        """It ends with its lab."""
        self._is_closed = True

    def wait(self, holds: Callable[[Event], bool], within: float = 10.0 * PATIENCE) -> Event:
        """The first event of which this holds."""

        def found() -> Event | None:
            return next((event for event in self.heard if holds(event)), None)

        with self._news:
            assert self._news.wait_for(lambda: found() is not None, within), [event.message for event in self.heard]
        event = found()
        assert event
        return event

    def expect(self, kind: str, message: str = "", within: float = 10.0 * PATIENCE) -> Event:
        return self.wait(lambda event: event.kind == kind and message in event.message, within)

    def clear(self) -> None:
        with self._news:
            self.heard.clear()


@pytest.fixture
def running(lab: Labs) -> Lab:
    return lab(TOPOLOGY)


@pytest.fixture
def listener(running: Lab) -> Iterator[Listener]:
    made = Listener(running.name)
    made.expect("revision.settled")
    yield made
    made.close()


@pytest.fixture
def client(running: Lab) -> Iterator[Client]:
    with Client.of(running.name) as opened:
        yield opened


def test_a_change_is_told_from_the_wish_to_the_wire(running: Lab, listener: Listener, client: Client) -> None:
    client.create("node", "c", {"network": "web", "chassis": "hv1"}, wait="whole")
    changed = listener.expect("model.changed", "POST /v1/nodes")
    assert changed.message.endswith("1 node and 1 port added")
    assert changed.data["names"]["port"]["added"] == ["c:eth0"]
    up = listener.expect("port.up")
    assert (up.object, up.message, up.data["chassis"]) == (("port", "c:eth0"), "port c:eth0 is up", "hv1")
    for chassis in ("hv1", "hv2"):
        assert listener.expect("flows.confirmed", f"{chassis} confirmed the flows of revision 2, ").revision == 2
        listener.expect("chassis.changed", f"{chassis} has built revision 2")
    settled = listener.expect("revision.settled", "revision 2 ")
    assert settled.data["errors"] == []
    kinds = [event.kind for event in listener.heard if event.revision == 2]
    assert kinds.index("model.changed") < kinds.index("flows.confirmed") < kinds.index("revision.settled")


def test_a_port_that_goes_down(running: Lab, listener: Listener) -> None:
    run("ip", "-n", running.namespace("a"), "link", "set", "eth0", "down")
    down_or_drift = listener.wait(lambda event: event.kind in ("port.down", "drift.found"))
    assert "a:eth0" in down_or_drift.message
    eventually(lambda: whole(running))


def test_drift(running: Lab, listener: Listener) -> None:
    running.ofctl("hv1", "del-flows")
    found = listener.expect("drift.found", "flows")
    assert found.object == ("chassis", "hv1")
    repaired = listener.expect("drift.repaired", "ms later")
    assert repaired.data["drift"] == found.data["drift"]
    assert repaired.message.startswith(found.message)
    run("ip", "-n", running.namespace("b"), "address", "flush", "dev", "eth0")
    listener.expect("drift.repaired", "address 10.9.0.")
    assert running.mesh() == []


def test_a_switch_that_goes_and_comes_back(running: Lab, listener: Listener) -> None:
    with stopped(pid_of(running, "agent")):  # or it is back before anybody sees
        kill(daemon(running, "hv2", "ovs-vswitchd"))
        listener.expect("chassis.changed", "the switch of hv2 is disconnected from the controller")
        listener.expect("failure", "hv2: the switch is not connected to the controller")
    listener.expect("chassis.changed", "the switch of hv2 is connected to the controller")


def test_a_controller_that_goes_and_comes_back(running: Lab, listener: Listener) -> None:
    kill(pid_of(running, "controller"))
    for chassis in ("hv1", "hv2"):
        listener.expect("failure", f"{chassis}: the switch is not connected to the controller")
        listener.expect("flows.confirmed", f"{chassis} confirmed the flows of revision 1 again")


def test_an_agent_that_ends_and_runs_again(running: Lab, listener: Listener) -> None:
    kill(pid := pid_of(running, "agent"))
    listener.expect("failure", f"the agent of the lab has ended (process {pid})")
    listener.expect("process.changed", "the agent of the lab runs again")
    with Client.of(running.name) as fresh:
        kill(pid_of(running, "api"))
        eventually(lambda: any("agent of the lab was started again, once" in e.message for e in _known(fresh)))


def _known(client: Client) -> tuple[Event, ...]:
    """() while the API is being started again."""
    try:
        return client.known_events()
    except TransientError:
        return ()


def test_flows_of_users(running: Lab, listener: Listener) -> None:
    """Added, and gone with their switch."""
    flow = {"dpid": running.model.chassis["hv1"].id, "priority": 7, "match": {"eth_type": 0x88B5}}
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(running.run.api_socket)), base_url="http://lab") as http:
        http.post("/stats/flowentry/add", json=flow).raise_for_status()
    listener.expect("flows.changed", "root added a flow on hv1 (POST /stats/flowentry/add): priority 7")
    eventually(lambda: "1 flow is not the lab's" in running.facts.flows["hv1"].note)
    kill(daemon(running, "hv1", "ovs-vswitchd"))
    back = listener.expect("drift.repaired", "the switch came back without")
    assert "; 1 flow that was not the lab's is gone for good; the lab's are back" in back.message


def test_tests_that_were_run(running: Lab, listener: Listener, client: Client) -> None:
    assert not client.test()["passed"]
    done = listener.expect("test.done")
    assert done.message.startswith("1 of 2 tests passed in ")
    assert done.message.endswith("; failed: wrong")
    assert done.data["tests"] == {"near": True, "wrong": False}


def test_another_process_hears_the_same(running: Lab, listener: Listener) -> None:
    """Of users' flows, and of tests, which the command line runs too; and one that comes up later knows of them."""
    flow = {"dpid": running.model.chassis["hv1"].id, "priority": 7, "match": {"eth_type": 0x88B5}}
    with serving(running) as url:
        there = Listener(running.name, url)
        httpx.post(f"{url}/stats/flowentry/add", json=flow).raise_for_status()
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(running.run.api_socket)), base_url="http://lab"
        ) as here:
            here.post("/stats/flowentry/delete", json=flow).raise_for_status()
        command = [sys.executable, "-m", "sdn.cli.main", "test", running.name]
        assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 1
        for each in (listener, there):
            each.expect("test.done", "1 of 2 tests passed in ")
            words = [event.message for event in each.heard if event.kind == "flows.changed"]
            assert [message.partition(" on ")[0] for message in words] == ["root added a flow", "root deleted flows"]
        there.close()
    with serving(running) as url, Client.at(url) as late:
        told = [event.kind for event in late.known_events()]
    assert (told.count("flows.changed"), told.count("test.done")) == (2, 1)


def test_what_cannot_be_built_is_a_failure(running: Lab, listener: Listener) -> None:
    store = Store.open(running.run.store_socket)
    try:
        wanted = running.parse(f"{TOPOLOGY}physnets: {{office: {{}}}}\n", running.model)
        office = replace(wanted.physnets["office"], interface="sdnt-none")
        chassis = wanted.chassis | {"hv1": replace(wanted.chassis["hv1"], physnets=("office",))}
        store.write(replace(wanted, physnets={"office": office}, chassis=chassis))
        assert listener.expect("failure", "sdnt-none").message.startswith("hv")
        assert listener.expect("revision.settled", "sdnt-none").data["errors"]
        store.write(running.parse(TOPOLOGY, running.model))
        listener.expect("chassis.changed", "hv1 has no errors any more")
    finally:
        store.close()


def test_a_guest_that_dies(lab: Labs) -> None:
    running = lab(TOPOLOGY + GUEST)
    listener = Listener(running.name)
    listener.expect("revision.settled")
    listener.close()
    pid = running.facts.guests["vm1"].pid
    kill(pid)
    changed = listener.expect("guest.changed", "guest vm1: running → failed")
    assert changed.object == ("guest", "vm1")
    listener.expect("failure", "guest vm1 has failed")


def test_nothing_is_lost_over_a_cut(running: Lab, listener: Listener, client: Client) -> None:
    """The connection is cut between events; the lab goes on meanwhile."""
    ids = [event.id for event in client.known_events()]
    again = []
    after = ids[0]
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(running.run.api_socket)), base_url="http://lab") as http:
        for number in range(5):
            client.patch("network", "web", {"mtu": 1400 - number})
            listener.expect("model.changed", f"revision {number + 2} ")
            with http.stream("GET", "/v1/events", headers={"Last-Event-ID": after}) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        break
                    if line.startswith("id: "):
                        after = line.removeprefix("id: ")
            again.append(after)
    eventually(lambda: client.known_events()[-1].kind == "revision.settled")
    every = [event.id for event in client.known_events()]
    assert again == every[1:6], "one after the other, each once"


def test_a_restarted_api_is_followed_on(running: Lab, listener: Listener, client: Client) -> None:
    """Its numbers begin anew: who listens is told that something may be missing, and hears what follows."""
    kill(pid_of(running, "api"))
    listener.expect("missed", within=30)
    listener.clear()
    with Client.of(running.name) as fresh:
        fresh.patch("network", "web", {"mtu": 1300})
    listener.expect("model.changed", "revision 2 ")
    assert listener.cuts


def test_an_event_comes_at_once(running: Lab, listener: Listener, client: Client) -> None:
    """From the write until it is heard; the limit is for a machine on which all tests run at once."""
    started = time.time()
    client.patch("network", "web", {"mtu": 1300})
    listener.expect("model.changed", "revision 2 ")
    assert time.time() - started < 0.5 * PATIENCE


def test_who_follows_a_lab_that_goes_ends_with_it(lab: Labs) -> None:
    running = lab(TOPOLOGY)
    command = [sys.executable, "-u", "-m", "sdn.cli.main", "events", "-f", "--lab", running.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as following:
        assert following.stdout is not None
        assert "model.changed" in following.stdout.readline()
        running.down()
        _, told = following.communicate(timeout=20)
    assert following.returncode == 0
    assert told.splitlines()[-1] == f"lab {running.name} is down"
