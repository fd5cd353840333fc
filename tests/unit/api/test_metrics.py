"""What Prometheus is told: by a parser, by promtool where it is installed, and by the dashboard that asks for it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from sdn.api import metrics
from sdn.api.metrics import OPEN, PLAIN, Metrics
from sdn.api.metrics.render import Family, text
from sdn.api.metrics.told import Told, origin
from sdn.api.samples import Samples
from sdn.model.facts import Drift, Facts, FlowFacts
from sdn.model.history import Revision
from sdn.store.commands import KEPT_DRIFTS
from tests.unit.api import observed

DASHBOARD = Path(__file__).parent.parent.parent.parent / "dashboards" / "sdn.json"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def watched() -> Metrics:
    live = observed.live()
    return Metrics(live, observed.samples(live))


def plain(found: bytes) -> dict[str, Metric]:
    return {family.name: family for family in parse_plain(found.decode())}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """Of the only sample of that name that has these labels."""
    samples = [sample for family in families.values() for sample in family.samples if sample.name == name]
    (found,) = [each.value for each in samples if labels.items() <= each.labels.items()]
    return found


# ── the text ──


async def test_both_formats_say_the_same(watched: Metrics) -> None:
    one = [s for family in parse_plain((await watched.text(PLAIN)).decode()) for s in family.samples]
    other = [s for family in parse_open((await watched.text(OPEN)).decode()) for s in family.samples]
    keys = [{(sample.name, tuple(sorted(sample.labels.items()))) for sample in each} for each in (one, other)]
    assert keys[0] == keys[1]
    assert all(sample.labels["lab"] == "watched" for sample in one)


async def test_promtool_has_nothing_to_say(watched: Metrics) -> None:
    """Of names, units and help."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    done = subprocess.run([promtool, "check", "metrics"], input=await watched.text(PLAIN), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


async def test_names_follow_the_conventions(watched: Metrics) -> None:
    for family in plain(await watched.text(PLAIN)).values():
        assert re.fullmatch(r"sdn_[a-z_]+", family.name)
        assert family.documentation.endswith("."), family.name
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name


def test_labels_are_escaped() -> None:
    family = Family("sdn_x", "gauge", "X.", ("what",), [(('a"b\\c\nd',), 1)])
    (found,) = parse_plain(text([family], {"lab": "l"}, open_metrics=False))
    assert found.samples[0].labels == {"lab": "l", "what": 'a"b\\c\nd'}


async def test_by_accept() -> None:
    app = FastAPI()
    live = observed.live()
    app.state.metrics = Metrics(live, observed.samples(live))
    app.include_router(metrics.router())
    async with AsyncClient(transport=ASGITransport(app), base_url="http://sdn") as client:
        curl = await client.get("/metrics")
        prometheus = await client.get("/metrics", headers={"Accept": f"{OPENMETRICS},text/plain;version=0.0.4;q=0.3"})
    assert curl.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert prometheus.headers["content-type"].startswith("application/openmetrics-text")
    assert prometheus.text.endswith("# EOF\n")
    assert prometheus.text.count("# EOF") == 1


# ── what is in it ──


async def test_traffic_is_the_nodes(watched: Metrics) -> None:
    found = plain(await watched.text(PLAIN))
    counted = observed.traffic(observed.model()).ports["a:eth0"]
    labels = {"port": "a:eth0", "node": "a", "network": "web", "chassis": "hv1"}
    assert value(found, "sdn_port_receive_bytes_total", **labels) == counted.rx_bytes
    assert value(found, "sdn_port_transmit_drops_total", **labels) == counted.tx_dropped
    assert value(found, "sdn_port_receive_packets_total", node="vm", network="") >= 0, "a trunk is of no one network"
    assert value(found, "sdn_tunnel_up", chassis="hv2", kind="vxlan") == 0
    assert value(found, "sdn_uplink_receive_packets_total", physnet="office") == 3000


async def test_drops_name_their_rule(watched: Metrics) -> None:
    found = plain(await watched.text(PLAIN))
    guard = {"chassis": "hv1", "table": "spoof_guard", "kind": "chassis", "object": "hv1"}
    assert value(found, "sdn_dropped_packets_total", rule="0 any", **guard) == 5
    assert value(found, "sdn_dropped_bytes_total", rule="60 icmp6,icmpv6_type=134", **guard) == 300
    of_port = [s for s in found["sdn_dropped_packets"].samples if s.labels["kind"] == "port"]
    assert {sample.labels["object"] for sample in of_port} == {"a:eth0", "vm:eth0"}
    assert value(found, "sdn_table_misses_total", table="classify") == 2


async def test_what_a_port_never_dropped_is_not_told() -> None:
    """A thousand ports have thousands of such rules."""
    live = observed.live()
    samples = observed.samples(live)
    told = await samples.losses.get(0)
    for each in told.drops.values():
        each[:] = [stats._replace(packets=0) for stats in each]
    found = plain(await Metrics(live, samples).text(PLAIN))
    assert {sample.labels["kind"] for sample in found["sdn_dropped_packets"].samples} == {"chassis"}


