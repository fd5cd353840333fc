"""The page in the browser: `/` and what it loads, from files beside this module.

Enters: a path. Leaves: the file, compressed where that is understood. Never: a file from elsewhere, and nothing of the
lab: the page asks the REST API as everybody does.

All files are served below a name that is the hash of them all, so that a browser may keep them for ever and never mixes
two versions; only the document at `/` is asked for again each time, and that costs a comparison of its ETag. What a
browser may do with them (Content-Security-Policy) the gate says, for every answer.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from sdn.graph.style import themed

STATIC: Final = Path(__file__).parent / "static"
_ALWAYS: Final = "public, max-age=31536000, immutable"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".md": "text/markdown; charset=utf-8",
}


@dataclass(frozen=True)
class File:
    content: bytes
    media_type: str

    @cached_property
    def compressed(self) -> bytes:
        return gzip.compress(self.content, mtime=0)

    @cached_property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:20]}"'


@cache
def files() -> Mapping[str, File]:
    """By path below /page/HASH/. The colours of the picture come from where `sdn graph` has them, in a layer below the
    page's own rules (CSS Cascading Level 5 section 6.4.3)."""
    found = {
        str(path.relative_to(STATIC)): File(path.read_bytes(), _TYPES.get(path.suffix, "text/plain; charset=utf-8"))
        for path in sorted(STATIC.rglob("*"))
        if path.is_file() and path.name != "index.html"
    }
    colours = themed(":is(.graph svg, .swatch)", '[data-theme="dark"] :is(.graph svg, .swatch)')
    return found | {"css/colours.css": File(f"@layer picture {{\n{colours}}}\n".encode(), _TYPES[".css"])}


@cache
def version() -> str:
    whole = hashlib.sha256()
    for name, file in files().items():
        whole.update(f"{name}\0{file.etag}\0".encode())
    return whole.hexdigest()[:16]


@cache
def document() -> File:
    """What is at `/`: it names every module, so that a browser need not find one by reading another."""
    base = f"/page/{version()}"
    preload = "\n".join(
        f'<link rel="modulepreload" href="{base}/{name}">'
        for name in files()
        if name.startswith("js/") and name.endswith(".js") and name != "js/theme.js"
    )
    text = (STATIC / "index.html").read_text()
    return File(text.replace("{base}", base).replace("{preload}", preload).encode(), _TYPES[".html"])


def router() -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    routes.add_api_route("/", _document, methods=["GET", "HEAD"])
    routes.add_api_route("/page/{edition}/{path:path}", _file, methods=["GET", "HEAD"])
    return routes


async def _document(request: Request) -> Response:
    return _answer(request, document(), {"Cache-Control": "no-cache"})


async def _file(request: Request, edition: str, path: str) -> Response:
    file = files().get(path)
    if file is None:
        return Response("there is no such file; load the page again\n", 404, media_type="text/plain")
    kept = _ALWAYS if edition == version() else "no-store"
    return _answer(request, file, {"Cache-Control": kept})


def _answer(request: Request, file: File, headers: Mapping[str, str]) -> Response:
    more = {**headers, "ETag": file.etag, "Vary": "Accept-Encoding"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=more)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.compressed, 200, {**more, "Content-Encoding": "gzip"}, file.media_type)
    return Response(file.content, 200, more, file.media_type)
