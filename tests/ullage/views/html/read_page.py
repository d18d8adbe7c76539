"""Reads HTML as a browser would, and finds what is not well-formed."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br"}


@dataclass(slots=True)
class Node:
    """An element with its attributes, children and text."""

    tag: str
    attributes: dict[str, str]
    children: list[Node] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str, class_: str | None = None) -> list[Node]:
        """Elements below, in order."""
        found = []
        for child in self.children:
            if child.tag == tag and (class_ is None or class_ in child.attributes.get("class", "").split()):
                found.append(child)
            found += child.all(tag, class_)
        return found

    @property
    def words(self) -> str:
        """All text below."""
        return self.text + "".join(child.words for child in self.children)

    @property
    def flex(self) -> float:
        """How much of its row it takes."""
        return float(self.attributes["style"].removeprefix("flex:"))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), attrs
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].text += data


def read(text: str) -> Node:
    """The tree of a text whose tags are balanced."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


def everything(node: Node) -> list[Node]:
    """All elements below."""
    return [item for child in node.children for item in (child, *everything(child))]
