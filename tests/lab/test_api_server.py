"""The API's process: not there until somebody asks, back when it was killed, gone with the lab. And `sdn serve`."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import sdn.lab
from sdn.lab import processes
from sdn.lab.processes import Process
from tests.lab.conftest import Labs
from tests.lab.labs import ROOT, Lab
from tests.lab.processes import await_end, eventually, kill, pid_of, whole

pytestmark = pytest.mark.lab("curl", "openssl")

TOPOLOGY: dict[str, Any] = {
    "chassis": {"hv1": {}},
    "networks": {"lan": {"segment": {"vxlan": 100}, "subnet": "10.7.0.0/24"}},
    "nodes": {"n[1-2]": {"network": "lan"}},
}
PORT = "/v1/ports/n1:eth0"
Curl = Callable[..., tuple[int, str]]
"""Of a path and curl's arguments: the status, and headers with body."""


@pytest.fixture
def running(lab: Labs) -> Lab:
    return lab(TOPOLOGY)


def curl(url: str, *arguments: str) -> tuple[int, str]:
    """Status 0 where there is no answer."""
    command = ["curl", "--silent", "--include", "--max-time", "20", *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    heads = re.findall(r"^HTTP/1.1 (\d+)", done.stdout, re.MULTILINE)
    return int(heads[-1]) if heads else 0, done.stdout


def ask(lab: Lab, path: str, *arguments: str) -> tuple[int, str]:
    return curl(f"http://sdn{path}", "--unix-socket", str(lab.run.api_socket), *arguments)


def api(lab: Lab) -> Process:
    return next(each for each in processes.read(lab.run.processes) if each.name == "api")


@contextmanager
def listening(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """curl on an event stream, when the first of it has come."""
    with subprocess.Popen(
        ["curl", "--silent", "--no-buffer", "--include", *arguments], stdout=subprocess.PIPE
    ) as stream:
        try:
            assert stream.stdout is not None
            assert select.select([stream.stdout], [], [], 20)[0]
            assert b"200 OK" in os.read(stream.stdout.fileno(), 1 << 16)
            yield stream
        finally:
            stream.kill()


# ── the process ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_starts_when_somebody_asks(running: Lab) -> None:
    before = api(running)
    assert (before.pid, before.waits, before.restarts) == (None, True, 0)
    assert not (running.run.logs / "api.log").exists()
    assert whole(running)
    assert running.run.api_socket.stat().st_mode & 0o777 == 0o600
    status, answer = ask(running, PORT)
    assert (status, '"name":"n1:eth0"' in answer) == (200, True)
    first = api(running)
    assert (first.alive, first.waits, first.restarts) == (True, False, 0)
    assert ask(running, PORT)[0] == 200
    assert api(running) == first
    assert whole(running)


def test_one_who_only_looks_whether_it_is_there_is_enough(running: Lab) -> None:
    """And one who has gone again when it answers does no harm."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(running.run.api_socket))
    eventually(lambda: api(running).alive)
    assert ask(running, PORT)[0] == 200


def test_killed_it_answers_the_next_who_asks(running: Lab) -> None:
    ask(running, PORT)
    for restarts in range(1, 4):
        killed = kill(pid_of(running, "api"))
        assert ask(running, PORT)[0] == 200
        assert api(running).pid != killed
        assert api(running).restarts == restarts
    assert whole(running)


def test_it_ends_with_the_supervisor_and_starts_under_the_next(running: Lab) -> None:
    ask(running, PORT)
    before = pid_of(running, "api")
    kill(pid_of(running, "supervisor"))
    await_end(before)
    assert ask(running, PORT)[0] == 0
    running.up(TOPOLOGY)
    assert api(running).waits
    assert ask(running, PORT)[0] == 200
    assert pid_of(running, "api") != before


def test_open_streams_do_not_delay_down(running: Lab) -> None:
    socket_file = str(running.run.api_socket)
    with listening("--unix-socket", socket_file, "http://sdn/v1/events") as stream:
        started = time.monotonic()
        running.down()
        assert time.monotonic() - started < 2.0
        assert stream.wait(5) == 0, "it ended as an answer ends"
    assert not running.run.path.exists()


def test_writes_are_audited(running: Lab) -> None:
    tag = ["--request", "PATCH", "--data", '{"spoof_guard": false}', "--header", "Content-Type: application/json"]
    status, _ = ask(running, PORT, *tag, "--header", "Sdn-Author: ann")
    assert status == 200
    (line,) = [json.loads(line) for line in (running.run.logs / "audit.log").read_text().splitlines()]
    revision = running.model.revision
    assert line == {**line, "caller": "ann", "method": "PATCH", "path": PORT, "status": 200, "revision": revision}
    done = sdn_command("logs", "audit", "--lab", running.name)
    assert '"caller":"ann"' in done.stdout


# ── sdn serve ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDN_POOL", str(tmp_path / "pool"))
    return tmp_path / "pool"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    cert, key = str(tmp_path / "sdn.crt"), str(tmp_path / "sdn.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-keyout", key, "-out", cert, "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return cert, key


def sdn_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sdn.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)


def token(name: str, role: str = "read", expires: str = "1h") -> str:
    done = sdn_command("token", "create", name, "--role", role, "--expires", expires, "-o", "json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["token"])


def bearer(text: str) -> tuple[str, str]:
    return "--header", f"Authorization: Bearer {text}"


@contextmanager
def serving(lab: Lab, *arguments: str, code: int = 0) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The process and its URLs, when it says that it serves; ended by ^C, if not by itself with `code`."""
    command = [sys.executable, "-u", "-m", "sdn.cli.main", "serve", "--lab", lab.name, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as server:
        try:
            assert server.stdout is not None
            urls: list[str] = []
            said = ""
            wanted = max(1, arguments.count("--listen"))
            while len(urls) < wanted:
                line = server.stdout.readline()
                said += line
                assert line, f"it ended: {said}"
                if found := re.match(r"^  ((?:https?://|unix:)\S+)$", line):
                    urls.append(found[1].rstrip("/"))
            yield server, urls
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(5) == code


def test_served_on_loopback(running: Lab, pool: Path) -> None:
    with serving(running, "--listen", "127.0.0.1:0", "--listen", "[::1]:0") as (_, urls):
        for url in urls:
            assert curl(url + PORT)[0] == 200
            assert curl(url + PORT, "--header", "Host: evil.example")[0] == 403
            assert curl(url + PORT, "--header", "Origin: http://evil.example")[0] == 403
            assert curl(url + PORT, "--header", f"Origin: {url}")[0] == 200
            assert curl(url + PORT, *bearer("sdn_0_0"))[0] == 401
    assert pid_of(running, "api") == 0, "the lab's own was not needed"


def test_other_users_of_the_machine_need_a_token(running: Lab, pool: Path) -> None:
    somebody: dict[str, Any] = {"capture_output": True, "text": True, "check": False, "user": 65534, "group": 65534}
    with serving(running, "--listen", "127.0.0.1:0", "--listen", "[::1]:0") as (_, urls):
        for url in urls:
            asked = ["curl", "--silent", "--include", url + PORT]
            refused = subprocess.run(asked, **somebody).stdout
            assert refused.startswith("HTTP/1.1 403")
            assert "--require-token" in refused
            known = [*asked, *bearer(token(f"somebody{urls.index(url)}"))]
            assert subprocess.run(known, **somebody).stdout.startswith("HTTP/1.1 200")
    told = [json.loads(line) for line in (running.run.logs / "refused.log").read_text().splitlines()]
    assert [(line["caller"], line["status"]) for line in told] == [("", 403)] * 2
    assert not (running.run.logs / "audit.log").exists()


def test_served_to_others_over_tls(running: Lab, pool: Path, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    with serving(running, "--listen", "0.0.0.0:0", "--tls-cert", cert, "--tls-key", key) as (_, (url,)):
        port = url.rpartition(":")[2]
        place, trusting = f"https://localhost:{port}", ("--cacert", cert)
        reader = token("reader")
        assert curl(place + PORT, *trusting)[0] == 401
        assert curl(place + PORT, *trusting, *bearer(reader[:-3] + "AAA"))[0] == 401
        assert curl(place + PORT, *trusting, *bearer(reader))[0] == 200
        status, answer = curl(place + PORT, *trusting, *bearer(reader), "--request", "DELETE")
        assert (status, "this needs role operate" in answer) == (403, True)
        expired = token("expired", "admin", "1m")
        expire(pool / "tokens.json", "expired")
        status, answer = curl(place + PORT, *trusting, *bearer(expired))
        assert (status, "token expired expired at" in answer) == (401, True)
        assert curl(place + "/healthz", *trusting)[0] != 401
        assert curl(place + PORT)[0] == 0, "nobody vouches for the certificate"
        assert curl(f"http://localhost:{port}{PORT}", *bearer(reader))[0] == 0, "no answer without TLS"
        assert curl(place + PORT, *trusting, *bearer(reader), "--tls-max", "1.1")[0] == 0
        assert curl(place + PORT, *trusting, *bearer(reader), "--tlsv1.2", "--tls-max", "1.2")[0] == 200
        with listening(*trusting, *bearer(reader), f"{place}/v1/events") as stream:
            assert sdn_command("token", "revoke", "reader").returncode == 0
            assert stream.wait(5) == 0
        assert curl(place + PORT, *trusting, *bearer(reader))[0] == 401


def expire(file: Path, name: str) -> None:
    told = json.loads(file.read_text())
    for row in told["tokens"]:
        if row["name"] == name:
            row["expires"] = time.time() - 1
    fresh = file.with_suffix(".edited")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(told))
    fresh.replace(file)


def test_the_end_of_serve_does_not_wait_for_streams(running: Lab, pool: Path) -> None:
    with serving(running, "--listen", "127.0.0.1:0") as (server, (url,)), listening(f"{url}/v1/events") as stream:
        started = time.monotonic()
        server.send_signal(signal.SIGINT)
        server.wait(5)
        assert time.monotonic() - started < 2.0
        assert stream.wait(5) == 0


def test_what_is_not_served(running: Lab, pool: Path, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    refused = sdn_command("serve", "--lab", running.name, "--listen", "0.0.0.0:0", "--require-token")
    assert refused.returncode == 2
    assert "needs TLS" in refused.stderr
    assert "openssl req" in refused.stderr
    Path(key).chmod(0o644)
    loose = ("--tls-cert", cert, "--tls-key", key)
    refused = sdn_command("serve", "--lab", running.name, "--listen", "127.0.0.1:0", *loose)
    assert refused.returncode == 2
    assert f"chmod 600 {key}" in refused.stderr
    assert sdn_command("serve", "--lab", "nosuchlab").returncode == 2


def test_the_lab_may_go_while_it_is_served(running: Lab, pool: Path) -> None:
    """Nothing of the lab is kept from going; what is told of it ends, and says so."""
    with (
        serving(running, "--listen", "127.0.0.1:0", code=1) as (server, (url,)),
        listening(f"{url}/v1/events?kind=port.*") as stream,
    ):
        assert curl(url + PORT)[0] == 200
        kill(pid_of(running, "store"))
        eventually(lambda: pid_of(running, "store") and curl(url + "/healthz")[0] == 200)
        assert sdn.lab.down(running.name)
        assert server.wait(5) == 1
        assert stream.wait(5) == 0, "it ended as an answer ends"
        assert server.stdout is not None
        assert f"lab {running.name} is down" in server.stdout.read()
        assert stream.stdout is not None
        assert f"lab {running.name} is down" in stream.stdout.read().decode()
        running.up(TOPOLOGY)
        assert curl(url + PORT)[0] == 0
