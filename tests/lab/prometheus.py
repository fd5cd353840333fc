"""A real Prometheus that scrapes a lab, and is asked as Grafana would.

Enters: where the lab is served. Leaves: answers to PromQL. Never: a file outside of its own directory; it ends with the
`with`.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.lab.processes import eventually

INTERVAL = 1
"""Seconds between two scrapes."""


@dataclass
class Prometheus:
    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query; raises AssertionError with Prometheus' own words where it is wrong."""
        try:
            with urlopen(f"{self.url}/api/v1/query?{urlencode({'query': expression})}") as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except URLError as error:
            said = error.read().decode() if hasattr(error, "read") else error
            raise AssertionError(f"{expression}: {said}") from error
        return found

    def value(self, expression: str) -> float:
        """Of an expression with one series; -1 where it has none."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else -1.0

    def is_up(self) -> bool:
        try:
            return self.value("up") == 1
        except (AssertionError, OSError):
            return False


@contextmanager
def scraping(url: str, directory: Path) -> Iterator[Prometheus]:
    """Of `http://host:port`; yields when it has scraped."""
    config = directory / "prometheus.json"  # JSON is YAML
    jobs = [{"job_name": "sdn", "static_configs": [{"targets": [url.removeprefix("http://")]}]}]
    config.write_text(json.dumps({"global": {"scrape_interval": f"{INTERVAL}s"}, "scrape_configs": jobs}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = [
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (directory / "prometheus.log").open("w") as log:
        process = subprocess.Popen(["prometheus", *options], stdout=log, stderr=log)
        try:
            found = Prometheus(f"http://{address}")
            eventually(found.is_up, within=30)
            yield found
        finally:
            process.terminate()
            process.wait(10)
