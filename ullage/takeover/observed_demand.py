"""The demand of a workload from what its servers counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from executor.hand_started.server_answers import EngineTraffic, ObservedLengths
from ullage.takeover.written_server import WrittenServer

_SECONDS_PER_HOUR = 3600
# requests per second from which on a rate is written per second
_OFTEN_RPS = 0.1
_LEAST_PER_HOUR = 0.001
_PLACEHOLDER_RATE, _PLACEHOLDER_INPUT, _PLACEHOLDER_OUTPUT = "1/s", 500, 200


def demand_of(servers: Sequence[WrittenServer], *, embeds: bool) -> tuple[list[str], dict[str, Any]]:
    """Comments and fields: the mean rate and lengths over the lives of the servers, placeholders where nobody counted."""
    seen = [server.traffic for server in servers if server.traffic is not None and server.traffic.requests and server.traffic.age_s]
    comments, demand = _rate(seen, len(servers))
    parts = [("input_tokens", [item.prompts for item in seen], _PLACEHOLDER_INPUT)]
    if not embeds:
        parts.append(("output_tokens", [item.answers for item in seen], _PLACEHOLDER_OUTPUT))
    for key, lengths, placeholder in parts:
        weighed = [(found, item.requests) for found, item in zip(lengths, seen, strict=True) if found is not None]
        demand[key] = _lengths(weighed) if weighed else placeholder
        if not weighed:
            comments.append(f"unknown: {key}: nothing was counted; a placeholder")
    return comments, demand


def _rate(seen: Sequence[EngineTraffic], servers: int) -> tuple[list[str], dict[str, Any]]:
    rate_rps = sum(item.requests / item.age_s for item in seen if item.age_s)
    if not rate_rps:
        return ["unknown: rate: no requests were counted; a placeholder"], {"rate": _PLACEHOLDER_RATE}
    requests, longest_s = sum(item.requests for item in seen), max(item.age_s or 0.0 for item in seen)
    comments = [
        f"{requests} requests of {longest_s:.0f} s: means over the whole life of the server, quiet times and warm-up with them. Peaks are "
        "higher: a trace, or `windows`, plans for them"
    ]
    if len(seen) < servers:
        comments.append(f"unknown: the requests of {servers - len(seen)} of its {servers} servers")
    return comments, {"rate": _rate_words(rate_rps)}


def _rate_words(rate_rps: float) -> str:
    if rate_rps >= _OFTEN_RPS:
        return f"{rate_rps:.3f}/s"
    return f"{max(_LEAST_PER_HOUR, rate_rps * _SECONDS_PER_HOUR):.3f}/h"


def _lengths(weighed: Sequence[tuple[ObservedLengths, int]]) -> Any:  # noqa: ANN401 -- a number, or mean and p99
    requests = sum(weight for _, weight in weighed)
    mean_tokens = max(1.0, round(sum(found.mean_tokens * weight for found, weight in weighed) / requests, 1))
    highest = [found.p99_tokens for found, _ in weighed if found.p99_tokens is not None]
    if not highest or max(highest) <= mean_tokens:
        return mean_tokens
    return {"mean": mean_tokens, "p99": max(highest)}
