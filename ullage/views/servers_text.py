"""Servers that were found on this machine, as text and as values for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from executor.hand_started.found_servers import FoundServer, FoundServers
from executor.hand_started.server_answers import EngineTraffic
from ullage.views.words import table

_UNKNOWN = "?"


def servers_text(found: FoundServers) -> str:
    """A table, then the flags of each server, and what could not be known; ends in a newline."""
    if not found.servers:
        lines = ["no vLLM server runs on this machine, as far as its processes can be seen"]
    else:
        heading = ("pid", "user", "model", "served as", "port", "GPU", "KV blocks", "requests")
        lines = [f"{len(found.servers)} vLLM server{'s' * (len(found.servers) != 1)}", *table([heading, *map(_row, found.servers)])]
    for server in found.servers:
        lines += _details(server)
    lines += [f"process {pid} is an engine of vLLM whose server is gone; it may hold GPU memory" for pid in found.orphans]
    return "\n".join(map(printable, lines)) + "\n"


def printable(text: str) -> str:
    """One line without control characters: a command line is whatever its user wrote."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _row(server: FoundServer) -> tuple[str, ...]:
    engine, answers = server.engine, server.answers
    gpus = _UNKNOWN if server.gpus is None else ",".join(map(str, server.gpus))
    names = answers.names or engine.command.served_names()
    blocks = _UNKNOWN if answers.kv_blocks is None else str(answers.kv_blocks)
    requests = _UNKNOWN if answers.traffic is None else str(answers.traffic.requests)
    port = str(engine.command.port or _UNKNOWN)
    return (str(engine.pid), engine.user, engine.command.model or _UNKNOWN, ",".join(names) or _UNKNOWN, port, gpus, blocks, requests)


def _details(server: FoundServer) -> Iterator[str]:
    engine = server.engine
    yield f"process {engine.pid}"
    if engine.unit is not None:
        yield f"  runs in {engine.unit}"
    yield f"  flags: {' '.join(flag.words for flag in engine.command.flags) or 'none'}"
    if server.answers.traffic is not None:
        yield f"  {traffic_words(server.answers.traffic)}"
    yield from (f"  unknown {line}" for line in server.unknown)


def traffic_words(traffic: EngineTraffic) -> str:
    """Counters since the engine was started, as a sentence."""
    since = "" if traffic.age_s is None else f" in the {traffic.age_s:.0f} s since it was started"
    lengths = "".join(
        f", {lengths.mean_tokens:.0f} tokens per {what}"
        for what, lengths in (("prompt", traffic.prompts), ("answer", traffic.answers))
        if lengths is not None
    )
    return f"{traffic.requests} requests{since}{lengths}"


def servers_facts(found: FoundServers) -> dict[str, Any]:
    """Everything that is known, for JSON; null where it is not."""
    return {"servers": [_facts(server) for server in found.servers], "orphans": list(found.orphans)}


def _facts(server: FoundServer) -> dict[str, Any]:
    engine, answers = server.engine, server.answers
    traffic = answers.traffic
    return {
        "pid": engine.pid,
        "user": engine.user,
        "own": engine.own,
        "unit": engine.unit,
        "model": engine.command.model,
        "served_names": list(answers.names or engine.command.served_names()),
        "host": engine.command.host,
        "port": engine.command.port or None,
        "gpus": None if server.gpus is None else list(server.gpus),
        "flags": {flag.name: list(flag.values) if flag.values else flag.on for flag in engine.command.flags},
        "max_model_len": answers.max_model_len,
        "kv_blocks": answers.kv_blocks,
        "requests": None if traffic is None else traffic.requests,
        "age_s": None if traffic is None else traffic.age_s,
        "mean_input_tokens": None if traffic is None or traffic.prompts is None else traffic.prompts.mean_tokens,
        "mean_output_tokens": None if traffic is None or traffic.answers is None else traffic.answers.mean_tokens,
        "unknown": list(server.unknown),
    }
