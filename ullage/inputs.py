"""Reading and writing the user's files: the edge where paths become values."""

from __future__ import annotations

import os
from pathlib import Path

from planner.plan import Plan, State, plan_from_json, state_from_json
from planner.spec import Fleet, load_fleet
from planner.traces import Request, parse_trace
from profiles.catalogue import builtin

STATE_FOLDER = ".ullage"
STATE_FILE = "state.json"


def read_fleet(path: Path) -> Fleet:
    """The fleet of a fleet.yaml; SpecError lists every fault with its position."""
    return load_fleet(path, path.read_bytes(), builtin())


def read_plan(path: Path) -> Plan:
    """The plan of a plan.json; DocumentError names the field that is wrong."""
    return plan_from_json(_text(path), str(path))


def read_state(folder: Path) -> State:
    """What apply left in a state folder; an empty state when nothing was ever applied there."""
    file = folder / STATE_FILE
    return state_from_json(_text(file), str(file)) if file.exists() else State()


def read_trace(path: Path) -> tuple[Request, ...]:
    """The requests of a csv, csv.gz or parquet trace; TraceError names the row and column that is wrong."""
    return parse_trace(path.name, path.read_bytes())


def state_folder(beside: Path, chosen: Path | None) -> Path:
    """The state folder: the chosen one, else .ullage beside a fleet file or plan."""
    return chosen if chosen is not None else beside.resolve().parent / STATE_FOLDER


def write_text(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}); is it the right file?") from error
