"""JSON texts out of a byte stream that does not frame them, as OVSDB's JSON-RPC (RFC 7047 section 4) does not. PURE.

Enters: bytes as they arrive. Leaves: parsed values, one by one. Never: a socket.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

GUESSES: Final = 16
"""Wrong guesses at where a message ends after which its brackets are counted."""
_STRUCTURE: Final = re.compile(rb'[\[\]{}"]')
_STRING_END: Final = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SPACE: Final = b" \t\r\n"
_NOT_SPACE: Final = re.compile(rb"[^ \t\r\n]")
_BOUNDARY: Final = re.compile(rb"[}\]][ \t\r\n]*[{\[]")  # within one JSON text it only occurs in strings


class Framer:
    """Cuts a byte stream into JSON objects and arrays, whatever the boundaries of the chunks it arrives in.

    A guess is nearly always right and cheap: a value ends where a bracket closes and the next one opens, or where the
    buffer ends. After a wrong one (such brackets within a string) the brackets outside of strings are counted.
    """

    def __init__(self) -> None:
        self.buffer = b""
        self._reset()

    def _reset(self) -> None:
        self._searched = 0  # bytes in which no value ends and another begins
        self._guesses = 0
        self._counting = False
        self._scanned = 0  # bytes whose brackets are counted
        self._depth = 0

    def feed(self, data: bytes) -> None:
        self.buffer += data

    def next(self) -> Any | None:
        """The next complete value, None if more bytes are needed. Raises ValueError if the stream is not JSON."""
        first = _NOT_SPACE.search(self.buffer)
        if first is None:
            self.buffer = b""
            return None
        if first.group() not in (b"{", b"["):
            raise ValueError(f"neither an object nor an array: {self.buffer[:40]!r}")
        if not self._counting:
            end = self._guess()
            if not end:
                return None
            try:
                return self._take(end)
            except ValueError as error:
                if self._may_continue(end, error):
                    return None
        counted = self._scan()
        return None if counted is None else self._take(counted)

    def _guess(self) -> int:
        """Where the first value probably ends; 0 if it surely has not ended yet."""
        found = _BOUNDARY.search(self.buffer, self._searched)
        if found:
            return found.start() + 1
        end = len(self.buffer.rstrip(_SPACE))
        self._searched = end - 1
        return len(self.buffer) if self.buffer[end - 1] in b"}]" else 0

    def _may_continue(self, guess: int, error: ValueError) -> bool:
        """Whether the text is right so far. A limit on guesses keeps the whole linear."""
        self._guesses += 1
        so_far = guess == len(self.buffer) and str(error).startswith("unexpected end of data")
        self._counting = not so_far or self._guesses == GUESSES
        return so_far

    def _take(self, end: int) -> Any:
        value = orjson.loads(self.buffer[:end])
        self.buffer = self.buffer[end:]
        self._reset()
        return value

    def _scan(self) -> int | None:
        """Where the first value ends, None if not yet. Continues where the previous call stopped."""
        while token := _STRUCTURE.search(self.buffer, self._scanned):
            at = token.start()
            byte = self.buffer[at]
            if byte == 0x22:
                closed = _STRING_END.match(self.buffer, at + 1)
                if closed is None:
                    self._scanned = at
                    return None
                self._scanned = closed.end()
                continue
            self._scanned = at + 1
            self._depth += 1 if byte in b"{[" else -1
            if self._depth <= 0:
                return self._scanned
        self._scanned = len(self.buffer)
        return None
