"""The page with 500 nodes on 20 chassis: from the address typed until all are drawn and one of them is chosen.

In headless Chromium, which has no GPU here; the server has answered before, as it has for a page that is open.
"""

from __future__ import annotations

import time
from statistics import median

from playwright.sync_api import Browser

from tests.bench.labs import lab
from tests.bench.registry import Measured, at_most, bench
from tests.bench.rest import serving
from tests.lab.browser import chromium, opened

NODES, CHASSIS, NETWORKS, ROUNDS = 500, 20, 5, 7
CHOSEN = "n3-50"


def topology() -> str:
    networks = [f"  n{n}: {{segment: {{vxlan: {100 + n}}}, subnet: 10.{n}.0.0/24}}" for n in range(1, NETWORKS + 1)]
    nodes = [f"  n{n}-[1-{NODES // NETWORKS}]: {{network: n{n}}}" for n in range(1, NETWORKS + 1)]
    return "\n".join([f"chassis: {{'hv[1-{CHASSIS}]': {{}}}}", "networks:", *networks, "nodes:", *nodes, ""])


@bench(f"the page with {NODES} nodes, until one is chosen", unit="s", target=at_most(2.0))
def five_hundred_nodes() -> Measured:
    with lab(topology()) as running:
        running.up()
        with serving(running) as address, chromium() as browser:
            times = [_seconds(browser, f"http://{address}") for _ in range(ROUNDS)]
    return Measured(median(times), note=f"{ROUNDS} times, the slowest {max(times):.2f} s")


def _seconds(browser: Browser, url: str) -> float:
    started = time.perf_counter()
    with opened(browser, url) as page:
        page.locator(f'.graph [data-kind=node][data-name="{CHOSEN}"] .card').click(force=True)
        page.locator(".side-inspector h2", has_text=CHOSEN).wait_for()
        taken = time.perf_counter() - started
        assert page.locator(".graph [data-kind=node]").count() == NODES
    return taken
