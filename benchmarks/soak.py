"""Does the loop mend whatever breaks, minute after minute? Random faults and edits of the plan on 24 emulated GPUs under a light load.

    python -m benchmarks.soak --minutes N [--seed S]

`ullage reconcile PLAN --watch --interval 1s` runs as a process. Every few seconds an engine is killed or stopped, the router is killed,
a file of routes is edited or removed, the loop itself is killed and started again, or the plan file changes. Clients ask for models that
nobody touches. Everything that was started is ended, also after Ctrl-C. The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from time import monotonic
from typing import Any

from benchmarks.failure_bound import highest_fraction
from benchmarks.soak_faults import Fault, SoakWorld
from benchmarks.soak_fleet import QUIET, plans
from benchmarks.soak_load import LightLoad, light_load
from executor.applying.destroy import DestroyReport, destroy

# How often each kind is drawn. The loop itself is killed in the first half only, so that one process of it is watched for long.
KINDS = {"kill": 6.0, "hang": 1.0, "router": 1.0, "edit": 1.0, "remove": 1.0, "loop": 1.0, "fleet": 3.0}
# Seconds between two faults.
_PAUSE_S = (2.0, 6.0)
_LOOK_EVERY_S = 0.2
# The first starts, and the last repairs, also of what died again and again and waits for its next try.
_START_LIMIT_S, _END_LIMIT_S = 300.0, 420.0
_START_SCALE = "0.01"
# As a shell says it of a program that Ctrl-C ended.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print the figures; 1 when something was not mended, over-committed or left."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, required=True, help="how long things break; starts and the last repairs come on top")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    os.environ.setdefault("ULLAGE_EMULATED_START_SCALE", _START_SCALE)
    with tempfile.TemporaryDirectory(prefix="ullage-soak-") as work:
        world = SoakWorld(Path(work), plans(), Random(options.seed))  # noqa: S311 - faults, not secrets
        try:
            load, leaked = asyncio.run(_soak(world, 60 * options.minutes))
        except (KeyboardInterrupt, asyncio.CancelledError):
            _say("interrupted; ends what it started")
            return _INTERRUPTED
        finally:
            world.loop.stop()
            gone = destroy(world.folder.root)
            # whatever no record names
            strays = _started_here(world)
            for pid in strays:
                os.kill(pid, signal.SIGKILL)
        figures = {"seed": options.seed, "minutes": options.minutes, **_figures(world, load, gone, {*leaked, *strays})}
        print(json.dumps(figures, sort_keys=True))
    return int(bool(figures["violations"] or figures["leaked_processes"] or figures["faults"] != figures["repairs"]))


async def _soak(world: SoakWorld, seconds: float) -> tuple[LightLoad, set[int]]:
    """The load, and processes that ran at the end although no record named them."""
    working = asyncio.current_task()
    assert working is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    world.loop.start()
    await _until_as_planned(world, _START_LIMIT_S)
    _say("all runs; faults begin")
    async with light_load(world.goal.desired.router, QUIET) as load:
        await _break_things(world, seconds)
        _say(f"{len(world.faults)} faults; {len(world.open)} are not mended yet")
        await _until_as_planned(world, _END_LIMIT_S)
    recorded = {pid for record in world.backend.observe().values() for pid in record.pids} | {world.backend.router.pid()}
    return load, _started_here(world) - recorded


async def _break_things(world: SoakWorld, seconds: float) -> None:
    draw = Random(len(KINDS))  # noqa: S311 - pauses, not secrets
    began_s = monotonic()
    next_s = began_s
    while (now_s := monotonic()) < began_s + seconds:
        if now_s >= next_s:
            first_half = now_s < began_s + seconds / 2
            world.break_one(KINDS if first_half else {**KINDS, "loop": 0.0})
            next_s = now_s + draw.uniform(*_PAUSE_S)
        await world.look()
        world.loop.look()
        await asyncio.sleep(_LOOK_EVERY_S)


async def _until_as_planned(world: SoakWorld, limit_s: float) -> None:
    """Wait for it; what is not mended within the limit stays in the figures."""
    deadline_s = monotonic() + limit_s
    while monotonic() < deadline_s:
        await world.look()
        world.loop.look()
        if not world.open and await world.all_as_planned():
            return
        await asyncio.sleep(_LOOK_EVERY_S)
    _say(f"not as planned after {limit_s:.0f} s: {sorted(f'{fault.kind} {fault.subject}' for fault in world.open)}")


def _started_here(world: SoakWorld) -> set[int]:
    """Processes that live and name the state folder: engines in their environment, the router by where it stands."""
    found, root = set(), str(world.folder.root)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) in (os.getpid(), world.loop.pid):
            continue
        try:
            if root.encode() in (entry / "environ").read_bytes() or os.readlink(entry / "cwd").startswith(root):  # noqa: PTH115 - text
                found.add(int(entry.name))
        except OSError:
            # gone, or of another user
            continue
    return found


def _figures(world: SoakWorld, load: LightLoad, gone: DestroyReport, leaked: set[int]) -> dict[str, Any]:
    repairs_s = sorted(fault.repair_s for fault in world.faults if fault.repair_s is not None)
    outages = [(fault.began_s, fault.ended_s or monotonic()) for fault in world.faults if fault.kind == "router"]
    without_router = [one for one in load.failed if any(one.ended_s >= began and one.sent_s <= ended for began, ended in outages)]
    failed = [one for one in load.failed if one not in without_router]
    longest = max(world.loop.lives, key=lambda life: life.watched_s)
    return {
        "replicas": len(world.goal.desired.replicas),
        "gpus_used": world.goal.desired.gpus_used,
        "faults": len(world.faults),
        "repairs": len(repairs_s),
        "mean_time_to_repair_s": round(fmean(repairs_s), 2) if repairs_s else None,
        "p99_time_to_repair_s": round(_quantile(repairs_s, 0.99), 2) if repairs_s else None,
        "by_kind": _by_kind(world.faults),
        "violations": gone.over_commits,
        "requests": load.requests,
        "failed_requests_of_untouched_models": len(failed),
        "failed_kinds": dict(Counter(one.how for one in failed)),
        "failed_while_the_router_was_down": len(without_router),
        "failed_fraction_at_most": round(highest_fraction(len(failed), load.requests), 6),
        "leaked_processes": len(leaked) + len(gone.leftovers),
        "loop_watched_s": round(longest.watched_s, 1),
        "loop_more_descriptors": longest.growth[0],
        "loop_more_mib": longest.growth[1],
        "loop_starts": len(world.loop.lives),
        "loop_ended_by_itself": world.loop.lost,
    }


def _by_kind(faults: Sequence[Fault]) -> dict[str, dict[str, float | int | None]]:
    found: dict[str, dict[str, float | int | None]] = {}
    for kind in sorted({fault.kind for fault in faults}):
        lasted_s = sorted(fault.repair_s for fault in faults if fault.kind == kind and fault.repair_s is not None)
        found[kind] = {
            "faults": sum(fault.kind == kind for fault in faults),
            "repairs": len(lasted_s),
            "mean_s": round(fmean(lasted_s), 2) if lasted_s else None,
            "longest_s": round(lasted_s[-1], 2) if lasted_s else None,
        }
    return found


def _quantile(values: Sequence[float], fraction: float) -> float:
    """Of sorted values, the smallest that so many do not exceed."""
    return values[min(int(fraction * len(values)), len(values) - 1)]


def _say(line: str) -> None:
    """Standard output is for figures."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
