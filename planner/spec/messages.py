"""From what pydantic finds to sentences with a place: value, what is allowed, nearest spelling."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from planner.spec.declared_demand import FORMS, DeclaredForecast, DeclaredRate, DeclaredTrace, DeclaredVolume, DeclaredWindows
from planner.spec.declared_gpu import DeclaredGpuType
from planner.spec.errors import SpecProblem
from planner.spec.field_types import HOST_PATTERN, NAME_PATTERN
from planner.spec.nearest import nearest
from planner.spec.part import Declared
from planner.spec.units import UnitError
from planner.spec.yaml_tree import Node

Loc = tuple[int | str, ...]

_TAGGED: dict[int | str, type[Declared]] = {
    "<rate>": DeclaredRate,
    "<windows>": DeclaredWindows,
    "<trace>": DeclaredTrace,
    "<forecast>": DeclaredForecast,
    "<requests>": DeclaredVolume,
    "<gpu type>": DeclaredGpuType,
}
# What pydantic adds to a place and does not stand in the file: the form of a demand or GPU type, and that a key is wrong.
_MARKS = frozenset((*_TAGGED, "<gpu name>", "[key]"))
_LIMITS = {"greater_than": "more than", "greater_than_equal": "at least", "less_than": "less than", "less_than_equal": "at most"}
_PATTERNS = {
    NAME_PATTERN: "a name; allowed are up to 63 letters, digits, dots, dashes and underscores, a letter or digit first and last",
    HOST_PATTERN: "the name or address of a host (without a port)",
}
_KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of that size",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "tuple_type": "a list; write [a, b]",
    "dict_type": "a mapping of fields",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
}


def problem_at(file: str, root: Node, loc: Loc, message: str) -> SpecProblem:
    """A problem at a field: at its value, or at its key when the value is a mapping or list, at its parent when it is missing."""
    path, line, column = _locate(root, loc, to_key=False)
    return SpecProblem(file, line, column, path, message)


def problems_of(file: str, root: Node, prefix: Loc, part: type[Declared], error: ValidationError) -> list[SpecProblem]:
    """One problem for each finding of pydantic in the value at prefix, which should be a `part`."""
    return [_problem(file, root, prefix, part, details) for details in error.errors() if not _is_echo(details)]


def _is_echo(details: ErrorDetails) -> bool:
    """Pydantic drops wrong items and then calls the rest of the list too short."""
    return details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]


def _problem(file: str, root: Node, prefix: Loc, part: type[Declared], details: ErrorDetails) -> SpecProblem:
    loc, inside = (*prefix, *details["loc"]), _part_at(part, details["loc"][:-1])
    if details["type"] == "extra_forbidden":
        path, line, column = _locate(root, loc, to_key=True)
        return SpecProblem(file, line, column, path, _unknown_field(str(loc[-1]), inside))
    if details["type"] == "missing":
        return problem_at(file, root, loc, _missing(str(loc[-1]), inside))
    return problem_at(file, root, loc, _message(details))


def _unknown_field(name: str, part: type[Declared]) -> str:
    """Why a field may not stand in a part: moved, or unknown with the nearest spelling."""
    if name in part.moved:
        return f"is now {part.moved[name]}; write it there"
    allowed = _aliases(part)
    close = nearest(name, allowed)
    return f"unknown field; {f'did you mean {close!r}? ' if close else ''}allowed: {', '.join(allowed)}"


def _part_at(part: type[Declared], loc: Iterable[int | str]) -> type[Declared]:
    """The class of the mapping at loc inside a part."""
    steps = iter(loc)
    for step in steps:
        if step in _TAGGED:
            part = _TAGGED[step]
            continue
        for name, field in part.model_fields.items():
            if step == (field.alias or name):
                if get_origin(field.annotation) is dict:
                    next(steps, None)  # the next step is a name that people chose
                part = next(_parts(field.annotation), part)
                break
    return part


def _shown(value: object) -> str:
    """A value for a message: short, quoted."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return "no value" if value is None else repr(value if not isinstance(value, str) or len(value) <= 60 else value[:57] + "...")


def _parts(annotation: object) -> Iterator[type[Declared]]:
    if isinstance(annotation, type) and issubclass(annotation, Declared):
        yield annotation
    for inner in get_args(annotation):
        yield from _parts(inner)


def _aliases(part: type[Declared]) -> list[str]:
    return [field.alias or name for name, field in part.model_fields.items()]


def _missing(name: str, part: type[Declared]) -> str:
    field = next(field for own, field in part.model_fields.items() if name in (own, field.alias))
    example = f" Example: {field.examples[0]}" if field.examples else ""
    return f"is required. {field.description}{example}"


def _message(details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if value is None:
        return "has no value; write one or leave the field out"
    if kind == "value_error":
        error = context["error"]
        return f"{_shown(value)} {error}" if isinstance(error, UnitError) else str(error)
    if kind == "literal_error":
        return _not_allowed(value, re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]])
    if kind in _LIMITS:
        limit = next(context[key] for key in ("gt", "ge", "lt", "le") if key in context)
        return f"{_shown(value)} must be {_LIMITS[kind]} {limit:.12g}"
    if kind in _KINDS:
        return f"{_shown(value)} is not {_KINDS[kind]}"
    return _other(kind, value, context, details["msg"])


def _other(kind: str, value: Any, context: dict[str, Any], message: str) -> str:  # noqa: ANN401 - whatever stands in the file
    if kind == "union_tag_not_found":
        found = [key for key in FORMS if key in value] if isinstance(value, dict) else []
        close = [] if found or not isinstance(value, dict) else [form for form in (nearest(key, FORMS) for key in value) if form]
        held = ", ".join(found or list(value)[:5]) if isinstance(value, dict) else _shown(value)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"needs exactly one of rate, windows, trace, forecast or requests; found {held or 'nothing'}{hint}"
    if kind == "string_pattern_mismatch":
        return f"{_shown(value)} is not {_PATTERNS.get(context['pattern'], 'like ' + context['pattern'])}"
    if kind in ("too_short", "string_too_short"):
        return f"{_shown(value)} is too short; at least {context['min_length']}"
    if kind in ("too_long", "string_too_long"):
        return f"{_shown(value)} is too long; at most {context['max_length']}"
    return f"{_shown(value)}: {message}"


def _not_allowed(value: object, allowed: Sequence[str]) -> str:
    close = nearest(str(value), allowed)
    return f"{_shown(value)} is not allowed; {f'did you mean {close}? ' if close else ''}allowed: {', '.join(allowed)}"


def _locate(root: Node, loc: Loc, *, to_key: bool) -> tuple[str, int, int]:
    node, path, place = root, "", (root.line, root.column)
    for step in loc:
        if isinstance(step, int) and isinstance(node.value, tuple) and step < len(node.value):
            node = node.value[step]
            path, place = f"{path}[{step}]", (node.line, node.column)
        elif isinstance(node.value, dict) and step in node.value:
            key_place = node.key_places[str(step)]
            node = node.value[str(step)]
            path = f"{path}.{step}" if path else str(step)
            # a mapping or list begins on the next line: its key is the better place to look
            place = (node.line, node.column) if isinstance(node.value, str) and not to_key else key_place
        elif isinstance(node.value, dict) and isinstance(step, str) and step not in _MARKS:
            return (f"{path}.{step}" if path else step), *place
    return path, *place
