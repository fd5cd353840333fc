"""The page's files: what is served is what is there, and what is vendored is what its list says."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from sdn.api import page
from sdn.api.page import STATIC

VENDOR = STATIC / "vendor"
OURS = sorted((STATIC / "js").rglob("*.js"))


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(page.router())
    with TestClient(app) as made:
        yield made


def test_the_document_names_what_there_is(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    named = re.findall(r'(?:href|src)="([^"]+)"', answer.text)
    assert len(named) > len(OURS)
    for path in (each for each in named if not each.startswith("/v1/")):
        found = client.get(path)
        assert found.status_code == 200, path
        assert "immutable" in found.headers["cache-control"]
    assert not re.search(r"https?://", answer.text), "it works without a network"
    assert not re.search(r"<script>|<style|\son\w+=", answer.text), "nothing inline: the policy forbids it"


def test_it_is_sent_once(client: TestClient) -> None:
    for path in ("/", f"/page/{page.version()}/js/main.js"):
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_compressed_where_that_is_understood(client: TestClient) -> None:
    path = f"/page/{page.version()}/vendor/xterm.js"
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    packed = page.files()["vendor/xterm.js"].compressed
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(packed) == plain.content
    assert len(packed) < len(plain.content) / 3
    assert client.get(path).headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("path", ["js/none.js", "../__init__.py", "js/../../__init__.py", "index.html", ""])
def test_only_its_files(client: TestClient, path: str) -> None:
    assert client.get(f"/page/{page.version()}/{path}").status_code == 404


def test_another_version_is_not_kept(client: TestClient) -> None:
    """A page that is open while sdn is updated gets what there is, and no cache remembers it under a wrong name."""
    assert client.get("/page/0000/js/main.js").headers["cache-control"] == "no-store"


def test_colours_are_those_of_sdn_graph() -> None:
    colours = page.files()["css/colours.css"].content.decode()
    assert ".c0 { stroke: #0072b2 }" in colours
    assert '[data-theme="dark"]' in colours
    assert colours.count("{") == colours.count("}")


def test_libraries_are_what_their_list_says() -> None:
    packages = json.loads((VENDOR / "vendor.json").read_text())
    listed = {file["name"]: file["sha256"] for package in packages for file in package["files"]}
    there = {path.name for path in VENDOR.iterdir()} - {"vendor.json", "README.md"}
    assert there == listed.keys()
    assert {name: hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() for name in listed} == listed
    assert all(package["licence"] in ("MIT", "Apache-2.0") and package["version"] for package in packages)


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
class TestModules:
    def test_it_says_what_it_is(self, path: Path) -> None:
        assert path.read_text().startswith("/**\n * ")

    def test_what_it_imports_is_there(self, path: Path) -> None:
        for wanted in re.findall(r'(?:from|import) ?\(?"(\.[^"]+)"', path.read_text()):
            assert (path.parent / wanted).resolve().is_file(), wanted

    def test_no_text_becomes_markup(self, path: Path) -> None:
        """Names are anybody's: they are text, wherever they are shown."""
        markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML|\beval\(|new Function"
        assert not re.search(markup, path.read_text())
