"""What a running lab counts: packets of nodes, drops, drift, convergence. And what a real Prometheus makes of it, asked
everything that the dashboard asks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sdn.api.samples import PATIENCE
from tests.lab.conftest import Labs
from tests.lab.frames import datagram
from tests.lab.labs import ROOT, Lab
from tests.lab.processes import daemon, eventually, pid_of, stopped
from tests.lab.prometheus import scraping
from tests.lab.test_api_server import serving

pytestmark = pytest.mark.lab("promtool")

TOPOLOGY: dict[str, Any] = {
    "chassis": {"hv1": {"physnets": ["office"]}, "hv2": {}, "hv3": {"datapath": "linux"}},
    "physnets": {"office": {}},
    "networks": {
        "web": {"segment": {"vxlan": 100}, "subnet": "10.60.0.0/24"},
        "lan": {"segment": {"vlan": 12, "physnet": "office"}, "subnet": "10.61.0.0/24"},
    },
    "nodes": {
        "a": {"network": "web", "chassis": "hv1"},
        "b": {"network": "web", "chassis": "hv2"},
        "c": {"network": "web", "chassis": "hv3"},
        "d": {"network": "lan", "chassis": "hv1"},
    },
}
MANY, SIZE, NOISE = 200, 1000, 20
"""Frames of a test and their size; what kernels send by themselves meanwhile (IPv6 looks for its neighbours)."""


@pytest.fixture(scope="module")
def running(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGY)


def client(lab: Lab) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(lab.run.api_socket))
    return httpx.Client(transport=transport, base_url="http://sdn", timeout=30)


def text(lab: Lab) -> str:
    with client(lab) as asked:
        answer = asked.get("/metrics")
    assert answer.status_code == 200
    return answer.text


def value(lab: Lab, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    families = text_string_to_metric_families(text(lab))
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    found = [sample.value for sample in samples if labels.items() <= sample.labels.items()]
    assert found, f"no {name} with {labels}"
    return sum(found)


def expect_growth(ask: Callable[[], float], by: int, noise: int, do: Callable[[], object]) -> None:
    """Of what `ask` says, while `do` is done: by that much, or by a little more."""
    before = ask()
    do()
    eventually(lambda: ask() - before >= by, within=20)
    assert ask() - before <= by + noise


def counter(lab: Lab, name: str, **labels: str) -> Callable[[], float]:
    return partial(value, lab, name, **labels)


def send(lab: Lab, source: str, target: str) -> None:
    frame = datagram(lab.port(source), lab.port(target), b"x" * (SIZE - 42))
    lab.send(source, *[frame] * MANY)


@pytest.mark.parametrize(("source", "target"), [("a", "b"), ("a", "c"), ("c", "a")])
def test_traffic_of_ports_is_counted_as_their_nodes_see_it(running: Lab, source: str, target: str) -> None:
    """On Open vSwitch and on the kernel's bridges."""
    sent = counter(running, "sdn_port_transmit_packets_total", node=source)
    octets = counter(running, "sdn_port_receive_bytes_total", node=target)
    tunnel = counter(running, "sdn_tunnel_receive_packets_total", chassis=running.port(target).chassis)
    do = partial(send, running, source, target)
    expect_growth(sent, MANY, NOISE, do)
    expect_growth(octets, MANY * SIZE, NOISE * 100, do)
    expect_growth(tunnel, MANY, NOISE, do)


def test_a_forged_packet_is_counted_at_the_rule_that_drops_it(running: Lab) -> None:
    guard = {"chassis": "hv1", "table": "spoof_guard", "kind": "chassis", "object": "hv1"}
    dropped = counter(running, "sdn_dropped_packets_total", rule="0 any", **guard)
    received = counter(running, "sdn_port_receive_packets_total", node="b")
    before = received()
    forged = datagram(running.port("b"), running.port("b"), b"forged")
    expect_growth(dropped, MANY, NOISE, lambda: running.send("a", *[forged] * MANY))
    assert received() - before < NOISE


def test_a_deleted_flow_is_drift(running: Lab) -> None:
    drifts = counter(running, "sdn_drifts_total", chassis="hv1", how="removed")
    repairs = counter(running, "sdn_drift_repair_seconds_count")
    before = drifts(), repairs()
    running.ofctl("hv1", "del-flows", "table=0,in_port=1")
    eventually(lambda: (drifts(), repairs()) == (before[0] + 1, before[1] + 1))
    assert value(running, "sdn_drifts_unrepaired") == 0


def test_a_change_is_a_convergence(lab: Labs) -> None:
    running = lab(TOPOLOGY)
    whole = counter(running, "sdn_convergence_seconds_count", stage="whole")
    flows = counter(running, "sdn_convergence_seconds_count", stage="flows")
    eventually(lambda: (flows(), whole()) == (1, 1))
    before = value(running, "sdn_convergence_seconds_sum", stage="flows")
    assert 0 < before < value(running, "sdn_convergence_seconds_sum", stage="whole")
    for number in (1, 2):
        running.apply({**TOPOLOGY, "nodes": {**TOPOLOGY["nodes"], f"e{number}": {"network": "web"}}})
        eventually(lambda expected=number: (flows(), whole()) == (1 + expected, 1 + expected))
    took = value(running, "sdn_convergence_seconds_sum", stage="flows") - before
    assert 0 < took <= sum(result.seconds for result in running.results[1:])
    assert value(running, "sdn_revisions_total") == 3
    assert value(running, "sdn_revision") == running.model.revision