async def test_facts(watched: Metrics) -> None:
    found = plain(await watched.text(PLAIN))
    assert value(found, "sdn_revision") == value(found, "sdn_confirmed_revision") == 3
    assert value(found, "sdn_flows", chassis="hv2") == 40
    assert value(found, "sdn_guests", phase="running") == 1
    assert value(found, "sdn_guest_restarts_total", guest="vm") == 2
    assert value(found, "sdn_ports", state="up") == len(observed.model().ports)
    assert value(found, "sdn_process_up", process="serve") == 1


async def test_a_switch_that_does_not_answer() -> None:
    """Costs its own counters, not the scrape."""
    live = observed.live()
    found = plain(await Metrics(live, Samples(live)).text(PLAIN))
    assert value(found, "sdn_counters_up", chassis="hv1") == 0
    assert value(found, "sdn_flows", chassis="hv1") == 40


async def test_two_scrapers_read_once() -> None:
    live = observed.live()
    samples = observed.samples(live)
    watched = Metrics(live, samples)
    assert await watched.text(PLAIN) is await watched.text(PLAIN)


# ── what is counted as it happens ──


class Counting:
    """A Told of a lab at revision 3, of which the store remembers `known`."""

    def __init__(self, *known: int, drifts: dict[str, Drift] | None = None) -> None:
        self.revisions = {number: Revision(number, 100.0, "", "sdn up x", "") for number in known or (1, 2, 3)}
        self.settle(3, 0.5, 0.2)
        self.model = observed.model()
        self.facts = observed.facts(self.model, drifts=drifts or {})
        self.told = Told("watched", lambda: self.revisions)
        self.told.fold(self.facts)

    def write(self, number: int, by: str = "PATCH /v1/nodes/a") -> None:
        self.revisions = {**self.revisions, number: Revision(number, 200.0, "root", by, "")}
        self.told.fold(self.facts)

    def settle(self, upto: int, seconds: float, flows: float | None) -> None:
        waiting = [each for each in self.revisions.values() if each.number <= upto and not each.settled]
        fresh = [replace(each, settled=True, seconds=seconds, flows_seconds=flows) for each in waiting]
        self.revisions = {**self.revisions, **{each.number: each for each in fresh}}

    def find(self, key: str, drift: Drift) -> None:
        self.facts = replace(self.facts, drifts={**self.facts.drifts, key: drift})
        self.told.fold(self.facts)

    @property
    def text(self) -> bytes:
        return self.told.text(open_metrics=False)

    def value(self, name: str, **labels: str) -> float:
        return value(plain(self.text), name, lab="watched", **labels)


def test_convergence() -> None:
    counting = Counting()
    counting.write(4)
    counting.write(5, "sdn apply x.yaml")
    assert counting.value("sdn_revisions_total", origin="rest") == 1
    assert counting.value("sdn_revisions_total", origin="cli") == 4
    assert counting.value("sdn_convergence_seconds_count", stage="flows") == 3
    counting.settle(5, 1.0, 0.3)
    for _ in range(2):
        counting.told.fold(counting.facts)
    assert counting.value("sdn_convergence_seconds_count", stage="flows") == 5
    assert counting.value("sdn_convergence_seconds_sum", stage="flows") == pytest.approx(3 * 0.2 + 2 * 0.3)
    assert counting.value("sdn_convergence_seconds_bucket", stage="flows", le="0.25") == 3
    assert counting.value("sdn_convergence_seconds_bucket", stage="flows", le="0.5") == 5
    assert counting.value("sdn_convergence_seconds_sum", stage="whole") == pytest.approx(3 * 0.5 + 2 * 1.0)


def test_when_flows_were_confirmed_is_not_always_known() -> None:
    """Of a revision that a version before this one has settled."""
    counting = Counting()
    counting.write(4)
    counting.settle(4, 1.0, None)
    counting.told.fold(counting.facts)
    assert counting.value("sdn_convergence_seconds_count", stage="flows") == 3
    assert counting.value("sdn_convergence_seconds_count", stage="whole") == 4


def test_a_process_that_comes_up_later_tells_the_same() -> None:
    """Prometheus sees no reset, and nothing twice."""
    early = Counting(drifts={"agent-1": Drift("hv1", "flow x", "removed", 10.0)})
    early.find("agent-1", Drift("hv1", "flow x", "removed", 10.0, 10.5, repairs=1, took=(0.5,)))
    early.find("agent-2", Drift("hv2", "flow y", "lost", 20.0, 20.1, repairs=1, took=(0.1,)))
    early.find("agent-2", Drift("hv2", "flow y", "lost", 21.0, times=2, repairs=1, took=(0.1,)))
    early.find("agent-2", Drift("hv2", "flow y", "lost", 24.0, 24.3, times=5, repairs=5, took=(0.1, 0.2, 0.3)))
    early.write(4)
    early.settle(4, 1.0, 0.3)
    early.write(5)
    late = Told("watched", lambda: early.revisions)
    late.fold(early.facts)
    early.told.fold(early.facts)
    assert late.text(open_metrics=False) == early.text


