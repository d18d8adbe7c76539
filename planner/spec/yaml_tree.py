"""YAML text into a tree that remembers where everything stands.

Every scalar stays text: what "off", "no", "1:30" or "0.30" mean is decided by the field that holds it, so none of
YAML's own readings of plain words applies. Tags are refused; aliases are expanded within a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from planner.spec.errors import SpecError, SpecProblem

# A fleet of ten thousand workloads is 4 MiB of YAML.
MAX_BYTES = 8 * 1024 * 1024
# The deepest field of a fleet file is seven levels down.
MAX_DEPTH = 32
# Values after aliases are expanded: ten thousand workloads have 200,000.
MAX_VALUES = 500_000
# No name, path or quantity is longer; labels and hosts have the same limit.
MAX_TEXT = 4096

# libyaml's parser is thirty times faster and not in every build of PyYAML; both give the same events without recursion.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULLS = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place (line and column from 1). size counts the values in it; key_places says where its keys stand."""

    value: Mapping[str, Node] | tuple[Node, ...] | str | None
    line: int
    column: int
    size: int = 1
    key_places: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def plain(self) -> Any:  # noqa: ANN401 - the nested dicts, lists and texts that pydantic validates
        """The tree as dicts, lists, texts and None."""
        if isinstance(self.value, Mapping):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, tuple):
            return [child.plain() for child in self.value]
        return self.value


def decode(file: str, raw: bytes) -> str:
    """Bytes of a fleet file as text, a byte order mark dropped. Raises SpecError when too large or not UTF-8."""
    if len(raw) > MAX_BYTES:
        raise SpecError((SpecProblem(file, 1, 1, "", f"is {len(raw)} bytes long; at most {MAX_BYTES} are read"),))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        line, column = _position(before, len(before))
        message = f"not UTF-8: byte 0x{raw[error.start]:02x}; save the file as UTF-8"
        raise SpecError((SpecProblem(file, line, column, "", message),)) from error


def parse(file: str, text: str) -> tuple[Node, tuple[SpecProblem, ...]]:
    """The tree of one YAML document, and what is wrong with it although it can be read (tags, keys that stand twice).

    Raises SpecError when it cannot be read.
    """
    if len(text) > MAX_BYTES:
        raise SpecError((SpecProblem(file, 1, 1, "", f"is {len(text)} characters long; at most {MAX_BYTES} are read"),))
    builder = _Builder(file, text.removeprefix("\ufeff"))
    return builder.document(), tuple(builder.problems)


class _Builder:
    """Builds the tree from the parser's events, which come without recursion and without looking at tags."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.events: Iterator[Any] = iter(())
        self.anchors: dict[str, Node] = {}
        self.problems: list[SpecProblem] = []

    def document(self) -> Node:
        strange = yaml.reader.Reader.NON_PRINTABLE.search(self.text)
        if strange:
            raise self._stop(None, f"character {strange[0]!a} is not allowed in YAML", *_position(self.text, strange.start()))
        try:
            self.events = yaml.parse(self.text, Loader=_LOADER)
            return self._documents()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self._stop(mark, self._syntax(error, mark)) from error
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # PyYAML lets through what int() and chr() say about absurd directives and escapes
            if isinstance(error, SpecError):
                raise
            raise self._stop(None, f"not readable as YAML: {str(error)[:100]}") from error

    def _documents(self) -> Node:
        root = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._stop(event.start_mark, "a second document begins here; a fleet file is one document")
                root = self._node(next(self.events), 1)
        if root is None or (root.value is None and root.size == 1):
            raise self._stop(None, "the file is empty; `ullage init` writes a starter to edit")
        return root

    def _node(self, event: Any, depth: int) -> Node:  # noqa: ANN401 - PyYAML's events are untyped
        mark = event.start_mark
        if depth > MAX_DEPTH:
            raise self._stop(mark, f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise self._stop(mark, f"alias *{event.anchor} refers to nothing above it")
            node = self.anchors[event.anchor]
        else:
            if event.tag not in (None, "!"):
                self._problem(mark, f"tag {event.tag[:60]!r} is not allowed; write plain values")
            node = self._content(event, depth)
            if event.anchor:
                if event.anchor in self.anchors:
                    self._problem(mark, f"anchor &{event.anchor} is defined twice")
                self.anchors[event.anchor] = node
        if node.size > MAX_VALUES:
            how = "aliases expand to" if self.anchors else "the file has"
            raise self._stop(mark, f"{how} more than {MAX_VALUES} values, which is more than any fleet that can be planned")
        return node

    def _content(self, event: Any, depth: int) -> Node:  # noqa: ANN401 - as above
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(line, column, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            children: list[Node] = []
            while not isinstance(following := next(self.events), yaml.SequenceEndEvent):
                children.append(self._node(following, depth + 1))
            return Node(tuple(children), line, column, 1 + sum(child.size for child in children))
        # the style of a plain scalar is None or, from libyaml, empty
        return Node(None if not event.style and event.value in _NULLS else self._text(event), line, column)

    def _mapping(self, line: int, column: int, depth: int) -> Node:
        children: dict[str, Node] = {}
        places: dict[str, tuple[int, int]] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            mark = event.start_mark
            if not isinstance(event, yaml.ScalarEvent):
                raise self._stop(mark, "a key must be plain text")
            node = self._node(event, depth + 1)
            key = node.value if isinstance(node.value, str) else str(event.value)
            child = self._node(next(self.events), depth + 1)
            if key in children:
                self._problem(mark, f"{key[:60]!r} stands here twice, first on line {places[key][0]}; keep one")
                continue
            children[key] = child
            places[key] = (mark.line + 1, mark.column + 1)
        return Node(children, line, column, 1 + sum(child.size for child in children.values()), places)

    def _text(self, event: Any) -> str:  # noqa: ANN401 - as above
        """The text of a scalar; what could not be printed or stored is reported and replaced."""
        text: str = event.value
        if len(text) > MAX_TEXT:
            self._problem(event.start_mark, f"a text of {len(text)} characters; at most {MAX_TEXT} are read")
        clean = text[:MAX_TEXT].encode("utf-8", "replace").decode().replace("\0", "?")
        if clean != text[:MAX_TEXT]:
            self._problem(event.start_mark, "the text holds a character that cannot be written as UTF-8 or is NUL")
        return clean

    def _syntax(self, error: yaml.MarkedYAMLError, mark: Any) -> str:  # noqa: ANN401 - as above
        problem = str(error.problem)
        line = self.text.splitlines()[mark.line : mark.line + 1]
        if "cannot start any token" in problem and line and line[0][mark.column : mark.column + 1] == "\t":
            return "a tab is used for indentation; use spaces"
        if "mapping values are not allowed" in problem:
            return "not YAML: a second ': ' in one line; quote the value or start a new line"
        context = f" {error.context}" if error.context else ""
        return f"not YAML: {problem[:200]}{context[:100]}"

    def _problem(self, mark: Any, message: str) -> None:  # noqa: ANN401 - as above
        self.problems.append(SpecProblem(self.file, mark.line + 1, mark.column + 1, "", message))

    def _stop(self, mark: Any, message: str, line: int = 1, column: int = 1) -> SpecError:  # noqa: ANN401 - as above
        if mark is not None:
            line, column = mark.line + 1, mark.column + 1
        return SpecError((*self.problems, SpecProblem(self.file, line, column, "", message)))


def _position(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, len(before) - before.rfind("\n")
