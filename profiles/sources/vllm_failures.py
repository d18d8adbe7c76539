"""Why a vLLM start failed or an engine died: the root cause in its log, which stands before the engine's own summary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from profiles.sources.failure_causes import CAUSE_BY_NAME, COMPILED, COMPILED_SUMMARIES, OTHER, FailureCause

_WIDEST = 240


@dataclass(frozen=True, slots=True)
class Failure:
    """What a log shows: the cause, the line (counted from 1) and text that show it, and whether the engine was ready before."""

    cause: FailureCause
    line: int
    text: str
    after_start: bool = False


# Some programs colour their output although it goes to a file.
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
# The level of a line of the log, after the tag of its process: only what was no failure to vLLM is passed over. INFO quotes prompts.
_QUIET = re.compile(r"(?:\([^)]*\) )*(?:(?:DEBUG|INFO|WARNING) \d\d-\d\d |INFO: )")
_EXCEPTION = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception)): \S")
# Summaries of a failure that happened elsewhere.
_SUMMARIES = re.compile(r"See (?:root cause|stack trace)|initialization failed|BrokenPipeError|died unexpectedly|EngineDeadError")
# uvicorn's word for "ready" (uvicorn/lifespan/on.py)
_READY = re.compile(r"Application startup complete")
# The engine's core ends with the exception that follows (vllm/v1/engine/core.py)
_FATAL = re.compile(r"EngineCore encountered a fatal error")


def root_cause(text: str, *, ready: bool = False) -> Failure | None:
    """The first line that shows a known cause, else the first exception, else a summary; None when the log shows none of them.

    ready: the text begins after the engine was ready. From then on an engine logs errors of single requests, too: only what can end the
    engine counts, and an unknown exception only once the engine says that its core ends.
    """
    unknown: Failure | None = None
    summary: Failure | None = None
    fatal = False
    for number, line in _lines(text):
        if _READY.search(line):
            ready, unknown, summary = True, None, None
            continue
        if _QUIET.match(line):
            continue
        fatal = fatal or _FATAL.search(line) is not None
        found = next((cause for cause, pattern in COMPILED_SUMMARIES if pattern.search(line)), None)
        if found is not None and summary is None:
            summary = Failure(found, number, _shown(line), ready)
        if _SUMMARIES.search(line):
            continue
        cause = _known(line, ready)
        if cause is not None:
            return Failure(cause, number, _shown(line), ready)
        if unknown is None and (fatal or not ready) and _EXCEPTION.search(line):
            unknown = Failure(CAUSE_BY_NAME["config"] if _is_config(line, ready) else OTHER, number, _shown(line), ready)
    return unknown or summary


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, _COLOUR.sub("", line)) for number, line in enumerate(text.splitlines(), 1))


def _known(line: str, ready: bool) -> FailureCause | None:
    return next((cause for cause, pattern in COMPILED if (cause.running or not ready) and pattern.search(line)), None)


def _is_config(line: str, ready: bool) -> bool:
    return not ready and "ValidationError" in line


def _shown(line: str) -> str:
    """The message without the prefix of process, level, time and place."""
    message = re.sub(r"^(?:\([^)]*\) )*(?:[A-Z]+ \d\d-\d\d [\d:]+ (?:\[[^\]]*\]|\S+:\d+\]) )?", "", line).strip()
    return message if len(message) <= _WIDEST else f"{message[: _WIDEST - 3]}..."
