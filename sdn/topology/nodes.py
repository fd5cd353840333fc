"""YAML text to plain values that know where they were written.

Enters: text. Leaves: a `Document`: dicts, lists and scalars for pydantic, and the line and column behind every path
in them. Never: a traceback for any text, an object other than plain values, an alias that grows without bound.

Scalars follow YAML 1.2's core schema, as editors do: `on` is a word, and `12:34:56:12:34:56` is no base-60 number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from datapath.errors import FileError, Problem
from sdn.model import Source

if TYPE_CHECKING:
    _BaseLoader = yaml.SafeLoader
else:
    _BaseLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_CHARACTERS: Final = 16 << 20
MAX_DEPTH: Final = 32
"""libyaml's composer recurses on the C stack: without a bound, 100,000 brackets end the process."""
MAX_ALIASED: Final = 100_000
"""Values that aliases and merges may add to those that are written out (a "billion laughs" adds a billion)."""
_ENOUGH: Final = 1 << 40
"""Sizes are not counted beyond it."""

_PLAIN: Final = "plain"
_STR: Final = "tag:yaml.org,2002:str"
_SEQ: Final = "tag:yaml.org,2002:seq"
_MAP: Final = "tag:yaml.org,2002:map"
_DEFAULT_TAG: Final = {yaml.SequenceNode: _SEQ, yaml.MappingNode: _MAP}

_INT: Final = re.compile(r"[-+]?[0-9]{1,30}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,3})?")
_WORDS: Final[dict[str, Any]] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_RANGE_IN_FLOW: Final = re.compile(r"[{\[].*[a-z0-9]\[[0-9]+-[0-9]+\]")
_NUMERIC_START: Final = frozenset("+-.0123456789")

Path = Sequence[str | int]


class Entry(NamedTuple):
    key: yaml.Node
    value: yaml.Node


class _TooDeepError(Exception):
    pass


class _Loader(_BaseLoader):
    """Composes nodes only; which scalar means what is decided in `_scalar`."""

    depth = 0

    def resolve(self, kind: Any, _value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _STR
        return _DEFAULT_TAG[kind]

    def descend_resolver(self, _parent: Any, _index: Any) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _TooDeepError(_parent)

    def ascend_resolver(self) -> None:
        self.depth -= 1


@dataclass
class Document:
    """`data` is the file's value; `problems` are the mistakes found while reading it (duplicate keys, unknown tags)."""

    file: str
    root: yaml.Node
    data: Any = None
    problems: list[Problem] = field(default_factory=list)
    entries: dict[int, dict[str, Entry]] = field(default_factory=dict)
    """The entries of each mapping node by `id(node)`, with merges resolved."""

    @property
    def home(self) -> FilePath:
        """What paths in it are relative to."""
        return FilePath(self.file).absolute().parent

    def mark(self, path: Path, *, key: bool = False) -> yaml.Mark:
        """Where `path` is written: a scalar's or list's own place, a mapping's key, or with `key` always the key.

        Parts of the path that are not in the file (a missing key, a tag of pydantic's) are skipped.
        """
        entry = self._entry(path)
        wants_key = key or isinstance(entry.value, yaml.MappingNode)
        return (entry.key if wants_key else entry.value).start_mark

    def _entry(self, path: Path) -> Entry:
        entry = Entry(self.root, self.root)
        for part in path:
            entry = self._step(entry, part)
        return entry

    def is_scalar(self, path: Path) -> bool:
        return isinstance(self._entry(path).value, yaml.ScalarNode)

    def _step(self, entry: Entry, part: str | int) -> Entry:
        node = entry.value
        if isinstance(node, yaml.MappingNode):
            return self.entries[id(node)].get(str(part), entry)
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            return Entry(node.value[part], node.value[part])
        return entry

    def source(self, path: Path, *, key: bool = True) -> Source:
        mark = self.mark(path, key=key)
        return Source(self.file, mark.line + 1, mark.column + 1)

    def problem(self, mark: yaml.Mark, message: str) -> None:
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, printable(message)))


def printable(message: str) -> str:
    """What comes from the file into a message must not move the cursor of a terminal."""
    return message if message.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)


def load(text: str, file: str) -> Document:
    """Read `text`. Raises FileError where it is not YAML at all; everything else waits in `Document.problems`."""
    _check_text(text, file)
    root = _compose(text, file)
    if root is None:
        raise _error(file, 1, 1, "the file is empty; expected a mapping with at least 'name' and 'chassis'")
    document = Document(file, root)
    if not isinstance(root, yaml.MappingNode):
        document.problem(
            root.start_mark, "expected a mapping with at least 'name' and 'chassis' at the top of the file"
        )
        raise FileError(f"{file} is not a topology", document.problems)
    try:
        document.data = _Reader(document).read(root)
    except RecursionError as error:  # aliases of aliases of aliases
        mark = root.start_mark
        raise _error(file, mark.line + 1, mark.column + 1, "aliases nest too deeply; expected plain values") from error
    return document


def _error(file: str, line: int, column: int, message: str) -> FileError:
    return FileError(f"{file} cannot be read", [Problem(file, line, column, printable(message))])


