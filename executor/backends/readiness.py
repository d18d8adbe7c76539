"""When is an engine ready? Its process lives, it names our model, and it has made a token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp

from executor import start_causes
from executor.backends import probes
from executor.errors import AccessError, StartError
from executor.processes.logs import read_end, tail
from planner.plan import Replica
from profiles.sources.failure_causes import OTHER, FailureCause
from profiles.sources.vllm_failures import root_cause

# often enough not to add to the start of an emulated engine, seldom enough not to load a real one
_POLL_S = 0.1


async def await_ready(session: aiohttp.ClientSession, replica: Replica, alive: Callable[[], bool], log: Path, limit_s: float) -> None:
    """Return once the replica is ready. Raises StartError with the cause and the tail of the log."""
    try:
        await _await_ready(session, replica, alive, log, limit_s)
    except AccessError as error:
        raise _failure(replica, start_causes.API_KEY, f"{replica.host}:{replica.args.port}: {error}", log) from error


async def _await_ready(session: aiohttp.ClientSession, replica: Replica, alive: Callable[[], bool], log: Path, limit_s: float) -> None:
    host, port, name = replica.host, replica.args.port, replica.served_name
    clock = asyncio.get_running_loop().time
    deadline_s = clock() + limit_s
    trouble = "nothing answered on its port"
    while True:
        if not alive():
            raise _failure(replica, start_causes.EXITED, "its process ended during the start", log)
        names = await probes.served_names(session, host, port)
        if names is not None and name not in names:
            listed = ", ".join(names) or "no model"
            raise _failure(
                replica, start_causes.FOREIGN, f"{host}:{port} is answered by another program: it serves {listed}, not {name}", log
            )
        if names is not None:
            left_s = max(deadline_s - clock(), probes.QUICK_LIMIT_S)
            refusal = await probes.first_answer(session, host, port, name, left_s, pooling=replica.args.runner == "pooling")
            if refusal is None and alive():
                return
            trouble = f"the first request failed: {refusal}"
        if clock() >= deadline_s:
            raise _failure(replica, start_causes.TIMEOUT, f"not ready within {limit_s:.0f} s: {trouble}", log)
        await asyncio.sleep(_POLL_S)


def _failure(replica: Replica, seen: FailureCause, what: str, log: Path) -> StartError:
    """With the cause that the log shows; where it shows none that is known, with what we saw ourselves."""
    text = read_end(log)
    found = None if seen is start_causes.API_KEY else root_cause(text)
    cause = seen if found is None or found.cause is OTHER else found.cause
    return StartError(replica.name, cause, what, "" if found is None else found.text, f"the end of {log}:\n{tail(text)}")
