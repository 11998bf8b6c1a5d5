"""YAML text -> nodes that know their place. YAML 1.2's core scalars on PyYAML's event stream. Pure.

PyYAML's own loaders read `16:9` as 969 and `off` as false, keep the last of two equal keys, build Python
objects, and the C one crashes the process on deep nesting. Its event parser has none of these: it is walked
here iteratively, with a limit on everything, and what is not plain data is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from batcher.manifest.problems import Place, Problems
from batcher.manifest.values import MAX_KEYS, objection

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DEPTH = 16
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
MAX_NODES = 2_000_000
"""Aliases counted as often as they are used."""

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # those of libyaml, so that its line numbers are ours
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff\ud800-\udfff]")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class Span(NamedTuple):
    """A stretch of one line, counted from 1 in characters."""

    line: int
    column: int
    width: int


@dataclass(slots=True)
class Node:
    """A value with its place. Aliases share the node of their anchor."""

    value: Any
    """A scalar, a list of nodes, or a dict of nodes."""
    span: Span
    keys: dict[str, Span] = field(default_factory=dict)
    size: int = 1
    height: int = 0

    def plain(self, done: dict[int, Any] | None = None) -> Any:
        """The data without places; what an alias shares stays shared."""
        done = {} if done is None else done
        if not isinstance(self.value, dict | list):
            return self.value
        if id(self) not in done:
            if isinstance(self.value, dict):
                done[id(self)] = {k: node.plain(done) for k, node in self.value.items()}
            else:
                done[id(self)] = [node.plain(done) for node in self.value]
        return done[id(self)]

    def at(self, path: Sequence[str | int]) -> Node:
        """The node at a path that is there."""
        node = self
        for step in path:
            node = node.value[step]
        return node

    def span_of(self, path: Sequence[str | int], *, key: bool = False) -> Span:
        """Where the value at `path` stands, or its key; the nearest thing around it where there is no such value."""
        node, span = self, self.span
        for n, step in enumerate(path):
            try:
                child = node.value[step]
            except (KeyError, IndexError, TypeError):
                return span
            want_key = isinstance(step, str) and (key and n == len(path) - 1)
            node, span = child, node.keys[str(step)] if want_key else child.span
        return span


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its nodes and its lines."""

    file: str
    lines: list[str]
    root: Node

    def place(self, path: Sequence[str | int], *, key: bool = False) -> Place:
        """The place of the value (or the key) at `path`."""
        return _place(self.file, self.lines, self.root.span_of(path, key=key))

    def has(self, path: Sequence[str | int]) -> bool:
        """Whether there is a value at `path`."""
        try:
            self.root.at(path)
        except (KeyError, IndexError, TypeError):
            return False
        return True

    def within(self, place: Place, fragment: str) -> Place:
        """The place of a piece of the text that begins at `place`, where it can be found on its lines."""
        lines = self.lines[place.line - 1 : place.line + 200] if place.file == self.file else [place.excerpt]
        for n, line in enumerate(lines):
            column = line.find(fragment, 0 if n else place.column - 1)
            if column >= 0:
                return replace(place, line=place.line + n, column=column + 1, width=len(fragment), excerpt=line)
        return place


