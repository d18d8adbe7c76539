"""Points as text and back: a heading that a file's points have in common, then one line per point with what differs from the defaults."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from hashlib import sha256
from typing import Any, TypeVar, get_type_hints

from profiles.fields import FieldError
from profiles.store.measurements import LatencyPoint, Measurements, PairPoint, PairSide, Provenance, StartPoint
from profiles.store.plausible import MeasurementError

SCHEMA_VERSION = 1
# Keys of a point that stand in the heading instead.
_ENGINE_HEADING = ("model", "gpu", "engine", "engine_version")
_PAIR_HEADING = ("gpu", "engine", "engine_version")
_SECTIONS: Mapping[str, type[LatencyPoint | StartPoint | PairPoint]] = {"latency": LatencyPoint, "starts": StartPoint, "pairs": PairPoint}
_PROVENANCE_KEYS = frozenset(field.name for field in fields(Provenance))
# Two of them and the engine fit into a file name of 255 bytes.
_MAX_SLUG = 80
_NOT_IN_NAMES = re.compile(r"[^a-z0-9.]+")

_Heading = tuple[tuple[str, object], ...]
_Point = LatencyPoint | StartPoint | PairPoint
_Made = TypeVar("_Made")


def encoded(measurements: Measurements) -> dict[str, str]:
    """Text by file name, for a folder that holds exactly these points."""
    groups: dict[_Heading, dict[str, list[_Point]]] = defaultdict(lambda: defaultdict(list))
    for section, points in _sections(measurements):
        for point in points:
            groups[_heading(point)][section].append(point)
    return {name: _text(heading, groups[heading]) for heading, name in _names(groups).items()}


def _sections(measurements: Measurements) -> Iterator[tuple[str, tuple[_Point, ...]]]:
    yield "latency", measurements.latency
    yield "starts", measurements.starts
    yield "pairs", measurements.pairs


def _heading(point: _Point) -> _Heading:
    keys = _PAIR_HEADING if isinstance(point, PairPoint) else _ENGINE_HEADING
    return tuple((key, getattr(point.provenance if key in _PROVENANCE_KEYS else point, key)) for key in keys)


def _names(headings: Mapping[_Heading, object]) -> dict[_Heading, str]:
    """File name by heading; two headings that would take the same one each get a few digits of their hash."""
    sharing: dict[str, list[_Heading]] = defaultdict(list)
    for heading in headings:
        sharing[_stem(dict(heading))].append(heading)
    return {
        heading: f"{stem}.yaml" if len(same) == 1 else f"{stem}-{sha256(repr(heading).encode()).hexdigest()[:8]}.yaml"
        for stem, same in sharing.items()
        for heading in same
    }


def _stem(heading: Mapping[str, object]) -> str:
    engine = f"{_slug(heading['engine'])}-{_slug(heading['engine_version'] or 'unknown')}"
    folder = _slug(heading["model"]) if "model" in heading else "pairs"
    return f"{folder}/{_slug(heading['gpu'])}--{engine}"


def _slug(name: object) -> str:
    parts = (_NOT_IN_NAMES.sub("-", part).strip("-.") for part in str(name).casefold().split("/"))
    return "--".join(part for part in parts if part)[:_MAX_SLUG] or "unnamed"


def _text(heading: _Heading, sections: Mapping[str, list[_Point]]) -> str:
    lines = [f"schema_version: {SCHEMA_VERSION}", *(f"{key}: {_scalar(value)}" for key, value in heading if value is not None)]
    for section in _SECTIONS:
        if section in sections:
            left_out = frozenset(key for key, _ in heading)
            rows = sorted((_row(point, left_out) for point in sections[section]), key=_order)
            lines += [f"{section}:", *(f"- {_flow(row)}" for row in rows)]
    return "\n".join(lines) + "\n"


def _row(point: _Point | PairSide | Provenance, left_out: frozenset[str]) -> dict[str, object]:
    """The fields that differ from their defaults, in the order of the class; provenance stands among the others."""
    row: dict[str, object] = {}
    for field in fields(point):
        value = getattr(point, field.name)
        if isinstance(value, Provenance):
            row |= _row(value, left_out)
        elif isinstance(value, PairSide):
            row[field.name] = _row(value, frozenset())
        elif field.name not in left_out and value != field.default:
            row[field.name] = value
    return row


def _order(row: Mapping[str, object]) -> tuple[tuple[str, int, object], ...]:
    """Numbers as numbers; rows with other keys apart."""
    return tuple((key, *_rank(value)) for key, value in row.items())


def _rank(value: object) -> tuple[int, object]:
    if isinstance(value, int | float):
        return (0, value)
    return (1, _flow(value) if isinstance(value, Mapping) else str(value))


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    return _scalar(value)


def _scalar(value: object) -> str:
    """YAML for a scalar: texts quoted, and an exponent only behind a point, without which YAML 1.1 reads a text."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"^(-?\d+)e", r"\1.0e", text) if isinstance(value, float) else text


