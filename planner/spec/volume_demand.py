"""Volumes of requests with a deadline, as people write them: what is wrong with them, and what they say."""

from __future__ import annotations

from collections.abc import Iterator

from planner.demand.volumes import Volume
from planner.demand.windows import TokenLengths
from planner.spec.clock import DAY_S, WEEK_S, ClockTime
from planner.spec.declared_demand import DeclaredVolume
from planner.spec.declared_workload import DeclaredWorkload
from planner.spec.messages import Loc

_EVERY_S = {"day": DAY_S, "week": WEEK_S}
_OF_A_VOLUME = "is for a volume of requests; write demand: {requests: 200000, input_tokens: ..., output_tokens: ...}, or leave it out"


def volume_problems(declared: DeclaredWorkload) -> Iterator[tuple[Loc, str]]:
    """What is wrong with a volume and its deadline, or with a deadline that has none: fields of the workload."""
    demand = declared.demand
    times = {"deadline": declared.deadline, "released": declared.released}
    if not isinstance(demand, DeclaredVolume):
        yield from (((field,), _OF_A_VOLUME) for field, time in times.items() if time is not None)
        return
    if declared.latency_class != "background":
        yield ("class",), f"{declared.latency_class}: a volume of requests is done where others leave room; write class: background"
    if declared.split != "none":
        yield ("split",), "a volume is not split by the length of prompts; declare short and long prompts as workloads, or leave split out"
    if declared.deadline is None:
        example = "06:00" if demand.every == "day" else "sun 06:00"
        yield (
            ("deadline",),
            f"is required with a volume of requests: by when those of each {demand.every} must be done, in UTC; as {example}",
        )
    for field, time in times.items():
        if time is not None:
            yield from (((field,), message) for message in _time_problems(time, demand))
    if declared.released is not None and declared.released == declared.deadline:
        yield ("released",), f"{declared.released.text} is the deadline, which leaves no time; leave it out for a whole {demand.every}"


def _time_problems(time: ClockTime, demand: DeclaredVolume) -> Iterator[str]:
    if demand.every == "day" and time.day is not None:
        yield f"{time.text} names a day, while there are so many requests every day; write {time.text[4:]}, or every: week"
    if demand.every == "week" and time.day is None:
        yield f"{time.text} names no day, while there are so many requests every week; write for example sun {time.text}, or every: day"


def volume_of(declared: DeclaredWorkload, demand: DeclaredVolume, lengths: tuple[TokenLengths, TokenLengths]) -> Volume:
    """The volume of a workload without problems."""
    assert declared.deadline is not None
    every_s = _EVERY_S[demand.every]
    deadline_s = _second(declared.deadline)
    released_s = deadline_s if declared.released is None else _second(declared.released)
    return Volume(
        requests=demand.requests,
        every_s=every_s,
        released_s=released_s,
        deadline_s=deadline_s if deadline_s > released_s else deadline_s + every_s,
        input=lengths[0],
        output=lengths[1],
    )


def _second(time: ClockTime) -> float:
    return (time.day or 0) * DAY_S + time.second_s
