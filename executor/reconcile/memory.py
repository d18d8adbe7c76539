"""What the loop remembers over a restart, in reconcile.json: its last passes, and the replicas that fail again and again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from executor.processes import proc
from executor.reconcile.attempts import Attempt
from profiles.regular_files import write_atomic

PassOutcome = Literal["steady", "changed", "failed", "busy"]

# So many passes are kept.
PASSES_KEPT = 20


@dataclass(frozen=True, slots=True)
class PassReport:
    """One pass of the loop: when it began (UTC, ISO 8601), how long it took, what it did, and what is still not as planned.

    steady: nothing to do; changed: something was done, and it worked; failed: failures say what did not; busy: somebody else holds the
    state folder. drift are the lines of what is left, for people.
    """

    at: str
    duration_s: float
    outcome: PassOutcome
    actions: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Remembered:
    """passes, newest last; attempts at replicas that have failed; plans, by hash, that were taken back, with the reason."""

    passes: tuple[PassReport, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Stored(Remembered):
    boot_id: str = ""


_STORED = TypeAdapter(_Stored)


def recall(path: Path) -> Remembered:
    """What the file says; nothing where it is missing or damaged, which costs no more than a try too early."""
    try:
        stored = _STORED.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return Remembered()
    attempts = stored.attempts
    if stored.boot_id != proc.boot_id():
        # the clock that counts from the start of the machine has begun anew
        attempts = tuple(replace(attempt, failed_at_s=0.0, retry_at_s=0.0) for attempt in attempts)
    return Remembered(stored.passes, attempts, stored.rejected)


def remember(path: Path, remembered: Remembered) -> None:
    """Write the file; a disk that refuses must not stop the loop."""
    value = {
        "boot_id": proc.boot_id(),
        "passes": [asdict(item) for item in remembered.passes[-PASSES_KEPT:]],
        "rejected": dict(remembered.rejected),
        "attempts": [asdict(item) for item in remembered.attempts],
    }
    with suppress(OSError):
        write_atomic(path, json.dumps(value, sort_keys=True, indent=2) + "\n")
