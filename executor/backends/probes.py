"""Questions to a running engine over its HTTP surface."""

from __future__ import annotations

import os
from contextlib import suppress

import aiohttp

from executor import credentials
from executor.backends.protocol import Answer, EngineLoad, Latencies
from executor.errors import AccessError
from planner.plan import Replica
from profiles.sources.prometheus_text import ACCEPT, samples

# one question that is answered from memory; a hung engine must not hold up the one who asks
QUICK_LIMIT_S = 5.0

# vLLM's words for them in engine_sleep_state
_SLEEP_LEVELS = {"awake": 0, "weights_offloaded": 1, "discard_all": 2}


async def served_names(session: aiohttp.ClientSession, host: str, port: int) -> tuple[str, ...] | None:
    """Names under /v1/models; () from something that answers but is no engine; None when nothing answers.

    Raises AccessError when an API key is demanded that ours is not.
    """
    headers = credentials.authorization(os.environ)
    try:
        async with session.get(
            f"{base_url(host, port)}/v1/models", headers=headers, timeout=aiohttp.ClientTimeout(total=QUICK_LIMIT_S)
        ) as answer:
            _require_access(answer)
            body = await answer.json(content_type=None)
            return tuple(str(entry["id"]) for entry in body["data"])
    except (TimeoutError, aiohttp.ClientConnectorError):
        return None
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        return ()


async def first_answer(
    session: aiohttp.ClientSession, host: str, port: int, served_name: str, limit_s: float, *, pooling: bool
) -> str | None:
    """A completion of one token, or what a pooling engine makes of one; None when it came, else what went wrong.

    Raises AccessError as served_names does.
    """
    headers = credentials.authorization(os.environ)
    # every pooling engine answers /pooling, whether it makes vectors, classes or scores
    path = "/pooling" if pooling else "/v1/completions"
    asked = {"input": [1]} if pooling else {"prompt": [1], "max_tokens": 1, "temperature": 0}
    body = {"model": served_name, **asked}
    try:
        async with session.post(
            f"{base_url(host, port)}{path}", json=body, headers=headers, timeout=aiohttp.ClientTimeout(total=limit_s)
        ) as answer:
            _require_access(answer)
            if answer.status == 200:
                return None
            return f"HTTP {answer.status}: {(await answer.text())[:200]}"
    except TimeoutError:
        return f"no answer within {limit_s:.0f} s"
    except aiohttp.ClientError as error:
        return f"{type(error).__name__}: {error}"


async def latencies(replica: Replica) -> Latencies | None:
    """Histograms of a replica's /metrics; None when nothing answers."""
    async with aiohttp.ClientSession() as session:
        text = await _metrics(session, replica.host, replica.args.port)
    return None if text is None else read_latencies(text)


def read_latencies(text: str) -> Latencies:
    """The histograms on a page of metrics, summed over labels."""
    counts: dict[str, dict[float, float]] = {}
    for sample in samples(text):
        if sample.name.endswith("_seconds_bucket") and "le" in sample.labels:
            with suppress(ValueError):
                bounds = counts.setdefault(sample.name.removesuffix("_seconds_bucket"), {})
                bound_s = float(sample.labels["le"])
                bounds[bound_s] = bounds.get(bound_s, 0.0) + sample.value
    # of a request as a whole where the engine tells it, else between tokens
    tpot = counts.get("request_time_per_output_token") or counts.get("inter_token_latency") or counts.get("time_per_output_token") or {}
    ttft = counts.get("time_to_first_token", {})
    return Latencies(*(tuple((bound_s, int(found[bound_s])) for bound_s in sorted(found)) for found in (ttft, tpot)))


async def load(session: aiohttp.ClientSession, host: str, port: int) -> EngineLoad | None:
    """Load from /metrics; None when nothing answers or it is not an engine's page."""
    text = await _metrics(session, host, port)
    return None if text is None else read_load(text)


async def _metrics(session: aiohttp.ClientSession, host: str, port: int) -> str | None:
    try:
        headers = {"Accept": ACCEPT}
        async with session.get(
            f"{base_url(host, port)}/metrics", headers=headers, timeout=aiohttp.ClientTimeout(total=QUICK_LIMIT_S)
        ) as answer:
            return await answer.text()
    except (TimeoutError, aiohttp.ClientError, ConnectionError, ValueError):
        return None


def read_load(text: str) -> EngineLoad | None:
    """The load on a page of metrics; None when it is not an engine's."""
    values: dict[str, float] = {}
    kv_blocks: int | None = None
    asleep: int | None = None
    for sample in samples(text):
        values[sample.name] = values.get(sample.name, 0.0) + sample.value
        told = sample.labels.get("num_gpu_blocks", "") if sample.name == "cache_config_info" else ""
        if told.isdecimal():
            kv_blocks = (kv_blocks or 0) + int(told)
        if sample.name == "engine_sleep_state" and sample.value:
            # an engine with several cores sleeps as deep as the deepest
            asleep = max(asleep or 0, _SLEEP_LEVELS.get(sample.labels.get("sleep_state", ""), 0))
    if "num_requests_running" not in values:
        return None
    steps = values.get("iteration_tokens_total_count")
    finished = values.get("request_success_total")
    return EngineLoad(
        running=int(values["num_requests_running"]),
        waiting=int(values.get("num_requests_waiting", 0.0)),
        kv_fraction=values.get("kv_cache_usage_perc", 0.0),
        generated_tokens=int(values.get("generation_tokens_total", 0.0)),
        prompt_tokens=int(values.get("prompt_tokens_total", 0.0)),
        steps=None if steps is None else int(steps),
        kv_blocks=kv_blocks,
        finished_requests=None if finished is None else int(finished),
        asleep=asleep,
    )


async def ask(replica: Replica) -> Answer:
    """What an engine says of itself over HTTP."""
    async with aiohttp.ClientSession() as session:
        try:
            names = await served_names(session, replica.host, replica.args.port)
        except AccessError:
            return Answer(None, denied=True, load=None)
        seen = await load(session, replica.host, replica.args.port) if names is not None else None
        return Answer(names, denied=False, load=seen)


async def try_out(replica: Replica, limit_s: float) -> str | None:
    """One token, or what a pooling engine makes of one: None when it came, else what went wrong."""
    async with aiohttp.ClientSession() as session:
        try:
            pooling = replica.args.runner == "pooling"
            return await first_answer(session, replica.host, replica.args.port, replica.served_name, limit_s, pooling=pooling)
        except AccessError as error:
            return str(error)


def _require_access(answer: aiohttp.ClientResponse) -> None:
    if answer.status in credentials.DENIALS:
        raise AccessError(credentials.DEMAND)


def base_url(host: str, port: int) -> str:
    """Where an engine answers."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
