"""REST at 1,000 ports on 20 chassis: a port created until the switches have confirmed its flows, reads of one port, and
events to 100 streams.

What is timed is what a client sees, over the lab's own unix socket: from before the request is sent until the answer is
there. Reads are counted over TCP on loopback by wrk, which costs less than what it measures.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from datetime import datetime
from functools import cache
from statistics import median, quantiles

import httpx

from sdn.lab.rundir import RunDir
from tests.bench import ovn
from tests.bench.labs import PORTS, Lab, thousand_ports
from tests.bench.registry import Measured, at_least, at_most, bench
from tests.bench.rest import serving

CREATIONS = 200
REST = 0.3  # seconds from one answer to the next creation: until then its port is up, and has said so to its network
HURRIED = 50  # creations without that, each beside what the one before still has to do
STREAMS = 100
EVENTS = 50
PAUSE = 0.1  # seconds between two, so that none waits for the switches' answers to the one before
READ_SECONDS = 5
_RATE = re.compile(r"Requests/sec:\s*([0-9.]+)")


def client(lab: Lab) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(RunDir(lab.name).api_socket))
    return httpx.Client(transport=transport, base_url="http://lab", timeout=60)


@bench(
    "a port created by REST until its flows are confirmed, 1,000 ports on 20 chassis, median",
    unit="ms", target=at_most(50), peer="OVN, a port added and bound, 1 chassis", timeout=600,
)  # fmt: skip
def create_port() -> Measured:
    times, hurried = _creations()
    note = (
        f"{len(times)} times, {REST:g} s apart: p95 {_percent(times, 95):.0f} ms, p99 {_percent(times, 99):.0f} ms; "
        f"{len(hurried)} back to back: median {median(hurried):.0f} ms"
    )
    return Measured(median(times), ovn.port_more(PORTS), note)


@bench("the same, 99th percentile", unit="ms", target=at_most(150), timeout=600)
def create_port_p99() -> Measured:
    times, _ = _creations()
    return Measured(
        _percent(times, 99), note=f"{len(times)} times: median {median(times):.0f}, max {max(times):.0f} ms"
    )


@cache
def _creations() -> tuple[list[float], list[float]]:
    """At rest, and one right after the other."""
    with thousand_ports() as lab, client(lab) as rest:
        rest.get("/v1/ports/n1:eth0").raise_for_status()  # the process that answers is started by the first who asks
        times = []
        for number in range(1, CREATIONS + 1):
            time.sleep(REST)
            times.append(_create(rest, number))
        return times, [_create(rest, number) for number in range(CREATIONS + 1, CREATIONS + HURRIED + 1)]


def _create(rest: httpx.Client, number: int) -> float:
    started = time.perf_counter()
    answer = rest.post("/v1/ports?wait=applied", json={"name": f"n{number}:eth1", "network": "lan"})
    taken = 1000 * (time.perf_counter() - started)
    assert answer.status_code == 201, answer.text
    return taken


def _percent(times: list[float], percent: int) -> float:
    return quantiles(times, n=100, method="inclusive")[percent - 1]


@bench("one port read by its name, at 1,000 ports", unit="requests/s", target=at_least(2_000))
def read_port() -> Measured:
    with thousand_ports() as lab, serving(lab) as address:
        wrk = ["wrk", "-t1", "-c8", f"-d{READ_SECONDS}s", "--latency", f"http://{address}/v1/ports/n500:eth0"]
        told = subprocess.run(wrk, check=True, capture_output=True, text=True).stdout
    found = _RATE.search(told)
    assert found, told
    assert "Non-2xx" not in told, told
    latency = re.search(r"99%\s+(\S+)", told)
    return Measured(float(found[1]), note=f"8 connections, one process; p99 {latency[1] if latency else '?'}")


@bench(f"an event delivered to {STREAMS} streams, the slowest of them", unit="ms", target=at_most(50))
def deliver_events() -> Measured:
    with thousand_ports() as lab:
        times = asyncio.run(_deliveries(lab))
    last = [max(each) for each in times]
    note = (
        f"{EVENTS} events to {STREAMS} streams: p99 of the slowest {_percent(last, 99):.0f} ms; from the event's time"
    )
    return Measured(median(last), note=note)


async def _deliveries(lab: Lab) -> list[list[float]]:
    """Milliseconds from the time in the event, which is that of the store's transaction, until each stream has it.

    The streams are read as they come, without a client's library: 100 of those would cost more than what is measured.
    """
    seen: list[list[float]] = []
    arrived: asyncio.Queue[float] = asyncio.Queue()
    ready: asyncio.Queue[None] = asyncio.Queue()
    readers = [asyncio.create_task(_read(lab, ready, arrived)) for _ in range(STREAMS)]
    try:
        for _ in readers:
            await asyncio.wait_for(ready.get(), 10)
        with client(lab) as rest:
            for number in range(1, EVENTS + 1):
                patch = {"allowed_addresses": [{"ip": f"10.99.0.{number}"}]}
                (await asyncio.to_thread(rest.patch, "/v1/ports/n7:eth0", json=patch)).raise_for_status()
                seen.append([await asyncio.wait_for(arrived.get(), 10) for _ in range(STREAMS)])
                await asyncio.sleep(PAUSE)
    finally:
        for reader in readers:
            reader.cancel()
    return seen


async def _read(lab: Lab, ready: asyncio.Queue[None], arrived: asyncio.Queue[float]) -> None:
    reader, writer = await asyncio.open_unix_connection(RunDir(lab.name).api_socket, limit=1 << 20)
    try:
        writer.write(b"GET /v1/events?kind=model.changed HTTP/1.1\r\nHost: lab\r\n\r\n")
        while line := await reader.readline():
            if line.startswith(b"retry:"):
                ready.put_nowait(None)
            elif line.startswith(b"data:"):
                now, event = time.time(), json.loads(line.removeprefix(b"data:"))
                arrived.put_nowait(1000 * (now - datetime.fromisoformat(event["time"]).timestamp()))
    finally:
        writer.close()
