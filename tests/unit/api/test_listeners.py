"""Where it listens: what is understood, what is refused before it begins, TLS files."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from datapath.errors import ConflictError, FileError
from sdn.api import tls
from sdn.api.listeners import parse
from sdn.cli import serve
from sdn.cli.serve import Wanted

OPEN = Wanted((), None, None, require_token=False)


@pytest.mark.parametrize(
    ("text", "url", "loopback"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/", True),
        ("127.9.9.9:0", "http://127.9.9.9:0/", True),
        ("[::1]:8080", "http://[::1]:8080/", True),
        ("localhost:80", "http://127.0.0.1:80/", True),
        ("0.0.0.0:8080", "http://0.0.0.0:8080/", False),
        ("[::]:8080", "http://[::]:8080/", False),
        ("192.0.2.7:8443", "http://192.0.2.7:8443/", False),
        ("[::ffff:127.0.0.1]:1", "http://[::ffff:7f00:1]:1/", None),
        ("unix:/run/x.sock", "unix:/run/x.sock", False),
    ],
)
def test_addresses(text: str, url: str, loopback: bool | None) -> None:
    found = parse(text)
    assert found.url.lower() in (url, url.replace("7f00:1", "127.0.0.1"))
    assert loopback is None or found.is_loopback is loopback


@pytest.mark.parametrize(
    "text",
    ["", "8080", ":8080", "::1:8080", "[127.0.0.1]:80", "localhost", "lab.example:80", "127.0.0.1:99999", "unix:x"],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(FileError):
        parse(text)


def test_who_needs_a_token(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listener = serve._listener
    assert not listener("127.0.0.1:80", OPEN, None).token
    assert listener("127.0.0.1:80", Wanted((), None, None, require_token=True), None).token
    assert listener("192.0.2.7:80", OPEN, context).token
    assert listener("0.0.0.0:80", OPEN, context).token
    assert not listener("unix:/x", OPEN, context).tls
    for text in ("192.0.2.7:80", "0.0.0.0:80", "[::]:80", "10.0.0.1:80"):
        with pytest.raises(FileError, match="needs TLS") as refused:
            listener(text, Wanted((), None, None, require_token=True), None)
        assert "openssl req -x509" in refused.value.remedy


def certificate(folder: Path, name: str = "sdn") -> tuple[Path, Path]:
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return cert, key


def test_tls_files(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    made = tls.context(cert, key)
    assert made.minimum_version >= ssl.TLSVersion.TLSv1_2
    _, other = certificate(tmp_path, "other")
    with pytest.raises(FileError, match="no certificate and its key"):
        tls.context(cert, other)
    with pytest.raises(FileError, match="there is no file"):
        tls.context(cert, tmp_path / "gone")
    key.chmod(0o640)
    with pytest.raises(FileError, match="may be read by others") as refused:
        tls.context(cert, key)
    assert refused.value.remedy == f"chmod 600 {key}"


def test_an_encrypted_key_does_not_ask_the_terminal(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    command = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", f"{key}.enc"]
    subprocess.run(command, check=True, capture_output=True)
    Path(f"{key}.enc").chmod(0o600)
    with pytest.raises(FileError, match="encrypted"):
        tls.context(cert, Path(f"{key}.enc"))


def test_one_without_the_other(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="belong together"):
        serve._tls(Wanted((), tmp_path / "x", None, require_token=False))


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with serve._places([parse(f"unix:{path}")], None) as (first,):
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(ConflictError), serve._places([parse(f"unix:{path}")], None):
            pass
        assert path.exists()
        first.socket.close()  # as if it had been killed
        with serve._places([parse(f"unix:{path}")], None):
            assert path.is_socket()
    assert not path.exists()
    path.write_text("somebody's file")
    with pytest.raises(ConflictError), serve._places([parse(f"unix:{path}")], None):
        pass
    assert path.read_text() == "somebody's file"
    with serve._places([parse("127.0.0.1:0")], None) as (place,):
        taken = f"127.0.0.1:{place.listener.port}"
        with pytest.raises(ConflictError, match="cannot listen on"), serve._places([parse(taken)], None):
            pass