def decoded(name: str, content: Mapping[object, object]) -> Measurements:
    """The points of one file; FieldError naming file and key."""
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise FieldError(f"{name}: schema_version: must be {SCHEMA_VERSION}, is {version!r}")
    heading = {key: value for key, value in content.items() if key != "schema_version" and key not in _SECTIONS}
    found: dict[str, tuple[Any, ...]] = {}
    for section, kind in _SECTIONS.items():
        rows = content.get(section, [])
        if not isinstance(rows, list):
            raise FieldError(f"{name}: {section}: must be a list")
        found[section] = tuple(_point(kind, f"{name}: {section}[{place}]", heading, row) for place, row in enumerate(rows))
    if not any(found.values()):
        raise FieldError(f"{name}: has none of {', '.join(_SECTIONS)}, or they are empty")
    return Measurements() + Measurements(**found)


def _point(kind: type[_Made], where: str, heading: Mapping[object, object], row: object) -> _Made:
    if not isinstance(row, Mapping):
        raise FieldError(f"{where}: must be a mapping, is {row!r}")
    twice = sorted(str(key) for key in row.keys() & heading.keys())
    if twice:
        raise FieldError(f"{where}: {twice[0]}: stands in the heading already")
    return _made(kind, where, {**heading, **row})


def _made(kind: type[_Made], where: str, values: Mapping[object, object]) -> _Made:
    own, hints = _shape(kind)  # type: ignore[arg-type] # a class is hashable
    rest = {str(key): value for key, value in values.items()}
    arguments: dict[str, object] = {}
    for key, field in own.items():
        if hints[key] is Provenance:
            part: dict[object, object] = {inner: rest.pop(inner) for inner in _PROVENANCE_KEYS if inner in rest}
            arguments[key] = _made(Provenance, where, part)
        elif key in rest:
            arguments[key] = _value(f"{where}: {key}", hints[key], rest.pop(key))
        elif _required(field):
            raise FieldError(f"{where}: {key}: missing")
    if rest:
        raise FieldError(f"{where}: {min(rest)}: unknown key (known: {', '.join(sorted(own))})")
    return _checked(where, lambda: kind(**arguments))


@cache
def _shape(kind: type[Any]) -> tuple[dict[str, Field[Any]], dict[str, Any]]:
    """Fields of a dataclass by name, and the types behind their annotations."""
    return {field.name: field for field in fields(kind)}, get_type_hints(kind)


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING


def _checked(where: str, make: Callable[[], _Made]) -> _Made:
    try:
        return make()
    except MeasurementError as error:
        raise FieldError(f"{where}: {error}") from None


def _value(where: str, hint: object, value: object) -> object:
    """The value, when it is of the kind that the field's annotation says."""
    if hint is PairSide:
        if not isinstance(value, Mapping):
            raise FieldError(f"{where}: must be a mapping, is {value!r}")
        return _made(PairSide, where, value)
    options = getattr(hint, "__args__", (hint,))
    texts = all(isinstance(option, str) for option in options)  # a Literal
    if value is None and type(None) in options:
        return None
    if isinstance(value, str) and (texts or str in options):
        return value
    if isinstance(value, bool):
        if bool in options:
            return value
    elif isinstance(value, int) and int in options:
        return value
    elif isinstance(value, int | float) and float in options:
        return float(value)
    raise FieldError(f"{where}: {value!r} is not {_kind(options, texts=texts)}")


def _kind(options: tuple[object, ...], *, texts: bool) -> str:
    if texts:
        return f"one of {', '.join(map(str, options))}"
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return next(text for kind, text in names.items() if kind in options)
