"""The page in a real browser: `sdn serve` on loopback, and headless Chromium that looks at it.

Enters: a running lab. Leaves: the page, opened, and pictures of it in artifacts/page. Never: a mistake of the page that
nobody sees: what it writes to its console or asks for in vain fails the test.

Playwright keeps an event loop running in its thread as long as a browser is open: labs are built before one is opened,
and what is asked of a lab meanwhile is asked `beside` it.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, Literal, TypeVar

from playwright.sync_api import Browser, Page, Response, sync_playwright

from tests.conftest import ARTIFACTS
from tests.lab.labs import ROOT, Lab
from tests.machine.pace import PATIENCE

T = TypeVar("T")

PICTURES: Final = ARTIFACTS / "page"
WAIT: Final = 15_000 * PATIENCE
"""Milliseconds that something may take to appear."""
_SIZE: Final = {"width": 1440, "height": 900}


def beside(function: Callable[[], T]) -> T:
    """What `function` returns, in a thread that has no event loop yet."""
    with ThreadPoolExecutor(1) as other:
        return other.submit(function).result()


@contextmanager
def serving(lab: Lab, listen: str = "127.0.0.1:0", *more: str) -> Iterator[str]:
    """The address of the lab's API and page."""
    command = [sys.executable, "-u", "-m", "sdn.cli.main", "serve", "--lab", lab.name, "--listen", listen]
    command += more
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as server:
        try:
            assert server.stdout is not None
            said = ""
            while not (found := re.search(r"http://\S+", said)):
                line = server.stdout.readline()
                assert line, f"sdn serve ended: {said}"
                said += line
            yield found[0].rstrip("/")
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(10)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's; as root it has no sandbox."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, url: str, at: str = "", scheme: Literal["light", "dark"] = "light", expect: tuple[int, ...] = ()
) -> Iterator[Page]:
    """The page, when the lab is drawn and read. `at` is what follows #, `expect` are statuses that are no mistake."""
    context = browser.new_context(viewport=_SIZE, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(WAIT)
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on("response", lambda answer: mistakes.extend(_mistake(answer, expect)))
    page.on("console", lambda said: mistakes.append(said.text) if _is_mistake(said.type, said.text) else None)
    try:
        page.goto(f"{url}/#{at}")
        page.wait_for_selector(".graph svg [data-kind]")
        page.wait_for_selector(".health.is-good, .health.is-bad")
        yield page
        assert mistakes == []
    except BaseException:
        picture(page, "failed")
        raise
    finally:
        context.close()


def _mistake(answer: Response, expect: tuple[int, ...]) -> Iterator[str]:
    if answer.status >= 400 and answer.status not in expect:
        yield f"{answer.status} {answer.request.method} {answer.url}"


def _is_mistake(kind: str, text: str) -> bool:
    """Chromium writes a line for each answer with an error, which `_mistake` judges."""
    return kind in ("error", "warning") and not text.startswith("Failed to load resource")


def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")
