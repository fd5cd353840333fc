"""The page in Chromium, against a real lab: what it draws is there, and what is done on it is done."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

import sdn.lab
from tests.lab.browser import WAIT, beside, chromium, opened, picture, serving
from tests.lab.conftest import Labs
from tests.lab.labs import Lab, run
from tests.lab.processes import daemon, eventually, stopped
from tests.lab.three import THREE, with_node

pytestmark = [pytest.mark.lab("chromium"), pytest.mark.timeout(300)]

TOPOLOGY = f"""{with_node(THREE, "db2", "hv2")}\
  apart: {{from: web*, to: db*, ping: fail}}
  wrong: {{from: web1, to: db1, ping: ok, within: 1}}
"""
GUEST: dict[str, Any] = {
    "chassis": {"hv1": {"datapath": "linux"}},
    "networks": {"web": {"segment": {"vxlan": 100}, "subnet": "10.50.0.0/24"}},
    "guests": {"vm1": {"chassis": "hv1", "network": "web"}},
}
EXTERNAL = """
chassis: {hv1: {}, tor1: {datapath: external, vtep: 172.31.0.200}}
networks: {web: {segment: {vxlan: 10}, subnets: [10.1.0.0/24, "fd00:10:10::/64"]}}
nodes:
  a-node-with-a-long-name: {network: web, chassis: hv1}
  far1: {network: web, chassis: tor1}
