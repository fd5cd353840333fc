"""Tokens: who may ask from elsewhere, and what. Of this machine, for all its labs.

Enters: names, roles, lifetimes; what a request shows. Leaves: tokens.json in the pool, a Token, or why there is none.
Never: a secret kept. It is shown once, when it is made.

A token is `sdn_<id>_<secret>`. The file has the SHA-256 of the secret. A slow hash (bcrypt, argon2) would add nothing:
those make guessing a chosen password expensive, and 256 random bits are guessed by nobody.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from datapath.errors import ConflictError, FileError, MachineError, SdnError
from datapath.pool import pool
from sdn.api.caller import Role

PREFIX: Final = "sdn"
VERSION: Final = 1
ID_BYTES, SECRET_BYTES = 4, 32
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_NOBODY: Final = hashlib.sha256(b"").hexdigest()
"""What is compared with where there is no such token, so that it takes as long. No secret is empty."""


def tokens_file() -> Path:
    return pool() / "tokens.json"


@dataclass(frozen=True, slots=True)
class Token:
    """Times are seconds since the epoch, `expires` None for one that never does. `sha256` is the secret's, in hex."""

    id: str
    name: str
    role: Role
    created: float
    expires: float | None
    sha256: str

    def is_over(self, now: float) -> bool:
        return self.expires is not None and self.expires <= now


class InvalidTokenError(SdnError):
    """No valid token was shown. The message says no more than whoever has the secret may know."""


# ── making and ending them ────────────────────────────────────────────────────────────────────────────────────────────


def create(name: str, role: Role, lifetime: float | None, file: Path | None = None) -> tuple[Token, str]:
    """A new token, and the one time that its text is known. `lifetime` in seconds, None for ever.

    Raises FileError for such a name, ConflictError where a valid token has it.
    """
    if not NAME.fullmatch(name):
        raise FileError(f"{name!r} is no name for a token", remedy="letters, digits, and . _ @ - after the first")
    now = time.time()
    secret = secrets.token_urlsafe(SECRET_BYTES)
    with _changed(file or tokens_file()) as tokens:
        if any(each.name == name and not each.is_over(now) for each in tokens.values()):
            raise ConflictError(f"there is a token {name} already", remedy=f"sdn token revoke {name}, or another name")
        for over in [each.id for each in tokens.values() if each.name == name]:
            del tokens[over]
        fresh = _unused(tokens)
        expires = None if lifetime is None else now + lifetime
        token = tokens[fresh] = Token(fresh, name, role, now, expires, _digest(secret))
    return token, f"{PREFIX}_{token.id}_{secret}"


def revoke(names: list[str], file: Path | None = None) -> list[Token]:
    """Those that had these names or ids, and are valid no more. Raises FileError where one is nobody's; then none is
    revoked."""
    with _changed(file or tokens_file()) as tokens:
        found = {name: [each for each in tokens.values() if name in (each.name, each.id)] for name in names}
        missing = [name for name, of_name in found.items() if not of_name]
        if missing:
            there = ", ".join(sorted(each.name for each in tokens.values())) or "none"
            raise FileError(f"there is no token {', '.join(missing)}", remedy=f"there are: {there}")
        gone = list({each.id: each for of_name in found.values() for each in of_name}.values())
        for each in gone:
            del tokens[each.id]
    return gone


def every(file: Path | None = None) -> list[Token]:
    """By name, the expired too. Raises FileError and MachineError, as `read`."""
    return sorted(read(file or tokens_file()).values(), key=lambda each: each.name)


def _unused(tokens: Mapping[str, Token]) -> str:
    while (fresh := secrets.token_hex(ID_BYTES)) in tokens:
        pass
    return fresh


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(file: Path) -> dict[str, Token]:
    """By id; empty where there is no file. Raises MachineError where others could have written it or it cannot be read,
    FileError where it is damaged."""
    try:
        with file.open("rb") as opened:
            _must_be_ours(file, os.fstat(opened.fileno()))
            content = opened.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreadable(file, error) from error
    try:
        told = orjson.loads(content)
        if told["version"] != VERSION:
            raise ValueError(f"version {told['version']}, expected {VERSION}")
        return {row["id"]: _token(row) for row in told["tokens"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "move it away: all tokens are void then; make new ones with sdn token create"
        raise FileError(f"{file} is damaged: {error!r}", remedy=remedy) from error


def _unreadable(file: Path, error: OSError) -> MachineError:
    return MachineError("tokens", f"{file} cannot be read: {error.strerror or error}")


def _must_be_ours(file: Path, status: os.stat_result) -> None:
    """Whoever can write it can make tokens."""
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        what = f"{file} is open to others: owner {status.st_uid}, mode {status.st_mode & 0o777:04o}"
        remedy = f"is every token in it yours? then: chown root {file}; chmod 600 {file}"
        raise MachineError("tokens", what, remedy=remedy)


def _token(row: dict[str, Any]) -> Token:
    """Raises ValueError and their like for anything else than `_row` writes."""
    token = Token(**{**row, "role": Role[row["role"].upper()]})
    if not all(isinstance(text, str) for text in (token.id, token.name, token.sha256)):
        raise ValueError(f"token {token.id!r} has no id, name or digest")
    if not all(isinstance(when, int | float) for when in (token.created, token.expires or 0)):
        raise ValueError(f"token {token.id} has no times")
    return token


def _row(token: Token) -> dict[str, Any]:
    return {**asdict(token), "role": token.role.label}


@contextmanager
def _changed(file: Path) -> Iterator[dict[str, Token]]:
    """The tokens, written when the block ends well. One writer at a time; readers see the old or the new file."""
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tokens = read(file)
        yield tokens
        _write(file, tokens)
    finally:
        os.close(lock)


def _write(file: Path, tokens: Mapping[str, Token]) -> None:
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    content = orjson.dumps({"version": VERSION, "tokens": [_row(each) for each in tokens.values()]})
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(descriptor)
    fresh.replace(file)


# ── checking what a request shows ─────────────────────────────────────────────────────────────────────────────────────


class Tokens:
    """The file as it is now: a server asks at each request, and a stat(2) tells whether it was replaced."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or tokens_file()
        self._seen: tuple[int, int, int] | None = (0, 0, 0)
        self._known: dict[str, Token] = {}

    def check(self, text: str) -> Token:
        """The token that `text` is. Raises InvalidTokenError; FileError and MachineError as `read`."""
        known = self._now()
        prefix, _, rest = text.partition("_")
        number, _, secret = rest.partition("_")
        token = known.get(number) if prefix == PREFIX else None
        is_right = hmac.compare_digest(_digest(secret), token.sha256 if token else _NOBODY)
        if token is None or not is_right:
            raise InvalidTokenError("this is no token of this machine", remedy="sdn token create NAME --role read")
        if token.is_over(time.time()):
            assert token.expires is not None
            when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(token.expires))
            raise InvalidTokenError(f"token {token.name} expired at {when}", remedy=f"sdn token create {token.name}")
        return token

    def valid(self, number: str) -> Token | None:
        """The token with this id, if it is valid now."""
        token = self._now().get(number)
        return None if token is None or token.is_over(time.time()) else token

    def _now(self) -> dict[str, Token]:
        try:
            status = os.stat(self._file)
            seen = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        except FileNotFoundError:
            seen = None
        except OSError as error:
            raise _unreadable(self._file, error) from error
        if seen != self._seen:
            self._known = {}  # should it be damaged, the old ones are not valid either
            self._known = read(self._file)
            self._seen = seen
        return self._known
