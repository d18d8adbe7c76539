"""One name for one thing: a public class, type or module of the packages is called like no other."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.test_structure import PACKAGES, ROOT, name_of

SOURCES = tuple(sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")))

# Folders whose modules are called after what they are about: the command, or the part of a plan that they judge.
CALLED_AFTER = ("ullage/cli", "planner/check")
# Each package has its own.
IN_EACH = {"__init__", "__main__", "errors"}

CLASS_NAME = re.compile(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")


def types_of(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Public classes and names of types, with their lines."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node.lineno) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.lineno


def twice(places: Iterable[tuple[str, str]]) -> list[str]:
    """Names that stand in several places, with the places."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, place in places:
        found[name].append(place)
    return [f"{name}: {', '.join(where)}" for name, where in sorted(found.items()) if len(where) > 1]


def test_no_two_public_classes_have_one_name() -> None:
    places = [
        (name, f"{name_of(path)}:{line}")
        for path in SOURCES
        for name, line in types_of(ast.parse(path.read_text(encoding="utf-8")))
        if CLASS_NAME.fullmatch(name)
    ]
    assert len(places) > 100
    assert twice(places) == [], "a name says two things; call one of them by what it is"


def test_no_two_modules_have_one_name() -> None:
    places = [
        (path.stem, name_of(path))
        for path in SOURCES
        if path.stem not in IN_EACH and path.parent.relative_to(ROOT).as_posix() not in CALLED_AFTER
    ]
    assert len(places) > 100
    assert twice(places) == [], "a name says two things; call one of them by what it is"


def test_the_rules_themselves() -> None:
    source = "class Pool: ...\nclass _Part: ...\nSpot = tuple[int, int]\nLIMIT = 3\nTable: TypeAlias = dict[str, int]\n"
    found = [name for name, _ in types_of(ast.parse(source)) if CLASS_NAME.fullmatch(name)]
    assert found == ["Pool", "Spot", "Table"]
    assert twice([("Pool", "a.py:1"), ("Spot", "b.py:2"), ("Pool", "c.py:3")]) == ["Pool: a.py:1, c.py:3"]
