"""A look at a live vLLM server: which model it serves, its version and settings, and whether anybody else uses it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from executor import credentials
from executor.errors import AccessError
from executor.measure.load import MeasureError, Target
from profiles.sources.prometheus_text import ACCEPT, sums

# One question that is answered from memory; on a machine whose cores all compute, an API process may wait seconds for its turn.
_QUICK_LIMIT_S = 30.0
# the first completion of an engine that has just started
_FIRST_LIMIT_S = 60.0
# Requests of a measurement that was interrupted are still running: vLLM notices within a step that their clients are gone.
_SETTLE_LIMIT_S = 10.0
_LOOK_EVERY_S = 0.2
_MOST_BODY = 300

_COMPLETIONS = "/v1/completions"
_NO_COMPLETIONS = "; a server of a model that embeds (task: embed) writes no text, and is not measured"
# The first question to the engine itself: so many tokens in, so many out.
_PROBE_INPUT_TOKENS, _PROBE_OUTPUT_TOKENS = 16, 2

# Whether two names are of one model.
SameModel = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself. metrics is its page of metrics before anything was measured."""

    target: Target
    root: str
    max_model_len: int
    engine_version: str
    metrics: str


@dataclass(frozen=True, slots=True)
class ServerCounters:
    """Requests in the engine now, ended since its start, and prompt tokens that its prefix cache answered.

    decoded and decode_s are the engine's own histogram of the time from first to last token: answers in it, and their sum in seconds.
    """

    running: int
    waiting: int
    ended: int
    cached_tokens: int
    decoded: int = 0
    decode_s: float = 0.0

    def tpot_since(self, before: ServerCounters, output_tokens: int) -> float | None:
        """Mean TPOT in seconds of the answers of so many tokens that ended after `before`, by the engine's clock.

        None where it does not tell: no answer ended, its page has no such histogram, or answers are one token long.
        """
        ended = self.decoded - before.decoded
        took_s = self.decode_s - before.decode_s
        return took_s / ended / (output_tokens - 1) if ended > 0 and took_s > 0 and output_tokens > 1 else None


