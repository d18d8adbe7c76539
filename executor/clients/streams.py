"""What a streamed completion was, read from its bytes after it ended, and when its tokens arrived."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

# Every event that carries tokens has choices; in the text of a token the quotes would be escaped.
_CHOICES = b'"choices"'
_EVENT = b"data: "

# vLLM writes `"usage": null` into other events; only the report at the end holds an object
_USAGE = re.compile(rb'"usage": ?\{[^}]*"completion_tokens": ?(\d+)')


@dataclass(frozen=True, slots=True)
class Stream:
    """Tokens by the engine's own report (0 without one), and arrival of the first and last event that carries some."""

    output_tokens: int
    first_token_s: float | None
    last_token_s: float | None


def read_stream(parts: Sequence[bytes], stamps_s: Sequence[float]) -> Stream:
    """The stream in a chunked body that came in these parts at these times. Raises ValueError when it is not chunked."""
    body, starts, raw_starts = dechunk(b"".join(parts))
    report = _USAGE.search(body)
    # without a report there is no telling tokens from other events: all count
    end = body.rfind(_EVENT, 0, report.start()) if report else len(body)
    first, last = body.find(_CHOICES, 0, end), body.rfind(_CHOICES, 0, end)
    if first < 0:
        return Stream(0, None, None)
    ends = _running_sums(parts)

    def arrived_s(at: int) -> float:
        chunk = bisect_right(starts, at) - 1
        raw_at = raw_starts[chunk] + at - starts[chunk]
        return stamps_s[bisect_right(ends, raw_at)]

    return Stream(int(report[1]) if report else 0, arrived_s(first), arrived_s(last))


def dechunk(raw: bytes) -> tuple[bytes, list[int], list[int]]:
    """Payload of a chunked body, and per chunk where it starts in the payload and in the raw bytes."""
    at, length, payloads, starts, raw_starts = 0, 0, list[bytes](), list[int](), list[int]()
    while (line_end := raw.find(b"\r\n", at)) >= 0:
        size = int(raw[at:line_end], 16)
        if size == 0:
            break
        begin = line_end + 2
        payloads.append(raw[begin : begin + size])
        starts.append(length)
        raw_starts.append(begin)
        length += size
        at = begin + size + 2
    return b"".join(payloads), starts, raw_starts


def _running_sums(parts: Sequence[bytes]) -> list[int]:
    total, sums = 0, []
    for part in parts:
        total += len(part)
        sums.append(total)
    return sums
