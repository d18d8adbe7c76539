"""Plans and states as text: canonical JSON out, friendly errors in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from planner.plan.document import SCHEMA_VERSION, Desired, Plan, State

# Of a document that is wrong all over the first faults are enough.
_MOST_FAULTS = 20

_KINDS = frozenset({"repartition", "start", "drain", "stop", "set_routes", "sleep", "wake"})

_Document = TypeVar("_Document", Plan, State)


class DocumentError(ValueError):
    """A plan or state file that cannot be read; the message names the file, the field and what to do."""


def to_json(document: BaseModel) -> str:
    """Canonical JSON: sorted keys, two spaces, final newline; equal documents give equal bytes."""
    return json.dumps(document.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def state_hash(state: State) -> str:
    """SHA-256 of a state's canonical JSON, as plan.prior records it."""
    return _sha256(to_json(state))


def plan_hash(plan: Plan) -> str:
    """SHA-256 of a plan's canonical JSON, as the journal of apply records it."""
    return _sha256(to_json(plan))


def _sha256(text: str) -> str:
    """Also of halves of characters that no file can hold: JSON may spell them out, and a view of such a plan is still asked for."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def desired_hash(desired: Desired) -> str:
    """SHA-256 in hex of what a plan desires, whatever it was made against."""
    return hashlib.sha256(desired.model_dump_json().encode()).hexdigest()


def plan_from_json(text: str, source: str) -> Plan:
    """Read plan.json; source names the file in errors."""
    return _read(Plan, text, source)


def state_from_json(text: str, source: str) -> State:
    """Read a state file; source names the file in errors."""
    return _read(State, text, source)


def _read(kind: type[_Document], text: str, source: str) -> _Document:
    raw: object
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise DocumentError(f"{source}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error
    except ValueError as error:
        raise DocumentError(f"{source}: not JSON that can be read: {error}") from error
    except RecursionError as error:
        raise DocumentError(f"{source}: nested too deeply to be a {kind.__name__.lower()}") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise DocumentError(
            f"{source}: schema_version is {version!r}, this ullage reads {SCHEMA_VERSION}; write the file again with this version"
        )
    document: _Document
    try:
        document = kind.model_validate_json(text)
    except ValidationError as error:
        lines = [f"{source}: {_path(item['loc'])}: {item['msg']}{_value(item)}" for item in error.errors()[:_MOST_FAULTS]]
        raise DocumentError("\n".join(lines)) from error
    faults = [*_unprintable(raw, ()), *_missing(raw, document.model_dump(mode="json"), ())]
    if faults:
        raise DocumentError("\n".join(f"{source}: {fault}" for fault in faults[:_MOST_FAULTS]))
    return document


def _path(place: tuple[int | str, ...]) -> str:
    # what kind of action it is stands behind its number
    return ".".join(str(step) for at, step in enumerate(place) if not (at == 2 and place[0] == "actions" and step in _KINDS))


def _value(item: ErrorDetails) -> str:
    """The value that is wrong, where it is a number or a short word."""
    value = item["input"]
    return f", is {value!r}" if isinstance(value, (int, float, str)) and item["type"] != "extra_forbidden" and len(repr(value)) < 60 else ""


def _missing(written: object, whole: object, place: tuple[int | str, ...]) -> Iterator[str]:
    """Fields that stand in every document that this program writes, and not in this one: what would be judged by them would pass unseen."""
    if isinstance(written, dict) and isinstance(whole, dict):
        for key in whole:
            if key not in written:
                yield f"{_path((*place, key))}: missing; a document that ullage wrote has every field: make it again"
            else:
                yield from _missing(written[key], whole[key], (*place, key))
    elif isinstance(written, list) and isinstance(whole, list):
        for index, (one, other) in enumerate(zip(written, whole, strict=True)):
            yield from _missing(one, other, (*place, index))


def _unprintable(value: object, place: tuple[int | str, ...]) -> Iterator[str]:
    """Texts that would steer the terminal of whoever reads them."""
    if isinstance(value, str) and not value.isprintable():
        yield f"{_path(place)}: {value[:60]!r} has characters that cannot be printed"
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not key.isprintable():
                yield f"{_path(place)}: the key {key[:60]!r} has characters that cannot be printed"
            yield from _unprintable(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unprintable(inner, (*place, index))