def address(url: str) -> tuple[str, int]:
    """Host and port of http://HOST:PORT; ValueError says what is wrong with another one."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from None
    if parts.scheme != "http" or not host or parts.path.rstrip("/") not in {"", "/v1"} or parts.query or parts.username:
        raise ValueError(f"{url}: write http://HOST:PORT of the vLLM server, without a path")
    return host, port or 80


async def look(session: aiohttp.ClientSession, url: str, model: str, served_name: str | None, same: SameModel) -> Server:
    """What serves `model` there, under served_name when that is given.

    Raises MeasureError when nothing answers, it is no vLLM server or serves other models; AccessError for a missing API key.
    """
    host, port = address(url)
    base = Target(host, port, served_name or model)
    version = _json(base, "/version", await _get(session, base, "/version"))
    models = _json(base, "/v1/models", await _get(session, base, "/v1/models"))
    metrics = await _get(session, base, "/metrics")
    if "num_requests_running" not in sums(metrics):
        raise MeasureError(f"{base.url}/metrics: has no vllm:num_requests_running; is it a vLLM server?")
    try:
        entries = [(str(entry["id"]), str(entry.get("root") or entry["id"]), int(entry["max_model_len"] or 0)) for entry in models["data"]]
        found = _served(base, entries, model, served_name, same)
        engine_version = str(version["version"])
    except (KeyError, TypeError, ValueError) as error:
        raise MeasureError(f"{base.url}: no vLLM server: /v1/models or /version lacks {error}") from None
    if found[2] < 2:
        raise MeasureError(f"{base.url}/v1/models: max_model_len of {found[0]} is {found[2]}")
    server = Server(Target(host, port, found[0]), found[1], found[2], engine_version, metrics)
    await _probe(session, server)
    return server


def _served(
    base: Target, entries: list[tuple[str, str, int]], model: str, served_name: str | None, same: SameModel
) -> tuple[str, str, int]:
    if served_name is not None:
        matching = [entry for entry in entries if entry[0] == served_name]
    else:
        exact = [entry for entry in entries if model in entry[:2]]
        matching = exact or [entry for entry in entries if any(same(model, name) for name in entry[:2])]
    if matching:
        return matching[0]
    there = ", ".join(name if root == name else f"{name} ({root})" for name, root, _ in entries) or "nothing"
    hint = "" if served_name else "; if that is the model under another name, say so with --served-name"
    raise MeasureError(f"{base.url}: does not serve {served_name or model}, but {there}{hint}")


async def counters(session: aiohttp.ClientSession, target: Target) -> ServerCounters:
    """What the engine counts now; MeasureError when it does not answer."""
    values = sums(await _get(session, target, "/metrics"))
    return ServerCounters(
        running=int(values.get("num_requests_running", 0.0)),
        waiting=int(values.get("num_requests_waiting", 0.0)),
        ended=int(values.get("request_success_total", 0.0)),
        cached_tokens=int(values.get("prefix_cache_hits_total", 0.0)),
        decoded=int(values.get("request_decode_time_seconds_count", 0.0)),
        decode_s=values.get("request_decode_time_seconds_sum", 0.0),
    )


async def idle_counters(session: aiohttp.ClientSession, target: Target, settle_limit_s: float = _SETTLE_LIMIT_S) -> ServerCounters:
    """Its counters once nothing is running; MeasureError when others keep it busy, whose requests would be measured with ours."""
    clock = asyncio.get_running_loop().time
    deadline_s = clock() + settle_limit_s
    while (seen := await counters(session, target)).running or seen.waiting:
        if clock() >= deadline_s:
            raise MeasureError(
                f"{target.url}: is busy with {seen.running} running and {seen.waiting} waiting requests that are not ours; "
                "measure when nobody else uses it"
            )
        await asyncio.sleep(_LOOK_EVERY_S)
    return seen


async def _probe(session: aiohttp.ClientSession, server: Server) -> None:
    """One small request: the engine answers, generates as many tokens as asked, and takes token ids as they are."""
    target = server.target
    asked = min(_PROBE_INPUT_TOKENS, server.max_model_len - 1), min(_PROBE_OUTPUT_TOKENS, server.max_model_len - 1)
    body = {
        "model": target.served_name,
        "prompt": list(range(1000, 1000 + asked[0])),
        "max_tokens": asked[1] if asked[0] + asked[1] <= server.max_model_len else 1,
        "temperature": 0,
        "ignore_eos": True,
    }
    answer = _json(target, _COMPLETIONS, await _ask(session, target, "POST", _COMPLETIONS, body))
    try:
        seen = int(answer["usage"]["prompt_tokens"]), int(answer["usage"]["completion_tokens"])
    except (KeyError, TypeError, ValueError):
        raise MeasureError(f"{target.url}{_COMPLETIONS}: the answer has no usage with prompt_tokens and completion_tokens") from None
    if seen != (asked[0], body["max_tokens"]):
        raise MeasureError(
            f"{target.url}{_COMPLETIONS}: the server counts {seen[0]} prompt and {seen[1]} answer tokens where "
            f"{asked[0]} token ids were sent and {body['max_tokens']} tokens asked for: lengths would be wrong"
        )


async def _get(session: aiohttp.ClientSession, target: Target, path: str) -> str:
    return await _ask(session, target, "GET", path, None)


async def _ask(session: aiohttp.ClientSession, target: Target, method: str, path: str, body: object) -> str:
    headers = {**credentials.authorization(os.environ), "Accept": ACCEPT if path == "/metrics" else "application/json"}
    where = f"{target.url}{path}"
    limit_s = _QUICK_LIMIT_S if body is None else _FIRST_LIMIT_S
    try:
        async with session.request(method, where, json=body, headers=headers, timeout=aiohttp.ClientTimeout(total=limit_s)) as answer:
            text = await answer.text(errors="replace")
    except TimeoutError:
        raise MeasureError(f"{where}: no answer within {limit_s:g} s; does the server hang, or sleep?") from None
    except aiohttp.ClientConnectorError as error:
        raise MeasureError(f"{where}: nothing answers ({error.os_error.strerror or error}); start the vLLM server first") from None
    except (aiohttp.ClientError, ValueError) as error:
        raise MeasureError(f"{where}: no HTTP answer ({type(error).__name__}); is it a vLLM server?") from None
    if answer.status in credentials.DENIALS:
        raise AccessError(f"{target.url}: {credentials.DEMAND}")
    if answer.status != 200:
        hint = _NO_COMPLETIONS if answer.status == HTTPStatus.NOT_FOUND and path == _COMPLETIONS else ""
        raise MeasureError(f"{where}: HTTP {answer.status}: {text.strip()[:_MOST_BODY] or 'without a body'}{hint}")
    return text


def _json(target: Target, path: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise MeasureError(f"{target.url}{path}: the answer is no JSON object; is it a vLLM server?")
    return found