def parse(text: str, *, file: str, problems: Problems) -> Document | None:
    """Read one document. Everything wrong goes to `problems`; None where nothing can be read on."""
    lines = _LINE_BREAK.split(text)
    if bad := _CONTROL.search(text):
        at = _span_at(text, bad.start())
        problems.add("E108", _place(file, lines, at), f"a control character U+{ord(bad[0]):04X} in the text")
        return None
    builder = _Builder(file, lines, problems)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if not builder.take(event):
                return None
    except yaml.MarkedYAMLError as error:
        _explain(error, file, lines, problems, inside=builder.inside)
        return None
    if builder.root is None:
        problems.add("E101", Place(file=file), "the file is empty", hint="start one with  batcher init")
        return None
    return Document(file, lines, builder.root)


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is still open."""

    node: Node
    anchor: str | None
    key: str | None = None
    """In a mapping: the key whose value comes next."""
    spare: bool = False
    """That key was given before: its value is read and dropped."""


class _Builder:
    """Puts nodes together from events, with a stack instead of recursion."""

    def __init__(self, file: str, lines: list[str], problems: Problems) -> None:
        self.root: Node | None = None
        self._file, self._lines, self._problems = file, lines, problems
        self._open: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}
        self._count = 0

    @property
    def inside(self) -> Span | None:
        """Where the innermost list or mapping begins that is still open."""
        return self._open[-1].node.span if self._open else None

    def take(self, event: Any) -> bool:
        """Add one event. False: a limit is reached or the structure is not ours to read; stop."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            return self._leaf(event)
        if kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            return self._begin(event)
        if kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            return self._end()
        if kind is yaml.AliasEvent:
            return self._alias(event)
        if kind is yaml.DocumentStartEvent and self.root is not None:
            return self._refuse("E109", event, "a second document begins here", "keep one manifest a file")
        return True

    def _leaf(self, event: Any) -> bool:
        if not self._may_grow(event):
            return False
        if self._wants_key():
            return self._take_key(event)
        return self._finish(Node(self._scalar(event), _span(event, self._lines)), event.anchor)

    def _begin(self, event: Any) -> bool:
        if not self._may_grow(event):
            return False
        if self._wants_key():
            return self._refuse("E109", event, "a key must be text, not a list or mapping", "quote it if it is text")
        if len(self._open) >= MAX_DEPTH:
            return self._refuse("E110", event, TOO_DEEP, "flatten it")
        node = Node({} if isinstance(event, yaml.MappingStartEvent) else [], _span(event, self._lines))
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(_Frame(node, event.anchor))
        return True

    def _end(self) -> bool:
        frame = self._open.pop()
        node = frame.node
        for child in node.value.values() if isinstance(node.value, dict) else node.value:
            node.size += child.size
            node.height = max(node.height, child.height + 1)
        return self._finish(node, frame.anchor)

    def _alias(self, event: Any) -> bool:
        if self._wants_key():
            return self._refuse("E109", event, "an alias cannot be a key", "write the key out")
        node = self._anchors.get(event.anchor)
        if node is None:
            why = "stands inside itself" if event.anchor in self._anchors else "has no anchor before it"
            return self._refuse("E109", event, f"the alias *{event.anchor} {why}", "write the value out")
        self._count += node.size
        if self._count > MAX_NODES or len(self._open) + node.height > MAX_DEPTH:
            return self._refuse("E110", event, f"the alias *{event.anchor} makes the data too large", "write it out")
        return self._finish(node, None)

    def _finish(self, node: Node, anchor: str | None) -> bool:
        if anchor:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return True
        frame = self._open[-1]
        if frame.key is None:
            frame.node.value.append(node)
        else:
            if not frame.spare:
                frame.node.value[frame.key] = node
            frame.key = None
        return True

    def _wants_key(self) -> bool:
        if not self._open:
            return False
        frame = self._open[-1]
        return frame.key is None and type(frame.node.value) is dict

    def _take_key(self, event: Any) -> bool:
        frame, name = self._open[-1], event.value
        keys = frame.node.keys
        frame.key, frame.spare = name, name in keys
        if frame.spare:
            first = keys[name].line
            self._refuse("E107", event, f"{name!r} is given twice; first on line {first}", "remove one of them")
            return True
        if len(keys) == MAX_KEYS:
            return self._refuse("E110", event, f"more than {MAX_KEYS:,} keys in one mapping", "split it up")
        keys[name] = _span(event, self._lines)
        if name == "<<" and event.implicit[0]:
            self._refuse("E109", event, "merge keys are not taken", "use `defaults`, or write the keys out")
        elif why := objection(name):
            self._refuse("E111", event, f"the key {why}", None)
        return True

    def _may_grow(self, event: Any) -> bool:
        if event.tag is not None:
            self._refuse("E109", event, f"the tag {event.tag} is not taken", "remove it")
        self._count += 1
        if self._count > MAX_NODES:
            return self._refuse("E110", event, f"more than {MAX_NODES:,} values", "split the manifest")
        return True

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.implicit[0]:
            if _NOT_FINITE.fullmatch(text):
                self._refuse("E111", event, f"{text} is not a finite number", "quote it if it is text")
                return None
            value = _resolve(text)
        else:
            value = text
        if why := objection(value):
            self._refuse("E111", event, f"{text[:40]!r} {why}", "change it, or quote it if it is text")
            return None
        return value

    def _refuse(self, code: str, event: Any, message: str, hint: str | None) -> bool:
        self._problems.add(code, _place(self._file, self._lines, _span(event, self._lines)), message, hint=hint)
        return False


