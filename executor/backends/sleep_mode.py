"""vLLM's sleep mode over HTTP: put an engine to sleep, wake it, and look whether its memory is free.

These paths exist with VLLM_SERVER_DEV_MODE=1 only, and nobody is asked for a key there: they are used on loopback only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address

import aiohttp

from executor.backends import probes
from executor.backends.protocol import ObservedGpu
from executor.errors import AccessError, ProcessError
from executor.file_names import file_name
from executor.waiting import wait_until
from planner.plan import Replica, SleepLevel
from planner.sleep_costs import asleep_mib

_POLL_S = 0.1


async def put_to_sleep(replica: Replica, level: SleepLevel, limit_s: float) -> None:
    """Return once it says that it sleeps; requests in it end first. Can be repeated. Raises ProcessError."""
    async with aiohttp.ClientSession() as session:
        if await _is_sleeping(session, replica):
            load = await probes.load(session, replica.host, replica.args.port)
            if load is not None and load.asleep not in (None, level):
                raise ProcessError(f"replica {replica.name}: sleeps at level {load.asleep} already, not at level {level}; wake it first")
            return
        # the default aborts the requests that run
        await _post(session, replica, f"/sleep?level={level}&mode=wait", limit_s)
        await _until(session, replica, asleep=True, limit_s=limit_s)


async def wake(replica: Replica, limit_s: float) -> None:
    """Return once it makes a token. Can be repeated. Raises ProcessError."""
    async with aiohttp.ClientSession() as session:
        if await _is_sleeping(session, replica):
            load = await probes.load(session, replica.host, replica.args.port)
            if load is not None and load.asleep == 1:
                await _post(session, replica, "/wake_up", limit_s)
            else:
                # Level 2 has dropped the weights. It counts as asleep until its KV cache is back, so a crash in between forgets nothing.
                await _post(session, replica, "/wake_up?tags=weights", limit_s)
                await _post(session, replica, "/collective_rpc", limit_s, {"method": "reload_weights"})
                await _post(session, replica, "/wake_up?tags=kv_cache", limit_s)
            await _until(session, replica, asleep=False, limit_s=limit_s)
        pooling = replica.args.runner == "pooling"
        try:
            trouble = await probes.first_answer(session, replica.host, replica.args.port, replica.served_name, limit_s, pooling=pooling)
        except AccessError as error:
            trouble = str(error)
        if trouble is not None:
            raise ProcessError(f"replica {replica.name}: is awake but makes no token: {trouble}")


async def memory_given_back(replica: Replica, pids: frozenset[int], gpus: Callable[[], tuple[ObservedGpu, ...]], limit_s: float) -> None:
    """Wait until a sleeper holds no more of any GPU than its residue. Raises ProcessError with the numbers."""
    allowed_mib = asleep_mib(replica)

    def most_mib() -> int:
        return max((sum(holder.memory_mib for holder in gpu.holders if holder.pid in pids) for gpu in gpus()), default=0)

    if not await wait_until(lambda: most_mib() <= allowed_mib, limit_s):
        raise ProcessError(
            f"replica {replica.name}: sleeps, but after {limit_s:.0f} s still holds {most_mib()} MiB of a GPU, at most {allowed_mib} MiB "
            "were expected; it was perhaps started without --enable-sleep-mode"
        )


def require_room(replica: Replica, pids: frozenset[int], gpus: tuple[ObservedGpu, ...]) -> None:
    """Before a wake: what it needs is free on each of its GPUs, beside what others hold now. Raises ProcessError with the numbers.

    Says nothing of MIG instances, which have one engine each.
    """
    if replica.mig is not None:
        return
    for gpu in gpus:
        if gpu.memory_mib is None or gpu.index not in replica.gpus or gpu.node not in (replica.node, file_name(replica.node)):
            continue
        free_mib = gpu.memory_mib - sum(holder.memory_mib for holder in gpu.holders if holder.pid not in pids)
        if free_mib < replica.ledger.total_mib:
            raise ProcessError(
                f"replica {replica.name}: needs {replica.ledger.total_mib} MiB of GPU {gpu.index} of {gpu.node} to wake, and "
                f"{free_mib} MiB are free; stop what runs there or put it to sleep first"
            )


def _base(replica: Replica) -> str:
    for host in (replica.host, replica.args.host):
        if not _is_loopback(host):
            raise ProcessError(
                f"replica {replica.name}: listens on {host}, where anybody could put it to sleep; sleep and wake are done on loopback "
                "only: set its host to 127.0.0.1"
            )
    return probes.base_url(replica.host, replica.args.port)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _is_sleeping(session: aiohttp.ClientSession, replica: Replica) -> bool:
    try:
        async with session.get(f"{_base(replica)}/is_sleeping", timeout=aiohttp.ClientTimeout(total=probes.QUICK_LIMIT_S)) as answer:
            if answer.status == 404:
                raise ProcessError(f"replica {replica.name}: cannot sleep: it was started without VLLM_SERVER_DEV_MODE=1")
            body = await answer.json(content_type=None)
            return bool(body["is_sleeping"])
    except (TimeoutError, aiohttp.ClientError, ValueError, KeyError, TypeError) as error:
        raise ProcessError(f"replica {replica.name}: does not say whether it sleeps: {type(error).__name__}: {error}") from error


async def _until(session: aiohttp.ClientSession, replica: Replica, *, asleep: bool, limit_s: float) -> None:
    clock = asyncio.get_running_loop().time
    deadline_s = clock() + limit_s
    while await _is_sleeping(session, replica) != asleep:
        if clock() >= deadline_s:
            raise ProcessError(f"replica {replica.name}: {'does not sleep' if asleep else 'still sleeps'} after {limit_s:.0f} s")
        await asyncio.sleep(_POLL_S)


async def _post(session: aiohttp.ClientSession, replica: Replica, path: str, limit_s: float, body: dict[str, str] | None = None) -> None:
    try:
        async with session.post(f"{_base(replica)}{path}", json=body, timeout=aiohttp.ClientTimeout(total=limit_s)) as answer:
            if answer.status != 200:
                raise ProcessError(f"replica {replica.name}: {path}: HTTP {answer.status}: {(await answer.text())[:200]}")
    except TimeoutError as error:
        raise ProcessError(f"replica {replica.name}: {path}: no answer within {limit_s:.0f} s") from error
    except aiohttp.ClientError as error:
        raise ProcessError(f"replica {replica.name}: {path}: {type(error).__name__}: {error}") from error
