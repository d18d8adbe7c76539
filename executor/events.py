"""What apply and destroy tell while they work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Event:
    """One message: action number `step` (from 1) of `steps`, 0 for what belongs to no action of the plan."""

    what: Literal["begun", "done", "failed", "note"]
    step: int
    steps: int
    kind: str
    subject: str
    detail: str = ""


OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """For callers that do not want to be told."""
    del event
