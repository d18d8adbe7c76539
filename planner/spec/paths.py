"""Paths to the fields of a fleet file, as people write them: pools.h100.nodes, workloads.chat.rate, policy.risk.attainment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import get_args, get_origin

from planner.spec.declared import DeclaredFleet
from planner.spec.nearest import nearest
from planner.spec.part import Declared
from planner.spec.yaml_tree import Node

# Sections whose entries people name.
_NAMED = frozenset({"pools", "models", "workloads"})

FieldPath = tuple[str | int, ...]

_ITEM = re.compile(r"(.*)\[([0-9]{1,6})\]", re.DOTALL)


class PathError(ValueError):
    """A path that names no field of this fleet; the message has the nearest spelling."""


def resolve(root: Node, path: str, *, new: bool = True) -> FieldPath:
    """The steps to a field, written or not. Entries under pools, models and workloads must be there; with new, the last one may be new.

    Names may hold dots. A field of a part may be named without it where only one part has it: workloads.chat.rate stands for
    workloads.chat.demand.rate, workloads.chat.ttft_p95 for workloads.chat.slo.ttft_p95. Raises PathError.

    >>> from planner.spec.yaml_tree import parse
    >>> root, _ = parse("fleet.yaml", "pools: {h100: {nodes: 2}}")
    >>> resolve(root, "pools.h100.nodes")
    ('pools', 'h100', 'nodes')
    >>> resolve(root, "pools.h10.nodes")
    Traceback (most recent call last):
    planner.spec.paths.PathError: pools.h10.nodes: there is no 'h10' under pools; did you mean 'h100'? there are: h100
    """
    if not isinstance(path, str) or not path.strip():
        raise PathError("a path is empty; write for example pools.h100.nodes")
    steps = tuple(_steps(path, path, (DeclaredFleet,), root, ()))
    if len(steps) == 2 and not new and steps[0] in _NAMED:
        entries = _child(root, str(steps[0]))
        if entries is None or _child(entries, str(steps[1])) is None:
            _entry(path, f"{steps[1]}.", entries, steps[:1], known=True)
    return steps


def joined(steps: FieldPath) -> str:
    """The path of steps, as errors name it."""
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _steps(path: str, rest: str, parts: tuple[type[Declared], ...], node: Node | None, before: FieldPath) -> Iterator[str | int]:
    """The steps of rest inside one of parts, which stands at node."""
    name, remaining, index = _first(rest)
    fields = {field.alias or own: field.annotation for part in parts for own, field in part.model_fields.items()}
    if name not in fields:
        home = [key for key, annotation in fields.items() if name in _aliases(annotation)]
        if len(home) != 1:
            raise PathError(_unknown(path, name, fields, before))
        name, remaining, index = home[0], rest, None
    annotation = fields[name]
    yield name
    here, inside = _child(node, name), (*before, name)
    if _dictionary(annotation) and remaining:
        entry = _entry(path, remaining, here, inside, known=bool(_parts(annotation)))
        yield entry
        remaining, here, inside = remaining[len(entry) + 1 :], _child(here, entry), (*inside, entry)
    if index is not None:
        here = _item(path, here, index, inside)
        yield index
        inside = (*inside, index)
    if not remaining:
        return
    if not _parts(annotation):
        raise PathError(f"{path}: {joined(inside)} is a single value; there is nothing in it")
    yield from _steps(path, remaining, _parts(annotation), here, inside)


def _first(rest: str) -> tuple[str, str, int | None]:
    """The first name of a path, what follows it, and the number of an item of it."""
    name, _, remaining = rest.partition(".")
    found = _ITEM.fullmatch(name)
    return (found[1], remaining, int(found[2])) if found else (name, remaining, None)


def _entry(path: str, rest: str, node: Node | None, before: FieldPath, *, known: bool) -> str:
    """The name at the beginning of rest: the longest that is there, or a new one at the end of the path."""
    names = tuple(node.value) if node is not None and isinstance(node.value, Mapping) else ()
    there = [name for name in names if rest == name or rest.startswith(f"{name}.")]
    if there:
        return max(there, key=len)
    if not known or "." not in rest:
        return rest
    name = rest.partition(".")[0]
    # names may hold dots: the one that is meant may be longer than its first part
    longer = [rest[:place] for place, letter in enumerate(rest) if letter == "."]
    close = next((found for text in reversed(longer) if (found := nearest(text, names))), None)
    hint = f"did you mean {close!r}? " if close else ""
    shown = ", ".join(sorted(names)[:20]) + (", ..." if len(names) > 20 else "")
    raise PathError(f"{path}: there is no {name[:60]!r} under {joined(before)}; {hint}there are: {shown or 'none'}")


def _item(path: str, node: Node | None, index: int, before: FieldPath) -> Node:
    items = node.value if node is not None and isinstance(node.value, tuple) else ()
    if index >= len(items):
        raise PathError(f"{path}: {joined(before)} has {len(items)} items in the file, counted from 0; there is no [{index}]")
    return items[index]


def _unknown(path: str, name: str, fields: Mapping[str, object], before: FieldPath) -> str:
    close = nearest(name, {**fields, **{short: None for annotation in fields.values() for short in _aliases(annotation)}})
    where = joined(before) or "a fleet file"
    hint = f"did you mean {joined((*before, close))!r}? " if close else ""
    return f"{path}: {where} has no field {name[:60]!r}; {hint}fields: {', '.join(fields)}"


def _child(node: Node | None, key: str) -> Node | None:
    return node.value.get(key) if node is not None and isinstance(node.value, Mapping) else None


def _aliases(annotation: object) -> frozenset[str]:
    """Fields of the parts that a field holds, but not of entries with names of their own."""
    if _dictionary(annotation) or _tuple(annotation):
        return frozenset()
    return frozenset(field.alias or own for part in _parts(annotation) for own, field in part.model_fields.items())


def _parts(annotation: object) -> tuple[type[Declared], ...]:
    """The classes of the mappings that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Declared):
        return (annotation,)
    return tuple(dict.fromkeys(part for inner in get_args(annotation) for part in _parts(inner)))


def _dictionary(annotation: object) -> bool:
    return get_origin(annotation) is dict


def _tuple(annotation: object) -> bool:
    return get_origin(annotation) is tuple or any(_tuple(inner) for inner in get_args(annotation))