def test_a_process_that_comes_up_later_tells_the_same(running: Lab) -> None:
    """Of what the store remembers: of two servers, one of which has seen it all happen."""
    counters = ("sdn_convergence", "sdn_revisions", "sdn_drift")
    running.ofctl("hv1", "del-flows", "table=0,in_port=1")
    eventually(lambda: value(running, "sdn_drifts_unrepaired") == 0)
    with serving(running, "--listen", "127.0.0.1:0") as (_, (url,)):
        late = httpx.get(f"{url}/metrics").text

        def told(of: str) -> list[str]:
            return [line for line in of.splitlines() if line.startswith(counters)]

        eventually(lambda: told(text(running)) == told(httpx.get(f"{url}/metrics").text))
        assert told(late)


def test_promtool_has_nothing_to_say(running: Lab) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=text(running), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_switch_that_hangs_holds_nobody_up(running: Lab) -> None:
    with stopped(daemon(running, "hv2", "ovs-vswitchd")):
        up = counter(running, "sdn_counters_up", chassis="hv2")
        eventually(lambda: up() == 0)
        assert value(running, "sdn_counters_up", chassis="hv1") == 1
        assert value(running, "sdn_port_receive_packets_total", node="a") >= 0
        assert value(running, "sdn_scrape_duration_seconds") < 2 * PATIENCE + 1
    eventually(lambda: up() == 1)


def test_the_counters_stream(running: Lab) -> None:
    with client(running) as asked, asked.stream("GET", "/v1/counters/stream?interval=0.5") as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        first = json.loads(next(lines)[6:])
        assert set(first["ports"]) == {"a:eth0", "b:eth0", "c:eth0", "d:eth0"}
        assert set(first["tunnels"]) >= {"hv1:vxlan", "hv2:vxlan", "hv3:vxlan:web"}
        assert set(first["uplinks"]) >= {"hv1--office"}
        assert first["down"] == []
        send(running, "a", "b")
        received, by_rate = first["ports"]["b:eth0"][2], 0.0
        for line in lines:
            event = json.loads(line[6:])
            if "b:eth0" not in event["ports"]:
                continue
            row = dict(zip(event["columns"], event["ports"]["b:eth0"], strict=True))
            by_rate += row["rx_bytes_rate"] * event["seconds"]
            if row["rx_bytes"] - received >= MANY * SIZE:
                break
    assert row["rx_bytes"] - received <= MANY * SIZE + NOISE * 100
    assert by_rate == pytest.approx(row["rx_bytes"] - received, rel=1e-4)


def test_health(running: Lab) -> None:
    with client(running) as asked:
        assert asked.get("/healthz").json() == {"healthy": True, "reasons": []}
        assert asked.get("/readyz").json()["ready"] is True
        with stopped(pid_of(running, "store")):
            answer = asked.get("/healthz")
            assert answer.status_code == 503
            assert "does not answer" in answer.json()["reasons"][0]
        assert asked.get("/healthz").status_code == 200


def test_a_lab_that_is_behind_is_not_ready(running: Lab) -> None:
    with client(running) as asked:
        with stopped(pid_of(running, "controller")):
            asked.patch("/v1/ports/a:eth0", json={"spoof_guard": False}).raise_for_status()
            answer = asked.get("/readyz")
            assert (answer.status_code, answer.json()["ready"]) == (503, False)
            assert answer.json()["confirmed"] < answer.json()["revision"]
            assert any("are not confirmed" in reason for reason in answer.json()["reasons"])
        eventually(lambda: asked.get("/readyz").status_code == 200)
        asked.patch("/v1/ports/a:eth0", json={"spoof_guard": True}).raise_for_status()


# ── the dashboard ──


SOMETIMES = ("> 0", "== 0", "sdn_guest", "sdn_uplink")
"""What of its expressions need not have data in a lab where nothing is wrong."""


def queries(lab: str) -> list[str]:
    """Every expression, with the variables as Grafana fills them in."""
    dashboard = json.loads((ROOT / "dashboards" / "sdn.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    found += [each["expr"] for each in dashboard["annotations"]["list"] if "expr" in each]
    filled = {"$lab": lab, "$chassis": ".*", "$window": "5m", "$__rate_interval": "4s", "$__range": "5m"}
    filled["$__interval"] = "4s"
    for name, content in filled.items():
        found = [each.replace(name, content) for each in found]
    return found


@pytest.mark.lab("prometheus")
def test_the_dashboard_has_data(running: Lab, tmp_path: Path) -> None:
    with serving(running, "--listen", "127.0.0.1:0") as (_, (url,)), scraping(url, tmp_path) as prometheus:
        nodes = {**TOPOLOGY["nodes"], "late": {"network": "web"}}
        running.apply({**TOPOLOGY, "nodes": nodes})
        running.ofctl("hv1", "del-flows", "table=0,in_port=1")
        send(running, "a", "b")
        eventually(lambda: prometheus.value("sum(increase(sdn_drifts_total[1m]))") >= 1, within=20)
        eventually(lambda: prometheus.value("sum(increase(sdn_revisions_total[1m]))") >= 1, within=20)
        eventually(lambda: prometheus.value("sdn_drift_repair_seconds_count") >= 1, within=20)
        eventually(lambda: prometheus.value('sdn_convergence_seconds_count{stage="whole"}') >= 1, within=20)
        scrapes = prometheus.value("count_over_time(up[1h])")
        eventually(lambda: prometheus.value("count_over_time(up[1h])") >= scrapes + 4, within=20)
        empty = [query for query in queries(running.name) if not prometheus.query(query)]
        assert [query for query in empty if not any(word in query for word in SOMETIMES)] == []
        assert prometheus.value('label_replace(up, "x", "y", "", "")') == 1
        assert prometheus.query(f'sdn_port_receive_packets_total{{lab="{running.name}",port="b:eth0"}}')
