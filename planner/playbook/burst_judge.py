"""Simulates the GPUs of a workload while it has a burst and others are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from planner.plan import Desired, WorkloadForecast, window_part
from planner.playbook.burst_moves import NO_MOVES, BurstMoves, loaded_anew
from planner.simulation.offered_load import OfferedLoad
from planner.simulation.plan_input import PlannedWorld, workload_priorities
from planner.verification.gpu_judge import JudgedResident, JudgeEffort, judged
from planner.verification.plan_judge import GpuSeat, busiest_window, distinct_gpus, goals_s, mix_of
from planner.verification.stress import stresses

# How long a burst lasts: an engine with a little too much to do falls behind minute by minute. Where there are many to judge, or many
# requests, it is shorter, but no shorter than the longest goal that there is by default takes twice.
_LONGEST_S, _SHORTEST_S = 300.0, 60.0

# Requests of all simulations together that are aimed at; with very many workloads the shortest burst makes them more.
_ALL_REQUESTS = 200_000


# What tells a GPU from others, and the replicas on it.
_KindsOfGpus = list[tuple[object, list[GpuSeat]]]


@dataclass(frozen=True, slots=True)
class BurstOutcome:
    """The part of its requests that each workload keeps within its goals, the worst of the GPUs where the one with the burst lives."""

    kept_fraction: Mapping[str, float]

    def of(self, workload: str) -> float:
        """1.0 for a workload that has no request there."""
        return self.kept_fraction.get(workload, 1.0)


class BurstJudge:
    """Judges bursts on the GPUs of one plan; the same question is simulated once."""

    def __init__(self, desired: Desired, world: PlannedWorld, bursts: int = 1) -> None:
        """With more bursts to judge, each of them is shorter."""
        self.desired = desired
        self._bursts = bursts
        self._world = world
        self._gpus_after: dict[BurstMoves, _KindsOfGpus] = {}
        self._known: dict[tuple[object, str, float, frozenset[str]], dict[str, float]] = {}

    def lasts_s(self, workload: WorkloadForecast, factor: float) -> float:
        """How long a burst is watched."""
        found = self._of(frozenset({workload.served_name}), NO_MOVES)
        return min((self._lasts_s(seats, workload, factor) for _, seats in found), default=_LONGEST_S)

    def outcome(self, workload: WorkloadForecast, factor: float, refused: Set[str], moves: BurstMoves = NO_MOVES) -> BurstOutcome:
        """With factor times the load of a workload, without the requests of those that are refused, and after these moves.

        Who takes over from those that sleep or stop is judged too.
        """
        served = {item.served_name for item in self.desired.workloads if item.name not in refused}
        names = {replica.served_name for replica in self.desired.replicas if replica.name in moves.names} & served
        worst: dict[str, float] = {}
        for kind, seats in self._of(frozenset({workload.served_name, *names}), moves):
            for name, fraction in self._fractions(kind, seats, workload, factor, refused).items():
                worst[name] = min(worst.get(name, 1.0), fraction)
        return BurstOutcome(worst)

    def _of(self, served_names: Set[str], moves: BurstMoves) -> _KindsOfGpus:
        """The kinds of GPUs on which one of these models has a replica that serves."""
        if moves not in self._gpus_after:
            self._gpus_after[moves] = list(distinct_gpus(loaded_anew(self.desired, moves), self._world))
        return [(kind, seats) for kind, seats in self._gpus_after[moves] if any(seat.replica.served_name in served_names for seat in seats)]

    def _lasts_s(self, seats: list[GpuSeat], workload: WorkloadForecast, factor: float) -> float:
        window = busiest_window(self.desired, workload.served_name)
        residents = [item for seat in seats for item in self._residents(seat, window, {workload.name: factor}, frozenset())]
        # each under two stresses, and again after a step or two
        most_requests = _ALL_REQUESTS / (4 * self._bursts)
        return max(_SHORTEST_S, min(_LONGEST_S, most_requests / max(1e-9, sum(item.load.rate_rps for item in residents))))

    def _fractions(
        self, kind: object, seats: list[GpuSeat], workload: WorkloadForecast, factor: float, refused: Set[str]
    ) -> dict[str, float]:
        """Of each workload on one GPU, the worst under the stresses that the plan was judged under."""
        here = frozenset(other.name for seat in seats for other in seat.workloads)
        key = (kind, workload.name, factor, here & refused)
        if key not in self._known:
            window = busiest_window(self.desired, workload.served_name)
            residents = [item for seat in seats for item in self._residents(seat, window, {workload.name: factor}, refused)]
            # of exactly this length: neither the rarest nor the most patient of them decide
            all_rps = sum(item.load.rate_rps for item in residents)
            count = max(1, round(all_rps * self._lasts_s(seats, workload, factor)))
            effort = JudgeEffort(rarest_requests=_ALL_REQUESTS * count, most_requests=count, goals_per_horizon=0.0)
            found: dict[str, float] = {}
            for stress in stresses(len(seats), self.desired.risk):
                for row in judged(residents, stress, effort).workloads:
                    if row.attainment_fraction is not None:
                        found[row.workload] = min(found.get(row.workload, 1.0), row.attainment_fraction)
            self._known[key] = found
        return self._known[key]

    def _residents(self, seat: GpuSeat, window: int, factors: Mapping[str, float], refused: Set[str]) -> Iterator[JudgedResident]:
        """The workloads of a replica, each with its part of the planned load; those that are refused have none.

        What the plan leaves unserved is asked for all the same, and waits with the rest.
        """
        name, priorities = seat.replica.served_name, workload_priorities(self.desired)
        served_rps = sum(workload.rate_rps - workload.unserved_rps for workload in seat.workloads)
        for workload in seat.workloads:
            part = workload.rate_rps / served_rps if served_rps > 0 else 0.0
            factor = 0.0 if workload.name in refused else factors.get(workload.name, 1.0)
            load = OfferedLoad(
                workload=workload.name,
                served_name=name,
                rate_rps=seat.replica.planned_rps * window_part(self.desired, name, window) * part * factor,
                mix=mix_of(workload),
                max_model_len=seat.replica.args.max_model_len,
                priority=priorities.get(workload.name, 0),
            )
            yield JudgedResident(seat.engine, load, *goals_s([workload]))
