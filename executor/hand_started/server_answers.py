"""What a server that was found says of itself: its names and lengths, its KV pool, and what it was asked so far."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address

import aiohttp

from executor import credentials, ports
from executor.backends.probes import QUICK_LIMIT_S, base_url
from executor.hand_started.listening import listens
from executor.hand_started.server_search import EngineProcess
from profiles.sources.prometheus_text import ACCEPT, Sample, samples

# a page of metrics has some 100 kB; whoever sends more is no engine
_MOST_BYTES = 16 << 20
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}  # noqa: S104 - it is asked, not listened on
_QUANTILE = 0.99


@dataclass(frozen=True, slots=True)
class ObservedLengths:
    """Tokens of the requests that ended: the mean, and the bound below which 99 of 100 were (None where the engine does not tell)."""

    mean_tokens: float
    p99_tokens: float | None


@dataclass(frozen=True, slots=True)
class EngineTraffic:
    """Counters over the engine's life of age_s seconds: requests that ended well, and their lengths (None without any request)."""

    requests: int
    age_s: float | None
    prompts: ObservedLengths | None
    answers: ObservedLengths | None


@dataclass(frozen=True, slots=True)
class EngineAnswers:
    """What came of asking. names are () where something else answers, None where nothing does; then trouble says why.

    max_model_len is that of /v1/models, version that of /version; kv_blocks, block_size and kv_bytes are of the engine's cache_config_info.
    """

    names: tuple[str, ...] | None
    trouble: str | None = None
    max_model_len: int | None = None
    kv_blocks: int | None = None
    block_size: int | None = None
    kv_bytes: int | None = None
    traffic: EngineTraffic | None = None
    version: str | None = None


def ask_all(servers: tuple[EngineProcess, ...], ages_s: Mapping[int, float | None]) -> dict[int, EngineAnswers]:
    """Ask each server, by process id; ages_s are seconds since each was started. Never raises for a server that answers badly."""

    async def ask_them() -> list[EngineAnswers]:
        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(*(_ask(session, server, ages_s.get(server.pid)) for server in servers))

    return {server.pid: answers for server, answers in zip(servers, asyncio.run(ask_them()), strict=True)}


async def _ask(session: aiohttp.ClientSession, server: EngineProcess, age_s: float | None) -> EngineAnswers:
    trouble = _unaskable(server)
    if trouble is not None:
        return EngineAnswers(None, trouble)
    url = base_url(address(server.command.host), server.command.port)
    # a key is for servers of our own user: what others call vllm may be anything
    headers = credentials.authorization(os.environ) if server.own else {}
    status, text = await _page(session, f"{url}/v1/models", headers)
    if status is None:
        return EngineAnswers(None, f"nothing answers on port {server.command.port}; it may still be starting")
    if status in credentials.DENIALS:
        return EngineAnswers(None, credentials.DEMAND)
    cards = _cards(text)
    if not cards:
        return EngineAnswers((), f"what answers on port {server.command.port} is no engine")
    _, metrics = await _page(session, f"{url}/metrics", {"Accept": ACCEPT})
    longest = next((length for card in cards if isinstance(length := card.get("max_model_len"), int)), None)
    read = read_metrics(metrics, tuple(str(card["id"]) for card in cards), longest, age_s)
    _, told = await _page(session, f"{url}/version", headers)
    return replace(read, version=_version(told))


def _version(text: str) -> str | None:
    try:
        found = str(json.loads(text)["version"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if re.fullmatch(r"[0-9]+\.[0-9]+[.a-z0-9+-]{0,30}", found) else None


def address(host: str) -> str:
    """Where a server that listens on this host is asked from its own machine."""
    return _EVERYWHERE.get(host, host)


def _unaskable(server: EngineProcess) -> str | None:
    command = server.command
    if command.value("uds") is not None:
        return "it listens on a UNIX socket (--uds), which is not asked"
    if server.elsewhere:
        return "it lives in another network namespace (a container): its port is not one of this machine's"
    if not 0 < command.port < 1 << 16:
        return "its port is not known"
    return _unreachable(command.host) or (
        f"its processes do not listen on port {command.port}; it may still be starting"
        if listens(server.family, command.port) is False
        else None
    )


def _unreachable(host: str) -> str | None:
    """A command line of somebody else must not make us ask other machines."""
    try:
        ip_address(address(host))
    except ValueError:
        return f"its host {host!r} is a name, which is not looked up"
    return None if ports.obstacle(address(host), 0) is None else f"{host} is not an address of this machine"


async def _page(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> tuple[int | None, str]:
    """Status and text; None where nothing answers in time, an empty text for one that is too long."""
    limit = aiohttp.ClientTimeout(total=QUICK_LIMIT_S)
    try:
        async with session.get(url, headers=headers, timeout=limit, allow_redirects=False) as answer:
            found = bytearray()
            async for part in answer.content.iter_chunked(1 << 16):
                found += part
                if len(found) > _MOST_BYTES:
                    return answer.status, ""
            return answer.status, found.decode("utf-8", "replace")
    except (TimeoutError, aiohttp.ClientConnectorError):
        return None, ""
    except (aiohttp.ClientError, OSError, ValueError):
        return 0, ""


def _cards(text: str) -> list[dict[str, object]]:
    try:
        found = json.loads(text)["data"]
        return [card for card in found if isinstance(card, dict) and "id" in card]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def read_metrics(text: str, names: tuple[str, ...], max_model_len: int | None, age_s: float | None) -> EngineAnswers:
    """A page of metrics; what it does not say is None."""
    found = tuple(samples(text))
    info = next((sample.labels for sample in found if sample.name == "cache_config_info"), {})
    ended = [sample.value for sample in found if sample.name == "request_success_total"]
    traffic = None
    if ended:
        prompts, answers = (_lengths(found, f"request_{kind}_tokens") for kind in ("prompt", "generation"))
        traffic = EngineTraffic(int(sum(ended)), age_s, prompts, answers)
    return EngineAnswers(
        names=names,
        max_model_len=max_model_len,
        kv_blocks=_count(info, "num_gpu_blocks"),
        block_size=_count(info, "block_size"),
        kv_bytes=_count(info, "kv_cache_memory_bytes"),
        traffic=traffic,
    )


def _count(labels: Mapping[str, str], name: str) -> int | None:
    text = labels.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 16 and int(text) else None


def _lengths(found: tuple[Sample, ...], name: str) -> ObservedLengths | None:
    count = sum(sample.value for sample in found if sample.name == f"{name}_count")
    total = sum(sample.value for sample in found if sample.name == f"{name}_sum")
    if not count > 0:
        return None
    below: dict[float, float] = {}
    for sample in found:
        if sample.name == f"{name}_bucket":
            try:
                bound_tokens = float(sample.labels.get("le", ""))
            except ValueError:
                continue
            below[bound_tokens] = below.get(bound_tokens, 0.0) + sample.value
    p99_tokens = next((bound for bound in sorted(below) if below[bound] >= _QUANTILE * count), None)
    return ObservedLengths(total / count, None if p99_tokens in (None, float("inf")) else p99_tokens)
