"""The backend that the engines of a state folder were started with."""

from __future__ import annotations

from pathlib import Path

from executor.backends.engine_kinds import OpenBackend
from executor.state.folder import StateFolder
from ullage.plugins import BACKENDS, load

# What is started where nobody says anything.
DEFAULT_ENGINE_KIND = "vllm"


def engine_of(state_dir: Path) -> str:
    """Name of the kind of engine of the last apply, else the default. Raises StateError on a damaged state folder."""
    return StateFolder(state_dir).engine() or DEFAULT_ENGINE_KIND


def backend_of(state_dir: Path) -> OpenBackend:
    """What opens its backend. Raises ValueError for one that is not installed here, StateError on a damaged state folder."""
    found: OpenBackend = load("backends", BACKENDS, engine_of(state_dir))
    return found
