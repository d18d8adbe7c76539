"""What two engines that share a GPU cost each other beyond equal shares.

    python -m benchmarks.interference --device cuda [--mps] [--seconds 3] [--rounds 3]
    python -m benchmarks.interference --device cpu
    python -m benchmarks.interference --store measurements

Two processes make steps of torch kernels, shaped as decode and as prefill of a 1B and an 8B Llama, each alone and then both at once, for so
many seconds in each round: on one GPU, time-sliced or under MPS; or small ones on one CPU core, which shows that the benchmark works and
says nothing about GPUs. Needs a Python with torch. With --store nothing is measured: the pairs of real engines that `ullage profile measure
--pair` kept there are printed the same way. A factor is what profiles.latency.interference calls the interference factor: slowdown / 2 with
time slices, at least 1. The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from benchmarks.interference_processes import Place, ResidentError, Residents, residents
from benchmarks.interference_shapes import Workload, pair_figures, pairs
from planner.sizing.sites import ASSUMED_INTERFERENCE_FACTOR
from profiles.latency.interference import factor_of
from profiles.store.measurements import PairPoint
from profiles.store.store_folder import StoreError, read_store

PROGRAM = "python -m benchmarks.interference"
MPS_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY"
_SECONDS = {"cpu": 0.4, "cuda": 3.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its figures; 2 with a sentence where it cannot run."""
    options = _parser().parse_args(arguments)
    try:
        if options.store is not None:
            found = _summary([_stored(point) for point in read_store(options.store).pairs], {"store": str(options.store)})
        else:
            found = _measured(options)
    except (OSError, ValueError, ResidentError, StoreError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="What two engines that share a GPU cost each other beyond equal shares.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--device", choices=("cpu", "cuda"), help="measure torch kernels there")
    what.add_argument("--store", type=Path, help="print the pairs that `ullage profile measure --pair` kept in this folder")
    parser.add_argument("--mps", action="store_true", help=f"share the GPU under the MPS daemon that {MPS_VARIABLE} names")
    parser.add_argument("--seconds", type=float, help="length of one run; default 0.4 on cpu, 3 on cuda; a pair makes three in each round")
    parser.add_argument("--rounds", type=int, default=3, help="times that each run is repeated; medians count")
    return parser


def _measured(options: argparse.Namespace) -> dict[str, object]:
    place, seconds = _place(options), options.seconds or _SECONDS[options.device]
    rows = []
    with residents(place) as both:
        for pair in pairs(place.device):
            rows.append(_pair(both, pair, place, seconds, options.rounds))
            print(_line(rows[-1]), flush=True)
        about = {"device": place.device, "device_words": both.device_words, "on_gpu": place.device == "cuda", "sharing": place.sharing}
    return _summary(rows, {**about, "seconds": seconds, "rounds": options.rounds})


def _place(options: argparse.Namespace) -> Place:
    """Where to measure; ValueError says why it cannot be done there."""
    if options.rounds < 1 or (options.seconds is not None and not 0 < options.seconds <= 60):
        raise ValueError("--rounds must be at least 1, --seconds above 0 and at most 60")
    if find_spec("torch") is None:
        raise ValueError("torch is not installed in this Python; give another one that has it: after `make e2e`, .venv-e2e/bin/python")
    daemon = os.environ.get(MPS_VARIABLE)
    if options.device == "cpu":
        if options.mps:
            raise ValueError("--mps needs --device cuda")
        return Place("cpu", "time_shared")
    if options.mps and (daemon is None or not Path(daemon).is_dir()):
        raise ValueError(f"--mps: {MPS_VARIABLE} names no folder of a running MPS daemon; start nvidia-cuda-mps-control -d and set it")
    if not options.mps and daemon is not None:
        raise ValueError(f"{MPS_VARIABLE} is set, so processes would share the GPU under MPS; give --mps, or unset it for time slices")
    return Place("cuda", "mps" if options.mps else "time_shared")


def _pair(both: Residents, pair: tuple[Workload, Workload], place: Place, seconds: float, rounds: int) -> dict[str, object]:
    """A pair in rounds of alone, alone and together: what drifts meanwhile hits all three alike."""
    alone_s: tuple[list[float], list[float]] = ([], [])
    together_s: tuple[list[float], list[float]] = ([], [])
    works = list(enumerate(pair))
    for _ in range(rounds):
        for side in works:
            alone_s[side[0]].extend(both.steps_s([side], seconds))
        for times, step_s in zip(together_s, both.steps_s(works, seconds), strict=True):
            times.append(step_s)
    return pair_figures(pair, alone_s, together_s, place.sharing)


def _stored(point: PairPoint) -> dict[str, object]:
    sides = (point.first, point.second)
    row: dict[str, object] = {
        "models": [side.model for side in sides],
        "phases": [side.phase for side in sides],
        "gpu": point.gpu,
        "sharing": point.sharing,
        "engine_version": point.provenance.engine_version,
        "slowdowns": [round(side.slowdown, 4) for side in sides],
        "factors": [round(factor_of(side.slowdown, point.sharing), 4) for side in sides],
    }
    print(_line(row))
    return row


def _line(row: dict[str, object]) -> str:
    return "; ".join(
        f"{model} {phase}: {slowdown:.2f} times the time alone, factor {factor:.2f}" for model, phase, slowdown, factor in _sides(row)
    )


def _sides(row: dict[str, object]) -> Iterator[tuple[object, ...]]:
    columns = [row[key] for key in ("models", "phases", "slowdowns", "factors")]
    return zip(*(column for column in columns if isinstance(column, list)), strict=True)


def _summary(rows: Sequence[dict[str, object]], about: dict[str, object]) -> dict[str, object]:
    """The rows with what they come to; about says where they are from."""
    if not rows:
        raise ValueError("the store holds no measured pair; `ullage profile measure --pair` adds some")
    factors = [float(str(side[3])) for row in rows for side in _sides(row)]
    return {
        **about,
        "pairs": list(rows),
        "median_factor": round(median(factors), 4),
        "largest_factor": max(factors),
        "assumed_factor": ASSUMED_INTERFERENCE_FACTOR,
    }


if __name__ == "__main__":
    sys.exit(main())
