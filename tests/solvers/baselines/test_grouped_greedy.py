"""The greedy engines fill alike GPUs together; a plain reference, one GPU and one replica at a time, must give the same answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from planner.problem import MICRO, Demand, Pattern, Pool, Problem, Shape, Solve, is_legal, nodes_needed, shortfall
from solvers.baselines import best_fit, exclusive, first_fit, squishy
from solvers.baselines.greedy import order
from solvers.model.shape_catalogue import catalogue
from solvers.model.useful_shapes import candidates, takes_whole_gpus, usable_shapes
from solvers.searches.mixes import MixSearch
from solvers.solution import answer, merged, trimmed
from tests.strategies import problems


@dataclass
class Reference:
    """GPUs in the order in which they came into use, each with its shapes."""

    problem: Problem
    gpus: list[list[int]] = field(default_factory=list)

    def missing(self, demand: int, more: Sequence[int] = ()) -> int:
        shapes = [self.problem.shapes[i] for i in (*(i for gpu in self.gpus for i in gpu), *more)]
        offered = [shape.capacity_microrps for shape in shapes if shape.demand == demand]
        return shortfall(self.problem.demands[demand], sum(offered), len(offered), max(offered, default=0))

    def replicas(self, demand: int) -> int:
        return sum(self.problem.shapes[i].demand == demand for gpu in self.gpus for i in gpu)

    def wants(self, demand: int) -> bool:
        return self.missing(demand) > 0 and self.replicas(demand) < self.problem.demands[demand].max_replicas

    def served(self, index: int) -> int:
        demand = self.problem.shapes[index].demand
        return self.missing(demand) - self.missing(demand, [index])

    def helps(self, index: int) -> bool:
        demand = self.problem.demands[self.problem.shapes[index].demand]
        fewest = max(demand.min_replicas, 1 + demand.tolerate_nodes)
        return self.served(index) > 0 or self.replicas(self.problem.shapes[index].demand) < fewest

    def has_room(self, index: int) -> bool:
        wanted = self.problem.shapes[index]
        used = Counter({wanted.gpus: wanted.gpus})
        for gpu in self.gpus:
            first = self.problem.shapes[gpu[0]]
            if first.pool == wanted.pool:
                used[first.gpus] += first.gpus
        pool = self.problem.pools[wanted.pool]
        return nodes_needed(pool, used) <= pool.nodes

    def joins(self, gpu: Sequence[int], index: int) -> bool:
        pool = self.problem.shapes[gpu[0]].pool
        joined = Pattern(pool, tuple(sorted((*gpu, index))))
        return self.helps(index) and is_legal(self.problem, joined)

    def open_fresh(self, shapes: Sequence[int]) -> bool:
        def key(index: int) -> tuple[float, ...]:
            shape, served = self.problem.shapes[index], self.served(index)
            dollars = self.problem.pools[shape.pool].price_microusd_per_h * shape.gpus
            ease = (-shape.active_limit_permille, -shape.max_residents, shape.memory_mib, shape.compute_permille)
            return (dollars / max(1, served), -max(1, served), shape.gpus, *ease, index)

        best = min((index for index in shapes if self.helps(index) and self.has_room(index)), key=key, default=None)
        if best is not None:
            self.gpus.append([best])
        return best is not None

    def join_first(self, shapes: Sequence[int]) -> bool:
        for gpu in self.gpus:
            fitting = [index for index in shapes if self.joins(gpu, index)]
            if fitting:
                gpu.append(min(fitting, key=lambda index: (-self.served(index), self.problem.shapes[index].memory_mib, index)))
                return True
        return False

    def join_tightest(self, shapes: Sequence[int]) -> bool:
        options = []
        for at, gpu in enumerate(self.gpus):
            held_mib = sum(self.problem.shapes[i].memory_mib for i in gpu)
            room_mib = self.problem.pools[self.problem.shapes[gpu[0]].pool].memory_mib - held_mib
            fitting = [index for index in shapes if self.joins(gpu, index)]
            options += [(-self.served(i), room_mib - self.problem.shapes[i].memory_mib, at, i) for i in fitting]
        if options:
            _, _, at, index = min(options)
            self.gpus[at].append(index)
        return bool(options)

    def patterns(self) -> list[Pattern]:
        return [Pattern(self.problem.shapes[gpu[0]].pool, tuple(sorted(gpu))) for gpu in self.gpus]


def _of(problem: Problem, shapes: Sequence[int], demand: int) -> list[int]:
    return [index for index in shapes if problem.shapes[index].demand == demand]


def _first_fit(problem: Problem) -> Reference:
    packed = Reference(problem)
    for demand in order(problem):
        shapes = _of(problem, candidates(problem), demand)
        while packed.wants(demand) and (packed.join_first(shapes) or packed.open_fresh(shapes)):
            pass
    return packed


def _best_fit(problem: Problem) -> Reference:
    packed = Reference(problem)
    for demand in order(problem):
        _tighten(packed, demand)
    return packed


def _tighten(packed: Reference, demand: int) -> None:
    shapes = _of(packed.problem, candidates(packed.problem), demand)
    while packed.wants(demand) and (packed.join_tightest(shapes) or packed.open_fresh(shapes)):
        pass


def _squishy(problem: Problem) -> Reference:
    packed = Reference(problem)
    for priority in sorted({demand.priority for demand in problem.demands}, reverse=True):
        demands = [i for i in order(problem) if problem.demands[i].priority == priority]
        for demand in demands:
            whole = [i for i in _of(problem, usable_shapes(problem), demand) if takes_whole_gpus(problem.shapes[i])]
            while packed.wants(demand):
                if not packed.open_fresh([i for i in whole if 0 < problem.shapes[i].capacity_microrps <= packed.served(i)]):
                    break
        for demand in sorted(demands, key=lambda i: (-packed.missing(i), i)):
            _tighten(packed, demand)
    return packed


def _exclusive(problem: Problem) -> Reference:
    packed = Reference(problem)
    for demand in order(problem):
        own = _of(problem, usable_shapes(problem), demand)
        shapes = [index for index in own if takes_whole_gpus(problem.shapes[index])] or own
        prices = [float(problem.pools[problem.shapes[i].pool].price_microusd_per_h * problem.shapes[i].gpus) for i in shapes]
        found = MixSearch(catalogue(problem, shapes).options[demand], prices).run().found
        for option, count in found[-1][1].counts if found else ():
            for _ in range(count):
                if packed.has_room(shapes[option]):
                    packed.gpus.append([shapes[option]])
        while packed.wants(demand) and packed.open_fresh(shapes):
            pass
    return packed


def _busier(problem: Problem, times: int) -> Problem:
    """With so many times the demand, which then takes many alike GPUs."""
    demands = (replace(d, rate_microrps=tuple(rate * times for rate in d.rate_microrps)) for d in problem.demands)
    return replace(problem, demands=tuple(demands))


ENGINES: tuple[tuple[Solve, Callable[[Problem], Reference], str], ...] = (
    (first_fit.solve, _first_fit, first_fit.NAME),
    (best_fit.solve, _best_fit, best_fit.NAME),
    (squishy.solve, _squishy, squishy.NAME),
    (exclusive.solve, _exclusive, exclusive.NAME),
)


@given(st.sampled_from(ENGINES), problems(gpus=16, demand_count=5, shape_count=16), st.integers(1, 8))
def test_engines_agree_with_one_gpu_after_the_other(
    engine: tuple[Solve, Callable[[Problem], Reference], str], problem: Problem, times: int
) -> None:
    solve, reference, name = engine
    busy = _busier(problem, times)
    assert solve(busy) == answer(busy, name, _trimmed_one_by_one(busy, reference(busy).patterns()))


def _trimmed_one_by_one(problem: Problem, patterns: Sequence[Pattern]) -> tuple[Pattern, ...]:
    """Replicas that serve nothing dropped one after the other, those of least capacity first, from the first GPUs that hold them."""
    gpus = [list(pattern.residents) for pattern in merged(patterns) for _ in range(pattern.count)]
    by_size = sorted({i for gpu in gpus for i in gpu}, key=lambda i: (problem.shapes[i].capacity_microrps, i))
    for index in by_size:
        demand = problem.shapes[index].demand
        for gpu in gpus:
            while index in gpu:
                before = Reference(problem, gpus).missing(demand)
                gpu.remove(index)
                if Reference(problem, gpus).missing(demand) > before:
                    gpu.append(index)
                    break
    return merged(Pattern(problem.shapes[gpu[0]].pool, tuple(gpu)) for gpu in gpus if gpu)


@given(problems(gpus=8, demand_count=3, shape_count=12))
def test_trimming_keeps_what_is_served_and_does_it_once(problem: Problem) -> None:
    patterns = best_fit.solve(_busier(problem, 3)).patterns
    once = trimmed(problem, patterns)
    assert once == _trimmed_one_by_one(problem, patterns)
    assert trimmed(problem, once) == once


def test_thousands_of_gpus_are_filled_at_once_and_none_twice() -> None:
    pool = Pool("p", nodes=5_000, gpus_per_node=8, memory_mib=100, price_microusd_per_h=MICRO, max_active_residents=3)
    shared = Shape("a", 0, 0, "time_shared", 30, 5, compute_permille=0, max_residents=3, active_limit_permille=3000)
    problem = Problem(
        (pool,),
        (Demand("a", (150_003,)), Demand("b", (100_001,))),
        (shared, replace(shared, name="b", demand=1)),
    )
    for solve in (first_fit.solve, best_fit.solve, squishy.solve):
        assert solve(problem).patterns == (Pattern(0, (0,), 10_000), Pattern(0, (0, 1), 20_001))