def test_of_a_history_with_a_gap_only_what_follows_is_counted() -> None:
    """Prometheus would take what is lower than before for a reset, and all of it for news."""
    counting = Counting(2, 3, drifts={f"agent-{n}": Drift("hv1", "x", "removed", 1.0) for n in range(KEPT_DRIFTS)})
    assert counting.value("sdn_convergence_seconds_count", stage="flows") == 0
    assert counting.value("sdn_drifts_total", chassis="hv1", how="removed") == 0
    assert counting.value("sdn_revisions_total", origin="cli") == 0
    counting.write(4)
    counting.find("agent-0", Drift("hv1", "x", "removed", 5.0, times=3))
    assert counting.value("sdn_revisions_total", origin="rest") == 1
    assert counting.value("sdn_drifts_total", chassis="hv1", how="removed") == 2


def test_drift() -> None:
    counting = Counting()
    labels = {"chassis": "hv2", "how": "changed"}
    counting.find("controller-2", Drift("hv2", "flow y", "changed", 300.0))
    assert counting.value("sdn_drifts_total", **labels) == 1
    assert counting.value("sdn_drift_repair_seconds_count") == counting.value("sdn_drift_repairs_total", **labels) == 0
    for _ in range(2):
        counting.find("controller-2", Drift("hv2", "flow y", "changed", 300.0, 300.02, repairs=1, took=(0.02,)))
    assert counting.value("sdn_drifts_total", **labels) == 1
    assert counting.value("sdn_drift_repairs_total", **labels) == 1
    assert counting.value("sdn_drift_repair_seconds_sum") == pytest.approx(0.02)


def test_drift_that_is_found_again_counts_again() -> None:
    counting = Counting(drifts={"agent-1": Drift("hv2", "y", "changed", 300.0, 300.02, repairs=1, took=(0.02,))})
    labels = {"chassis": "hv2", "how": "changed"}
    counting.find("agent-1", Drift("hv2", "y", "changed", 304.0, 304.5, times=5, repairs=4, took=(0.02, 0.03, 0.04)))
    assert counting.value("sdn_drifts_total", **labels) == 5
    assert counting.value("sdn_drift_repairs_total", **labels) == 4
    assert counting.value("sdn_drift_repair_seconds_count") == 3
    assert counting.value("sdn_drift_repair_seconds_sum") == pytest.approx(0.09)


def test_sessions_that_break_off() -> None:
    counting = Counting()
    facts = observed.facts(counting.model)
    for connected in (False, False, True, False):
        broken = {**facts.flows, "hv1": FlowFacts(connected, 3)}
        counting.told.fold(Facts(broken, facts.hosts))
    assert counting.value("sdn_session_losses_total", chassis="hv1") == 2
    assert counting.value("sdn_session_losses_total", chassis="hv2") == 0


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("sdn apply web.yaml", "cli"),
        ("sdn rollback 3", "rollback"),
        ("rollback to 3", "rollback"),
        ("PATCH /v1/ports/web1:eth0", "rest"),
        ("", "other"),
        ("a script of mine", "other"),
    ],
)
def test_origins_are_few(command: str, word: str) -> None:
    assert origin(command) == word


# ── the dashboard ──


def expressions() -> list[str]:
    """Every one of its panels', annotations' and variables'."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    found += [each["expr"] for each in dashboard["annotations"]["list"] if "expr" in each]
    return found + [each["definition"] for each in dashboard["templating"]["list"] if "definition" in each]


async def test_the_dashboard_asks_for_what_there_is(watched: Metrics) -> None:
    """Also of what is counted only when it happens: the family is there, with its help."""
    known = set()
    for family in plain(await watched.text(PLAIN)).values():
        known |= {family.name, f"{family.name}_total", f"{family.name}_bucket"}
    asked = {name for expression in expressions() for name in re.findall(r"\bsdn_[a-z_]+", expression)}
    assert len(asked) > 20
    assert asked <= known, asked - known


async def test_the_dashboard_asks_by_labels_that_there_are(watched: Metrics) -> None:
    known = {
        sample.name: set(sample.labels)
        for family in plain(await watched.text(PLAIN)).values()
        for sample in family.samples
    }
    for expression in expressions():
        for name, filters in re.findall(r"\b(sdn_[a-z_]+)\{([^}]*)\}", expression):
            asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", filters))
            assert asked <= known.get(name, asked), (name, asked - known[name])


def test_the_dashboard_fits_together() -> None:
    """Ids are its own, panels do not overlap, and each asks the data source that one has chosen."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    covered: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & covered, panel["title"]
        covered |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    used = {name for each in expressions() for name in re.findall(r"\$([a-z]+)", each)}
    assert used <= variables