"""
IDLE = with_node(THREE, "db2", "hv2").replace(
    "tests:", "  idle1: {network: web, chassis: hv1}\n  idle3: {network: web, chassis: hv3}\ntests:"
)
MANY = {
    "chassis": {"hv[1-20]": {}},
    "networks": {f"n{i}": {"segment": {"vxlan": 100 + i}, "subnet": f"10.{i}.0.0/24"} for i in range(1, 6)},
    "nodes": {f"n{i}-[1-100]": {"network": f"n{i}"} for i in range(1, 6)},
}


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def running(shared_lab: Labs) -> Lab:
    return shared_lab(TOPOLOGY)


@pytest.fixture(scope="module")
def url(running: Lab) -> Iterator[str]:
    with serving(running) as address:
        yield address


@pytest.fixture
def own(lab: Labs) -> Lab:
    """To be changed."""
    return lab(TOPOLOGY)


@pytest.fixture
def with_guest(lab: Labs) -> Lab:
    return lab(GUEST)


@pytest.fixture
def with_external(lab: Labs) -> Lab:
    return lab(EXTERNAL)


@pytest.fixture
def with_idle(lab: Labs) -> Lab:
    return lab(IDLE)


@pytest.fixture
def many(lab: Labs) -> Lab:
    return lab(MANY)


@contextmanager
def talking(lab: Lab, source: str, target: str) -> Iterator[None]:
    """Pings of 1300 octets, a hundred each second."""
    address = beside(lambda: str(lab.port(target).ips[0]))
    command = ("ip", "netns", "exec", f"sdn-{lab.name}-{source}", "ping", "-q", "-i0.01", "-s1300", address)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as pings:
        try:
            yield
        finally:
            pings.terminate()


def node(page: Page, name: str, kind: str = "node") -> Any:
    return page.locator(f'.graph [data-kind="{kind}"][data-name="{name}"]')


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_lab_is_drawn(running: Lab, url: str, scheme: Any, browser: Browser) -> None:
    with opened(browser, url, scheme=scheme) as page:
        model = beside(lambda: running.model)
        for name in model.nodes:
            expect(node(page, name)).to_be_in_viewport()
            expect(node(page, name).locator("[data-state=up]")).to_have_count(1)
        for name in model.chassis:
            expect(node(page, name, "chassis").first).to_be_in_viewport()
        expect(page.locator(".health")).to_have_text("all up")
        picture(page, f"lab-{scheme}")
        brightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
        assert (brightness > 128) == (scheme == "light")


def test_the_theme_is_chosen_and_kept(url: str, browser: Browser) -> None:
    with opened(browser, url, scheme="light") as page:
        page.click("#theme")
        page.click("#theme")
        expect(page.locator(":root")).to_have_attribute("data-theme", "dark")
        page.reload()
        expect(page.locator(":root")).to_have_attribute("data-theme", "dark")


def test_a_chosen_node_is_told_of(running: Lab, url: str, browser: Browser) -> None:
    """By the mouse, by the keys, by search."""
    port, source = beside(lambda: (running.port("web2"), running.model.nodes["web2"].source))
    with opened(browser, url) as page:
        node(page, "web2").locator(".name").click()
        side = page.locator(".side-inspector")
        expect(side.locator("h2")).to_have_text("web2")
        expect(side).to_contain_text(str(port.ips[0]))
        expect(side).to_contain_text(str(source))
        side.get_by_role("button", name="web2:eth0").first.click()
        expect(side).to_contain_text(str(port.mac))
        page.click("#flows summary")
        expect(side.locator(".flows li").first).to_be_visible()
        picture(page, "port-with-flows")
        page.keyboard.press("Escape")
        expect(side).to_have_count(0)
        page.keyboard.press("g")
        page.keyboard.press("ArrowRight")
        expect(side).to_be_visible()
        page.keyboard.press("/")
        page.keyboard.type("db2")
        page.keyboard.press("Enter")
        expect(side.locator("h2")).to_have_text("db2")


def test_a_network_is_the_same_everywhere(url: str, browser: Browser) -> None:
    """Its colour in a panel is that of its line; chosen by the address, its nodes do not step back with the others."""
    with opened(browser, url, "at=network:web") as page:
        expect(node(page, "web3")).to_have_class(re.compile("is-of-network"))
        expect(node(page, "db1")).not_to_have_class(re.compile("is-of-network"))
        for name, network in (("web1", "web"), ("db1", "db")):
            node(page, name).locator(".name").click()
            expect(page.locator(".side-inspector h2")).to_have_text(name)
            line = page.locator(f'.graph [data-kind=network][data-name="{network}"] > .rail').get_attribute("class")
            expect(page.locator(".side-inspector .swatch path").first).to_have_attribute("class", line or "")


def test_what_others_run_is_not_down(with_external: Lab, browser: Browser) -> None:
    """Nobody here knows how it is; and long names leave room for what is beside them."""
    with serving(with_external) as url, opened(browser, url, "at=network:web") as page:
        expect(page.locator(".health")).to_have_text("all up")
        rows = page.locator(".side-inspector .is-ports tr")
        expect(rows.filter(has_text="far1").locator(".dot")).to_have_count(0)
        for address in rows.locator("td.mono div").all():
            assert address.evaluate("each => each.offsetHeight") < 24, f"{address.inner_text()} is broken"
        picture(page, "others")


def test_keys_alone_lead_to_a_trace(url: str, browser: Browser) -> None:
    """What is opened by a key is typed into, and Escape leads back to the picture."""
    with opened(browser, url) as page:
        page.keyboard.press("t")
        expect(page.locator("#trace-from")).to_be_focused()
        page.keyboard.type("web1")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")  # past the button that swaps them
        page.keyboard.type("web2")
        page.keyboard.press("Enter")
        expect(page.locator("#verdict")).to_have_text("delivered to web2:eth0 on hv2")
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(page.locator(".side-view")).to_have_count(0)
        expect(page.locator(".graph")).to_be_focused()


def test_counters_and_a_line_of_them(running: Lab, url: str, browser: Browser) -> None:
    with opened(browser, url, "at=node:web1") as page:
        expect(page.locator(".sparkline")).to_be_visible(timeout=WAIT)
        target = beside(lambda: str(running.port("web2").ips[0]))
        before = page.locator(".traffic-box").inner_text()
        running.execute("web1", "ping", "-c3", "-i0.2", "-s1000", target)
        expect(page.locator(".traffic-box")).not_to_have_text(before)
        page.wait_for_selector(".traffic path", state="attached")
        picture(page, "traffic")


def test_tunnels_are_counted_too(running: Lab, url: str, browser: Browser) -> None:
    with opened(browser, url, "at=chassis:hv1") as page:
        tunnels = page.get_by_role("table", name="tunnels and uplinks")
        expect(tunnels.get_by_text("hv1:vxlan")).to_be_visible()
        expect(tunnels.get_by_text("hv1:nvgre")).to_be_visible()
        expect(tunnels.get_by_text("hv2:vxlan")).to_have_count(0)
        sent = tunnels.get_by_role("row").filter(has_text="hv1:vxlan").locator(".number").first
        before = sent.get_attribute("title") or ""
        target = beside(lambda: str(running.port("web2").ips[0]))
        running.execute("web1", "ping", "-c", "20", "-i", "0.05", "-q", target)
        expect(sent).not_to_have_attribute("title", before)
        picture(page, "tunnels")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_carry_where_the_packets_go(with_idle: Lab, scheme: Any, browser: Browser) -> None:
    """From hv1 to hv3: between the chassis and along the underlay, and to no port that has no part in it."""
    lab = with_idle
    with serving(lab) as url, opened(browser, url, scheme=scheme) as page, talking(lab, "web1", "web3"):
        thick, graph = "[style*=stroke-width]", page.locator(".graph")
        tunnel = graph.locator(f'[data-name=web] > .tunnel[data-beyond="hv3"]{thick}')
        for port in ("web1:eth0", "web3:eth0"):
            expect(graph.locator(f'[data-kind=port][data-name="{port}"] > .rail{thick}')).to_have_count(1)
        expect(tunnel).to_have_count(1)
        for chassis, carries in (("hv1", 1), ("hv2", 0), ("hv3", 1)):
            expect(graph.locator(f'[data-kind=underlay] > [data-foot="{chassis}"]{thick}')).to_have_count(carries)
        expect(graph.locator(f'[data-kind=underlay] > .bar[data-beyond="hv3"]{thick}')).to_have_count(1)
        picture(page, f"traffic-between-{scheme}")
        for chassis in ("hv1", "hv3"):
            assert graph.locator(f'[data-name="{chassis}"] > [data-rail=web]{thick}').count()
            branch = f'[data-name="{chassis}"] > [data-rail=web][data-beyond="idle{chassis[-1]}:eth0"]'
            expect(graph.locator(branch).first).to_be_attached()
            expect(graph.locator(branch + thick)).to_have_count(0)
        for idle in ("[data-rail=db]", "[data-name=db] > .tunnel", '[data-name="hv2"] > [data-rail]'):
            expect(graph.locator(f"{idle}{thick}")).to_have_count(0)
        for port in ("idle1:eth0", "idle3:eth0", "web2:eth0", "db1:eth0"):
            expect(graph.locator(f'[data-name="{port}"] > .rail{thick}')).to_have_count(0)


def test_a_trace_is_drawn(url: str, browser: Browser) -> None:
    with opened(browser, url, "view=trace") as page:
        page.fill("#trace-from", "web1")
        page.fill("#trace-to", "web2")
        page.keyboard.press("Enter")
        expect(page.locator("#verdict")).to_have_text("delivered to web2:eth0 on hv2")
        expect(page.locator(".graph svg:not(.is-dropped) .route-line")).to_have_count(1)
        expect(page.locator(".route-badge")).to_have_count(2)
        assert page.locator(".hops > li").first.locator(".table").all_inner_texts()[:2] == ["classify", "spoof_guard"]
        picture(page, "trace")
        page.fill("#trace-to", "db2")
        page.keyboard.press("Enter")
        expect(page.locator(".graph svg.is-dropped .route-cross")).to_have_count(1)
        expect(page.locator("#verdict")).to_contain_text("share no network")
        picture(page, "trace-dropped")
        page.fill("#trace-to", "nobody")
    with opened(browser, url, "view=trace", expect=(422,)) as page:
        page.fill("#trace-from", "web1")
        page.fill("#trace-to", "nobody")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("there is no node or port 'nobody'")


def test_tests_are_a_matrix_with_reasons(url: str, browser: Browser) -> None:
    with opened(browser, url, "view=tests") as page:
        page.click("#run-tests")
        expect(page.get_by_text("1 of 3 failed")).to_be_visible()
        expect(page.locator(".cell.is-lost").first).to_be_visible()
        expect(page.locator(".explanation")).to_contain_text("share no network")
        picture(page, "tests")
        page.get_by_role("button", name="web", exact=True).click()
        expect(page.locator(".matrix .cell.is-reaches")).to_have_count(6)
        page.locator(".rail-nav").get_by_text("Events").click()
        expect(page.locator('[data-event="test.done"]').last).to_be_visible()
        page.wait_for_timeout(500)  # nothing tells that nothing is read because of it
        expect(page.locator(".revision")).to_have_text("revision 1")


def test_every_node_to_every_other(url: str, browser: Browser) -> None:
    """Five nodes in two networks: each reaches those of its own, and the file says that one shall reach further."""
    with opened(browser, url, "view=tests") as page:
        page.click("#run-matrix")
        mesh = page.get_by_role("table", name="every node: who reaches whom")
        expect(mesh.locator(".cell")).to_have_count(20)
        expect(mesh.locator(".cell.is-reaches")).to_have_count(8)
        expect(mesh.get_by_role("button", name="web1 to web3 reaches, as it shall")).to_be_visible()
        expect(mesh.get_by_role("button", name="web1 to db1 does not reach, though it shall")).to_be_visible()
        expect(mesh.get_by_role("button", name="web2 to db1 does not reach, as it shall")).to_be_visible()
        picture(page, "every-node")
        mesh.get_by_role("button", name="web1 to web3").click()
        expect(page.get_by_role("heading", name="Trace")).to_be_visible()


def test_an_edit_is_planned_and_applied(own: Lab, browser: Browser) -> None:
    """And rolled back, and another page that is open sees it all."""
    with serving(own) as url, opened(browser, url) as other, opened(browser, url, "view=edit") as page:
        text = page.locator(".editor textarea")
        expect(text).to_have_value(re.compile("web3"))
        entry = "nodes:\n  web4: {network: web, chassis: hv2}\n"
        text.fill(text.input_value().replace("nodes:\n", entry, 1))
        page.click("#plan")
        expect(page.locator(".steps .is-add").first).to_contain_text("web4")
        expect(page.locator(".flow-counts")).to_contain_text("hv2")
        picture(page, "plan")
        page.click("#apply")
        expect(page.locator("#applied")).to_contain_text("revision 2")
        assert "web4" in beside(lambda: own.model).nodes
        for each in (page, other):
            expect(node(each, "web4")).to_have_count(1)
        beside(lambda: own.ping("web1", "web4"))
        picture(page, "applied")
        page.keyboard.press("Escape")
        page.locator(".rail-nav").get_by_text("History").click()
        expect(page.locator(".revisions > li")).to_have_count(2)
        page.locator(".revision-head").nth(1).click()
        page.get_by_role("button", name="Roll back to 1").click()
        picture(page, "history")
        page.locator(".confirm .danger").click()
        expect(node(page, "web4")).to_have_count(0)
        expect(page.locator(".revisions > li")).to_have_count(3)
        assert "web4" not in beside(lambda: own.model).nodes


def test_a_mistake_is_shown_at_its_line(running: Lab, url: str, browser: Browser) -> None:
    before = beside(lambda: running.model.revision)
    with opened(browser, url, "view=edit", expect=(422,)) as page:
        text = page.locator(".editor textarea")
        expect(text).to_have_value(re.compile("web3"))
        wrong = text.input_value().replace("network: web", "network: wob", 1)
        text.fill(wrong)
        page.click("#plan")
        line = wrong[: wrong.index("network: wob")].count("\n") + 1
        expect(page.locator(".gutter .is-wrong")).to_have_text(str(line))
        expect(page.locator(".mistakes")).to_contain_text("unknown network 'wob'")
        expect(page.locator("#apply")).to_be_disabled()
        picture(page, "mistake")
    assert beside(lambda: running.model.revision) == before


def test_drift_is_told_as_it_happens(running: Lab, url: str, browser: Browser) -> None:
    with opened(browser, url, "view=events", scheme="dark") as page:
        running.ofctl("hv1", "del-flows")
        expect(page.locator('[data-event="drift.found"]').first).to_be_visible()
        expect(page.locator('[data-event="drift.repaired"]').first).to_be_visible()
        picture(page, "events")
        page.locator(".chip", has_text="drift").click()
        expect(page.locator('[data-event="drift.found"]')).to_have_count(0)


def test_somebody_elses_flow_is_marked(own: Lab, browser: Browser) -> None:
    """In the panel of its chassis, and where a traced packet ends in it."""
    own.ofctl("hv2", "add-flow", "cookie=0x7b,priority=40000,icmp,actions=drop")
    with serving(own) as url, opened(browser, url, "view=trace&at=chassis:hv2") as page:
        expect(page.locator(".side-inspector .notice")).to_contain_text("1 flow is not the lab's")
        page.fill("#trace-from", "web1")
        page.fill("#trace-to", "web2")
        page.keyboard.press("Enter")
        expect(page.locator("#verdict")).to_contain_text("dropped on hv2 in table classify by a flow that is not the")
        expect(page.locator(".tables .warn")).to_have_text("not ours, cookie 0x7b")
        picture(page, "foreign-flow")


def test_a_switch_that_hangs_is_shown(own: Lab, browser: Browser) -> None:
    """Before its session is given up; and when it goes on, so does the lab."""
    with serving(own) as url, opened(browser, url, "at=chassis:hv2") as page:
        summary = page.locator(".side-inspector .summary .state")
        expect(summary).to_have_text("connected")
        with stopped(beside(lambda: daemon(own, "hv2", "ovs-vswitchd"))):
            expect(summary).to_have_text("does not answer", timeout=WAIT)
            expect(page.locator(".side-inspector .failure")).to_contain_text("the switch does not answer")
            expect(node(page, "hv2", "chassis").locator("[data-state=down]").first).to_be_visible()
            assert "hv2: the switch does not answer" in beside(lambda: sdn.lab.status(own.name).troubles)
            picture(page, "hung")
        expect(summary).to_have_text("connected", timeout=2 * WAIT)


def test_a_server_that_goes_is_said_and_comes_back(running: Lab, browser: Browser) -> None:
    with serving(running) as url:
        port = url.rpartition(":")[2]
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector(".health.is-good, .health.is-bad")
    expect(page.locator(".banner")).to_contain_text("Not connected", timeout=WAIT)
    expect(page.locator(".graph svg")).to_have_count(1)
    picture(page, "not-connected")
    with serving(running, f"127.0.0.1:{port}"):
        expect(page.locator(".banner")).to_have_count(0, timeout=WAIT)
        context.close()


def test_a_guests_console_is_typed_into(with_guest: Lab, browser: Browser) -> None:
    with serving(with_guest) as url, opened(browser, url, "at=guest:vm1") as page:
        page.get_by_role("button", name="Console", exact=True).click()
        page.wait_for_selector(".xterm-rows")
        expect(page.locator(".console-note")).to_have_count(0)
        page.click(".xterm")
        page.keyboard.type("\necho typed-$((6*7)) | tee /tmp/typed\n")
        expect(page.locator(".xterm-rows")).to_contain_text("typed-42")
        eventually(lambda: said(with_guest) == "typed-42")
        picture(page, "console")
        page.click(".xterm")
        page.keyboard.type("poweroff -f\n")
        expect(node(page, "vm1", "guest")).to_contain_text("off")
        expect(page.locator(".side-inspector .state")).to_contain_text("off")
        picture(page, "guest-off")


def said(lab: Lab) -> str:
    return beside(lambda: lab.execute("vm1", "sh", "-c", "cat /tmp/typed || true")).strip()


def test_hostile_names_are_only_names(url: str, browser: Browser) -> None:
    """What the file may hold goes to the page as text; sdn's own checks are no part of this."""
    with opened(browser, url, "at=node:%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E") as page:
        expect(page.locator(".side-inspector")).to_contain_text("There is no node <img src=x onerror=alert(1)>")
        assert page.locator(".side-inspector img").count() == 0


def test_500_nodes_are_usable(many: Lab, browser: Browser) -> None:
    with serving(many) as url, opened(browser, url) as page:
        node(page, "n3-50").locator(".card").click(force=True)
        expect(page.locator(".side-inspector h2")).to_have_text("n3-50")
        assert page.locator(".graph [data-kind=node]").count() == 500
        picture(page, "500-nodes")


def test_a_token_is_asked_for(running: Lab, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one who may only read is told what they may not."""
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    made = run(sys.executable, "-m", "sdn.cli.main", "token", "create", "reader", "--role", "read")
    (token,) = re.findall(r"\bsdn_[\w-]+", made)
    with serving(running, "127.0.0.1:0", "--require-token") as url:
        page = browser.new_context().new_page()
        page.goto(f"{url}/#view=tests")
        field = page.get_by_role("textbox", name="Token")
        field.fill("sdn_wrong")
        field.press("Enter")
        expect(page.get_by_role("alert").first).to_contain_text("no token of this machine")
        picture(page, "token")
        field.fill(token)
        field.press("Enter")
        expect(node(page, "web1")).to_be_visible()
        page.click("#run-tests")
        expect(page.get_by_role("alert")).to_contain_text("this needs role operate")
        page.context.close()
