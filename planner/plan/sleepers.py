"""Sleep and wake in plans and states: an engine that sleeps keeps its process and gives back most of its GPU memory.

Level 1 keeps the weights in host memory, level 2 drops them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from planner.plan.bounds import PlanPart

SleepLevel = Literal[1, 2]


class Asleep(PlanPart):
    """A replica that sleeps, by name, and how deep."""

    name: str
    level: SleepLevel


class WithSleepers(PlanPart):
    """A document that says which replicas sleep, sorted by name."""

    asleep: tuple[Asleep, ...] = ()

    @model_serializer(mode="wrap")
    def _written(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Where none sleeps the field is left out: such documents, and their hashes, are those from before there was sleep."""
        written: dict[str, Any] = serialize(self)
        if not self.asleep:
            written.pop("asleep", None)
        return written


class Sleep(PlanPart):
    """Put a replica, out of the routes and drained, to sleep, and wait until its memory is free."""

    kind: Literal["sleep"] = "sleep"
    replica: str
    level: SleepLevel
    reason: str = ""


class Wake(PlanPart):
    """Wake a replica and wait until it makes a token again. All its memory must be free beside what runs there then."""

    kind: Literal["wake"] = "wake"
    replica: str
    reason: str = ""
