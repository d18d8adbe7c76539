"""How fast the simulation is: steps that are alike as one event against an event for every step, and both against real time.

    python -m benchmarks.simulate [--minutes 10] [--loads clients,0.1,0.5,0.9]

Twenty replicas of the models of benchmarks.queueing on H100: eight have their GPUs alone, six share one with a neighbour and six with
two. At the load `clients` each gets the lengths and the peak rate of one of the first clients of the ServeGen trace, at most 0.9 of what it
bears at its guaranteed share; at a number, a mix of benchmarks.queueing at that fraction of what it bears. Times are processor seconds of
this process, both ways in the same run; a real_time_ratio is simulated seconds per processor second, speedup_ratio the one way over the
other. largest_difference_s is the largest difference of a TTFT or TPOT between both. The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from time import process_time

from benchmarks.queueing import MIXES, MODELS, SLO, Point
from benchmarks.scale_fleet import Client, read_clients
from planner.simulation.offered_load import OfferedLoad, offered_requests
from planner.simulation.simulation_input import SimulatedEngine, SimulatedGpu, SimulatedRequest
from planner.simulation.virtual_time import SimulationResult, simulate
from profiles.catalogue import builtin
from profiles.latency.capacity import RequestMix, capacity_rps, forecast
from profiles.latency.steptime import step_time
from profiles.settings import EngineSettings

# Residents of each GPU, or block of GPUs for one tensor-parallel replica: twenty replicas.
RESIDENTS = (1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3)
CLIENTS = "clients"
# Of what a replica bears at its share, where its client asks for more.
MOST_FRACTION = 0.9
LOADS = (CLIENTS, "0.1", "0.5", "0.9")


def replicas(load: str) -> list[tuple[str, Point]]:
    """Each replica's GPU with what it serves; models that need several GPUs share none."""
    found: list[tuple[str, Point]] = []
    clients = read_clients()
    for gpu, residents in enumerate(RESIDENTS):
        models = [name for name, size in MODELS.items() if residents == 1 or size == 1]
        for _ in range(residents):
            number = len(found)
            model = models[number % len(models)]
            if load == CLIENTS:
                mix, rate_rps, most_fraction = _mix(clients[number]), clients[number].peak_rps, MOST_FRACTION
            else:
                mix, rate_rps, most_fraction = list(MIXES.values())[number % len(MIXES)], math.inf, float(load)
            settings = EngineSettings(tensor_parallel_size=MODELS[model])
            architecture = builtin().model(model)
            step = step_time(architecture, builtin().gpu("H100-SXM-80GB"), settings)
            rate_rps = min(rate_rps, most_fraction * capacity_rps(step, mix, SLO, 1 / residents, settings))
            found.append((f"gpu{gpu}", Point(f"replica {number}", architecture, settings, step, mix, 1 / residents, rate_rps)))
    return found


def _mix(client: Client) -> RequestMix:
    return RequestMix(client.input_mean_tokens, client.output_mean_tokens, client.input_p99_tokens, client.output_p99_tokens)


def figures(minutes: float, load: str) -> dict[str, float | str]:
    """Both ways at one load, so many minutes of arrivals."""
    engines: list[SimulatedEngine] = []
    offered: list[OfferedLoad] = []
    for number, (gpu, point) in enumerate(replicas(load)):
        name = f"engine{number}"
        forecasted = forecast(point.step, point.mix, point.rate_rps, point.share_fraction, point.settings)
        kv_tokens = point.mix.input_p99_tokens * point.settings.max_num_seqs if forecasted is None else forecasted.kv_tokens_p99
        engines.append(replace(point.engine(name, point.step, kv_tokens), gpu_key=gpu))
        offered.append(point.load(name))
    requests = offered_requests(offered, 60 * minutes, seed=1)
    at_once, at_once_s = timed(engines, requests, one_by_one=False)
    one_by_one, one_by_one_s = timed(engines, requests, one_by_one=True)
    return {
        "load": load,
        "replicas": len(engines),
        "requests": len(requests),
        "output_tokens": sum(request.output_tokens for request in requests),
        "preemptions": sum(use.preemptions for use in at_once.engines),
        "simulated_s": round(at_once.end_s, 1),
        "seconds": round(at_once_s, 3),
        "one_by_one_s": round(one_by_one_s, 3),
        "real_time_ratio": round(at_once.end_s / at_once_s, 1),
        "one_by_one_real_time_ratio": round(at_once.end_s / one_by_one_s, 1),
        "speedup_ratio": round(one_by_one_s / at_once_s, 2),
        "largest_difference_s": difference_s(at_once, one_by_one),
    }


def timed(engines: Sequence[SimulatedEngine], requests: Sequence[SimulatedRequest], *, one_by_one: bool) -> tuple[SimulationResult, float]:
    """The result and the processor seconds it took."""
    gpus = [SimulatedGpu(key, ((key, 1.0),)) for key in dict.fromkeys(engine.gpu_key for engine in engines)]
    routes = {engine.name: ((engine.name, 1),) for engine in engines}
    begun_s = process_time()
    result = simulate(engines, gpus, requests, routes, seed=1, one_by_one=one_by_one)
    return result, process_time() - begun_s


def difference_s(left: SimulationResult, right: SimulationResult) -> float:
    """Largest difference of a TTFT or TPOT."""
    pairs = list(zip(left.records, right.records, strict=True))
    ttft_s = [abs(one.ttft_s - other.ttft_s) for one, other in pairs if one.ttft_s is not None and other.ttft_s is not None]
    tpot_s = [abs(one.tpot_s - other.tpot_s) for one, other in pairs if one.tpot_s is not None and other.tpot_s is not None]
    return max(ttft_s + tpot_s, default=0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description="Speed of the step-level simulation.")
    parser.add_argument("--minutes", type=_positive, default=10.0, help="length of the simulated traffic")
    parser.add_argument(
        "--loads", type=_loads, default=LOADS, help=f"{CLIENTS}, or fractions of what each replica bears; separated by commas"
    )
    options = parser.parse_args(arguments)
    rows = []
    for load in options.loads:
        rows.append(figures(options.minutes, load))
        print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"minutes": options.minutes, "loads": rows}))
    return 0


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be more than 0")
    return value


def _loads(text: str) -> tuple[str, ...]:
    found = tuple(text.split(","))
    for load in found:
        if load != CLIENTS:
            _positive(load)
    return found


if __name__ == "__main__":
    sys.exit(main())