def _check_text(text: str, file: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise _error(file, 1, 1, f"the file has {len(text)} characters; expected {MAX_CHARACTERS} at most")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _error(file, *_place(text, error.start), "this is not text; expected UTF-8") from error


def _place(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


def _compose(text: str, file: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
    except _TooDeepError as error:
        mark = error.args[0].start_mark
        message = f"this is nested too deeply; expected {MAX_DEPTH} levels at most"
        raise _error(file, mark.line + 1, mark.column + 1, message) from None
    except yaml.reader.ReaderError as error:
        raise _unreadable(text, file, error) from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(text, file, error) from error
    finally:
        loader.dispose()
    return node


def _unreadable(text: str, file: str, error: yaml.reader.ReaderError) -> FileError:
    index = next((i for i, letter in enumerate(text) if yaml.reader.Reader.NON_PRINTABLE.match(letter)), 0)
    return _error(file, *_place(text, index), f"this is not text: {error.reason}; expected UTF-8 without control codes")


def _syntax_error(text: str, file: str, error: yaml.MarkedYAMLError) -> FileError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    context = f" {error.context}" if error.context else ""
    hint = _hint(text, line, column)
    return _error(file, line + 1, column + 1, f"this is not YAML:{context}: {error.problem or error}{hint}")


def _hint(text: str, line: int, column: int) -> str:
    """What YAML's own message does not say about the two mistakes that are made most."""
    lines = text.splitlines()
    content = lines[line] if line < len(lines) else ""
    if "\t" in content[: column + 1]:
        return "; YAML is indented with spaces, never with tabs"
    if _RANGE_IN_FLOW.search(content):
        return "; a range needs quotes inside { } and [ ]: 'web[1-4]'"
    return ""


class _Reader:
    """Turns nodes into plain values once each; an alias shares the value of its anchor."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.values: dict[int, tuple[Any, int]] = {}
        """By `id(node)`: the value, and how many values it has when aliases are written out."""
        self.open: set[int] = set()
        self.written = 0
        self.merged = 0

    def read(self, root: yaml.Node) -> Any:
        value, size = self._value(root)
        if size > self.written + MAX_ALIASED:
            raise self._too_many(root)
        return value

    def _too_many(self, node: yaml.Node) -> FileError:
        message = f"aliases add too many values; expected {MAX_ALIASED} more than are written at most"
        self.document.problem(node.start_mark, message)
        return FileError(f"{self.document.file} cannot be read", self.document.problems)

    def _value(self, node: yaml.Node) -> tuple[Any, int]:
        if isinstance(node, yaml.ScalarNode):
            self.written += 1
            return self._scalar(node), 1
        known = self.values.get(id(node))
        if known is not None:
            return known
        if id(node) in self.open:
            self.document.problem(node.start_mark, "this contains itself through an alias; expected a finite value")
            return None, 1
        self.open.add(id(node))
        self.written += 1
        self._check_tag(node)
        found = self._mapping(node) if isinstance(node, yaml.MappingNode) else self._sequence(node)
        self.open.discard(id(node))
        self.values[id(node)] = found
        return found

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text: str = node.value
        if node.tag == _PLAIN:
            return _plain(text)
        self._check_tag(node)
        return text

    def _check_tag(self, node: yaml.Node) -> None:
        if node.tag not in (_STR, _SEQ, _MAP):
            self.document.problem(node.start_mark, f"the tag '{node.tag}' is not understood; expected none")

    def _sequence(self, node: yaml.Node) -> tuple[list[Any], int]:
        values = [self._value(item) for item in node.value]
        return [value for value, _ in values], min(1 + sum(size for _, size in values), _ENOUGH)

    def _mapping(self, node: yaml.MappingNode) -> tuple[dict[str, Any], int]:
        entries = self.document.entries.setdefault(id(node), {})
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == _PLAIN and key.value == "<<":
                merged.append(value)
            elif self._is_key(key, entries):
                entries[key.value] = Entry(key, value)
        result, size = {}, 1
        for name, entry in entries.items():
            result[name], grown = self._value(entry.value)
            size += grown
        for value in merged:
            size += self._merge(value, entries, result)
        return result, min(size, _ENOUGH)

    def _is_key(self, key: yaml.Node, entries: dict[str, Entry]) -> bool:
        if not isinstance(key, yaml.ScalarNode):
            self.document.problem(key.start_mark, "a list or mapping cannot be a key; expected a word")
            return False
        first = entries.get(key.value)
        if first is not None:
            line = first.key.start_mark.line + 1
            self.document.problem(key.start_mark, f"'{key.value}' is here twice, first in line {line}; expected once")
        return first is None

    def _merge(self, value: yaml.Node, entries: dict[str, Entry], result: dict[str, Any]) -> int:
        """`<<: *anchor`: the mapping's own keys win, then the earlier of several. Returns the values added."""
        size = 0
        for mapping in self._mappings(value):
            content, grown = self._value(mapping)
            size += grown
            source = self.document.entries[id(mapping)] if isinstance(content, dict) else {}
            self.merged += len(source)
            if self.merged > MAX_ALIASED:
                raise self._too_many(mapping)
            for name, entry in source.items():
                if name not in entries:
                    entries[name] = entry
                    result[name] = content.get(name)
        return size

    def _mappings(self, value: yaml.Node) -> Iterator[yaml.MappingNode]:
        for node in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if isinstance(node, yaml.MappingNode):
                yield node
            else:
                self.document.problem(node.start_mark, "'<<' merges mappings; expected an alias of one")


def _plain(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMERIC_START:
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
