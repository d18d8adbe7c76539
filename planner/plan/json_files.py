"""Plans and states as text: canonical JSON out, friendly errors in."""

from __future__ import annotations

import hashlib
import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from planner.plan.document import SCHEMA_VERSION, Plan, State

_Document = TypeVar("_Document", Plan, State)


class DocumentError(ValueError):
    """A plan or state file that cannot be read; the message names the file, the field and what to do."""


def to_json(document: BaseModel) -> str:
    """Canonical JSON: sorted keys, two spaces, final newline; equal documents give equal bytes."""
    return json.dumps(document.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def state_hash(state: State) -> str:
    """SHA-256 of a state's canonical JSON, as plan.prior records it."""
    return hashlib.sha256(to_json(state).encode()).hexdigest()


def plan_from_json(text: str, source: str) -> Plan:
    """Read plan.json; source names the file in errors."""
    return _read(Plan, text, source)


def state_from_json(text: str, source: str) -> State:
    """Read a state file; source names the file in errors."""
    return _read(State, text, source)


def _read(kind: type[_Document], text: str, source: str) -> _Document:
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
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        lines = [f"{source}: {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise DocumentError("\n".join(lines)) from error
