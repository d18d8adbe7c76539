"""The simulation: engines, neighbours and routes in virtual time; every call with the same input gives the same result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from planner.simulation.engine_requests import EngineRequest
from planner.simulation.gpu_usage import Stretches, gpu_uses, per
from planner.simulation.live_engine import LiveEngine, StepSpread
from planner.simulation.routing import SmoothWeightedRoundRobin
from planner.simulation.sharing import SharedCompute
from planner.simulation.simulation_input import Routes, SimulatedEngine, SimulatedGpu, SimulatedRequest
from planner.simulation.traffic_metrics import EngineUse, GpuUse, RequestRecord

NO_ROUTE = "no_route"
"""RequestRecord.error of a request for a served name without a route."""


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """records in the order of the given requests; engines and gpus in the order given; uses are over 0 to end_s, the last event.

    busy_s: per gpu_key the stretches (from, until) of time in which any of its engines computed, ascending.
    """

    records: tuple[RequestRecord, ...]
    engines: tuple[EngineUse, ...]
    gpus: tuple[GpuUse, ...]
    end_s: float
    busy_s: Mapping[str, Stretches]


def simulate(
    engines: Sequence[SimulatedEngine],
    gpus: Sequence[SimulatedGpu],
    requests: Sequence[SimulatedRequest],
    routes: Routes,
    *,
    seed: int = 0,
    step_quantile: float | None = None,
    interference_factor: float = 1.0,
    one_by_one: bool = False,
) -> SimulationResult:
    """Run every request to its end.

    Each step takes a multiplier that its engine draws from its measured spread: seed and the engine's name decide what it draws.
    step_quantile gives every step that quantile instead (0.9 is a slow run). interference_factor slows engines with active neighbours
    beyond their equal share. Steps that are bound to be alike pass as one event; one_by_one makes an event of each, for the same result up
    to rounding in many times the time.
    Raises ValueError for duplicate engine names, for routes or engines that name what is not there, for arrivals before 0 s,
    and for a GPU that some share by turns and others by threads.
    """
    _check(engines, gpus, requests, routes)
    spreads = [StepSpread(engine.step_time, engine.name, seed, step_quantile) for engine in engines]
    live = [LiveEngine(engine, spread, one_by_one=one_by_one) for engine, spread in zip(engines, spreads, strict=True)]
    world = _World(live, requests, routes, interference_factor)
    end_s = world.run()
    uses = tuple(engine.use(end_s) for engine in live)
    busy_fraction = {key: per(world.computes[index].busy_s, end_s) for key, index in world.compute_index.items()}
    stretches = {key: _stretches(world.computes[index]) for key, index in world.compute_index.items()}
    return SimulationResult(tuple(world.records()), uses, gpu_uses(gpus, engines, uses, busy_fraction), end_s, stretches)


def _stretches(compute: SharedCompute) -> Stretches:
    return tuple(zip(compute.busy_from_s, compute.busy_until_s, strict=True))


class _World:
    """The event loop: arrivals in order of time, and per unit of compute the end of what ends next there."""

    def __init__(
        self,
        engines: Sequence[LiveEngine],
        requests: Sequence[SimulatedRequest],
        routes: Routes,
        interference_factor: float,
    ) -> None:
        self.compute_index = {key: index for index, key in enumerate(dict.fromkeys(engine.spec.gpu_key for engine in engines))}
        own_threads = _with_own_threads([engine.spec for engine in engines])
        self.computes = [SharedCompute(interference_factor, own_threads=key in own_threads) for key in self.compute_index]
        self._engines = engines
        self._compute_of = [self.compute_index[engine.spec.gpu_key] for engine in engines]
        self._by_name = {engine.spec.name: index for index, engine in enumerate(engines)}
        self._requests = requests
        self._routes = {name: SmoothWeightedRoundRobin(backends) for name, backends in routes.items()}
        # (time, compute, version): an entry counts only while its version is the compute's current one.
        self._ends: list[tuple[float, int, int]] = []
        self._versions = [0] * len(self.computes)
        self._replicas: list[str | None] = [None] * len(requests)
        self._errors: list[str | None] = [None] * len(requests)
        self._first_s = [0.0] * len(requests)
        self._last_s = [0.0] * len(requests)

    def run(self) -> float:
        """Handle every event; returns the time of the last one."""
        now_s = 0.0
        # At the same instant arrivals go before ends of steps, so that the next step sees them.
        for index in sorted(range(len(self._requests)), key=lambda index: self._requests[index].arrival_s):
            arrival_s = self._requests[index].arrival_s
            while self._ends and self._ends[0][0] < arrival_s:
                now_s = self._end(now_s)
            now_s = arrival_s
            self._arrive(index)
        while self._ends:
            now_s = self._end(now_s)
        return now_s

    def records(self) -> list[RequestRecord]:
        """What each request experienced, in the order given."""
        return [self._record(index, request) for index, request in enumerate(self._requests)]

    def _arrive(self, index: int) -> None:
        request = self._requests[index]
        route = self._routes.get(request.served_name)
        if route is None:
            self._errors[index] = NO_ROUTE
            return
        name = route.next()
        engine_index = self._by_name[name]
        engine = self._engines[engine_index]
        self._replicas[index] = name
        refused = engine.core.add(
            EngineRequest(str(index), request.input_tokens, request.output_tokens, request.cached_prefix_tokens, request.priority)
        )
        if refused is not None:
            self._errors[index] = refused.reason.value
        elif engine.idle:
            self._begin(engine_index, request.arrival_s)
            self._foresee(self._compute_of[engine_index])
        elif engine.may_be_cut:
            self._cut(engine_index, request.arrival_s)

    def _begin(self, engine_index: int, now_s: float) -> None:
        work_s = self._engines[engine_index].begin(now_s)
        if work_s is not None:
            self.computes[self._compute_of[engine_index]].start(now_s, engine_index, work_s)

    def _cut(self, engine_index: int, now_s: float) -> None:
        """Let the engine look at its queue when the step that runs now has ended."""
        compute_index = self._compute_of[engine_index]
        compute = self.computes[compute_index]
        work_s = self._engines[engine_index].cut(compute.attained_s(now_s, engine_index))
        if work_s is not None:
            compute.shorten(engine_index, work_s)
            self._foresee(compute_index)

    def _end(self, now_s: float) -> float:
        end_s, compute_index, version = heappop(self._ends)
        if version != self._versions[compute_index]:
            return now_s
        compute = self.computes[compute_index]
        engine_index = compute.next_engine
        if engine_index is None:
            raise RuntimeError("an end was foreseen where nothing is in flight")
        result = self._engines[engine_index].end(end_s, compute, engine_index)
        compute.end()
        for request_id in result.first:
            self._first_s[int(request_id)] = end_s
        for request_id in result.ended:
            self._last_s[int(request_id)] = end_s
        self._begin(engine_index, end_s)
        self._foresee(compute_index)
        return end_s

    def _foresee(self, compute_index: int) -> None:
        compute = self.computes[compute_index]
        self._versions[compute_index] += 1
        if compute.next_engine is not None:
            heappush(self._ends, (compute.next_s, compute_index, self._versions[compute_index]))

    def _record(self, index: int, request: SimulatedRequest) -> RequestRecord:
        replica = self._replicas[index]
        served = self._errors[index] is None and replica is not None
        # tokenizer, HTTP and the way back are no part of any step and delay the first token only
        frontend_s = self._engines[self._by_name[replica]].spec.step_time.frontend_s if replica is not None else 0.0
        intervals = request.output_tokens - 1
        return RequestRecord(
            workload=request.workload,
            served_name=request.served_name,
            replica=replica,
            arrival_s=request.arrival_s,
            input_tokens=request.input_tokens,
            output_tokens=request.output_tokens,
            ttft_s=self._first_s[index] - request.arrival_s + frontend_s if served else None,
            tpot_s=(self._last_s[index] - self._first_s[index]) / intervals if served and intervals else None,
            error=self._errors[index],
        )


def _with_own_threads(engines: Sequence[SimulatedEngine]) -> frozenset[str]:
    """Keys of the GPUs that engines share by MPS. Raises ValueError for one that others share by turns."""
    found = frozenset(engine.gpu_key for engine in engines if engine.own_threads)
    for engine in engines:
        if engine.gpu_key in found and not engine.own_threads:
            raise ValueError(f"engine {engine.name} shares {engine.gpu_key} by turns, others there have threads of their own")
    return found


def _check(engines: Sequence[SimulatedEngine], gpus: Sequence[SimulatedGpu], requests: Sequence[SimulatedRequest], routes: Routes) -> None:
    names = {engine.name for engine in engines}
    if len(names) < len(engines):
        raise ValueError("two engines have the same name; name each once")
    keys = {key for gpu in gpus for key, _ in gpu.parts}
    for engine in engines:
        if engine.gpu_key not in keys:
            raise ValueError(f"engine {engine.name} runs on {engine.gpu_key}, which is part of no GPU given")
    for request in requests:
        if not 0 <= request.arrival_s < math.inf:
            raise ValueError(f"a request of {request.workload} arrives at {request.arrival_s} s; it must be 0 s or later")
    for served_name, backends in routes.items():
        for name, _ in backends:
            if name not in names:
                raise ValueError(f"the route of {served_name} names engine {name}, which is not simulated")