def _resolve(text: str) -> Any:
    """A plain scalar by YAML 1.2's core schema."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text[0] not in "+-.0123456789":
        return text
    if len(text) > 400:
        return 2**64 if _INTEGER.fullmatch(text) else text  # too long to be a number: refused or text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL_OR_HEX.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def _span(event: Any, lines: list[str]) -> Span:
    start, end = event.start_mark, event.end_mark
    if end.line == start.line:
        stop = end.column
    else:  # several lines, or a block: mark the first line only
        stop = len(lines[start.line].rstrip()) if start.line < len(lines) else start.column
    return Span(start.line + 1, start.column + 1, max(1, stop - start.column))


def _place(file: str, lines: list[str], span: Span) -> Place:
    excerpt = lines[span.line - 1] if span.line <= len(lines) else ""
    return Place(file=file, line=span.line, column=span.column, width=span.width, excerpt=excerpt)


def _span_at(text: str, offset: int) -> Span:
    before = _LINE_BREAK.split(text[:offset])
    return Span(len(before), len(before[-1]) + 1, 1)


_WORDS = {
    "mapping values are not allowed in this context": (
        "a `: ` where no key can stand",
        'put text that holds `: ` in quotes: "like: this"',
    ),
    "found character that cannot start any token": (
        "text cannot begin with this character",
        "put the text in quotes; indent with spaces, not tabs",
    ),
    "could not find expected ':'": (
        "a key without `: `",
        "keys end in `: `; text over several lines needs `|` or `>`",
    ),
    "did not find expected key": ("not indented like the lines before it, or a quote is missing", "line it up"),
    "did not find expected '-' indicator": ("not indented like the other list items", "line the dashes up"),
    "did not find expected <document start>": ("more text after the end of the data", "check the indentation"),
    "found invalid Unicode character escape code": (
        "a \\u escape that is no character by itself",
        "write the character as it is (JSON: ensure_ascii=False), or as \\UXXXXXXXX",
    ),
    "found unexpected end of stream": ("a quote is opened and never closed", "close it"),
}
"""libyaml's words -> ours, with the next step."""


def _explain(
    error: yaml.MarkedYAMLError, file: str, lines: list[str], problems: Problems, *, inside: Span | None
) -> None:
    mark = error.problem_mark or error.context_mark
    span = Span(mark.line + 1, mark.column + 1, 1) if mark else Span(1, 1, 1)
    words = error.problem or str(error)
    if words == "exceeded maximum nesting depth":  # PyYAML from 6.0.4 on looks further ahead than we read
        problems.add("E110", _place(file, lines, span), TOO_DEEP, hint="flatten it")
        return
    message, hint = _WORDS.get(words, (words, "quote text that holds `: `, ` #`, `@`, `%` or a backtick"))
    if "unexpected end of stream" in words and error.context_mark:
        span = Span(error.context_mark.line + 1, error.context_mark.column + 1, 1)
    elif inside and lines[inside.line - 1][inside.column - 1] in "[{" and not any(lines[span.line - 1 :]):
        message, hint = "a bracket is opened and never closed", "close it, or quote the text"
        span = inside
    problems.add("E101", _place(file, lines, span), message, hint=hint)
