"""TLS of the API. Enters: two files. Leaves: a context of TLS 1.2 or newer. Never: a key that others may read."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from datapath.errors import FileError

EXAMPLE: Final = (
    "a certificate of one's own, for the name or address that clients use:\n"
    "    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 "
    "-keyout sdn.key -out sdn.crt -subj /CN={host} -addext subjectAltName={kind}:{host}\n"
    "  then: sdn serve --listen {listen} --tls-cert sdn.crt --tls-key sdn.key"
)


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Raises FileError."""
    for file in (certificate, key):
        if not file.is_file():
            raise FileError(f"there is no file {file}", remedy="--tls-cert and --tls-key name two PEM files")
    mode = key.stat().st_mode & 0o777
    if mode & 0o077:
        raise FileError(f"{key} may be read by others (mode {mode:04o})", remedy=f"chmod 600 {key}")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise FileError(f"{certificate} and {key} are no certificate and its key: {error.reason or error}") from error
    return made


def _no_password() -> str:
    """Else OpenSSL asks on the terminal."""
    raise FileError("the key is encrypted", remedy="openssl pkey -in FILE -out sdn.key writes it without a password")
