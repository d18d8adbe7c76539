from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.problem import Demand, Pool, Problem, Shape, Solve, objective, unserved_by_priority, violations
from solvers import portable
from solvers.baselines import best_fit, exclusive, first_fit, squishy
from solvers.exact import lexicographic as exact
from solvers.exact import reach
from solvers.model import shape_catalogue
from solvers.solution import with_bounds
from tests.brute_force import best_objective
from tests.strategies import problems, tiny_problems

BASELINES: dict[str, Solve] = {
    exclusive.NAME: exclusive.solve,
    first_fit.NAME: first_fit.solve,
    best_fit.NAME: best_fit.solve,
    squishy.NAME: squishy.solve,
}
ENGINES: dict[str, Solve] = {**BASELINES, exact.NAME: exact.solve, portable.NAME: portable.solve}
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", ENGINES)
@settings(SLOW, max_examples=40)
@given(problem=problems())
def test_no_engine_breaks_the_rules(name: str, problem: Problem) -> None:
    assert violations(problem, ENGINES[name](problem)) == ()


@settings(SLOW, max_examples=100)
@given(problem=tiny_problems())
def test_exact_engine_finds_and_proves_what_brute_force_finds(problem: Problem) -> None:
    solution = exact.solve(problem)
    assert objective(problem, solution) == best_objective(problem)
    assert (*solution.bound_unserved_microrps, solution.bound_microusd_per_h) == objective(problem, solution)
    assert solution.status == "optimal"


@pytest.mark.parametrize("limit", ["_MOST_MIXES", "_MOST_REPLICAS"])
@settings(SLOW, max_examples=50)
@given(problem=tiny_problems())
def test_ways_of_large_problems_agree_with_brute_force_on_tiny_ones(limit: str, problem: Problem) -> None:
    # at zero, every demand is covered replica by replica, or every shared GPU is priced as an integer program
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach if limit == "_MOST_MIXES" else shape_catalogue, limit, 0)
        solution = exact.solve(problem)
    best = best_objective(problem)
    assert violations(problem, solution) == ()
    assert objective(problem, solution) >= best >= (*solution.bound_unserved_microrps, solution.bound_microusd_per_h)
    if all(demand.min_replicas <= 1 and demand.max_replicas > 2 and not demand.tolerate_nodes for demand in problem.demands):
        assert objective(problem, solution) == best


@settings(SLOW, max_examples=30)
@given(problem=problems())
def test_portable_engine_agrees_with_the_exact_one(problem: Problem) -> None:
    solution = portable.solve(problem)
    assert objective(problem, solution) == objective(problem, exact.solve(problem))
    assert solution.status == "optimal"


@settings(SLOW, max_examples=40)
@given(problem=problems())
def test_exact_bounds_hold_for_every_engine(problem: Problem) -> None:
    proven = exact.solve(problem)
    for engine in BASELINES.values():
        solution = engine(problem)
        assert proven.bound_unserved_microrps <= unserved_by_priority(problem, solution.unserved_microrps)
        assert objective(problem, proven) <= objective(problem, solution)


@settings(SLOW, max_examples=40)
@given(problem=problems(), data=st.data())
def test_order_and_names_do_not_matter(problem: Problem, data: st.DataObject) -> None:
    pools = data.draw(st.permutations(range(len(problem.pools))))
    demands = data.draw(st.permutations(range(len(problem.demands))))
    shapes = data.draw(st.permutations(range(len(problem.shapes))))
    shuffled = Problem(
        pools=tuple(replace(problem.pools[i], name=f"renamed-{i}") for i in pools),
        demands=tuple(
            replace(problem.demands[i], name=f"other-{i}", not_with=frozenset(demands.index(j) for j in problem.demands[i].not_with))
            for i in demands
        ),
        shapes=tuple(
            replace(problem.shapes[i], demand=demands.index(problem.shapes[i].demand), pool=pools.index(problem.shapes[i].pool))
            for i in shapes
        ),
    )
    assert objective(shuffled, exact.solve(shuffled)) == objective(problem, exact.solve(problem))


@settings(SLOW, max_examples=40)
@given(problem=problems())
def test_one_more_node_never_hurts(problem: Problem) -> None:
    # min_nodes of a pool without that many nodes would be paid either way
    pool = problem.pools[0]
    larger = replace(problem, pools=(replace(pool, nodes=pool.nodes + 1), *problem.pools[1:]))
    assert objective(larger, exact.solve(larger)) <= objective(problem, exact.solve(problem))


def _fleet() -> Problem:
    """Twelve demands with three sizes at three levels each, on eight GPUs."""
    pool = Pool("h100", nodes=1, gpus_per_node=8, memory_mib=80_000, price_microusd_per_h=2_950_000, block_sizes=(1, 2, 4, 8))
    demands, shapes = [], []
    for i in range(12):
        peak_microrps = 40_000_000 // (i + 1)
        demands.append(Demand(f"model-{i}", (peak_microrps,), priority=(10, 5, 0)[i % 3]))
        weights_mib = (16_000, 30_000, 8_000, 3_000)[i % 4]
        shapes.append(Shape(f"{i}-alone", i, 0, "exclusive", 79_000, 30_000_000))
        for level in (1, 2, 3):
            for size in (1, 2, 3):
                capacity_microrps = 25_000_000 * size // (3 * level)
                shapes.append(
                    Shape(
                        f"{i}-{level}-{size}",
                        i,
                        0,
                        "time_shared",
                        weights_mib + 6_000 * size,
                        capacity_microrps,
                        compute_permille=280 * size // level,
                        max_residents=level,
                        active_limit_permille=1000 * level,
                    )
                )
    return Problem((pool,), tuple(demands), tuple(shapes))


@pytest.mark.parametrize("name", [name for name in ENGINES if name != portable.NAME])
def test_same_input_same_bytes_under_any_hash_seed(name: str) -> None:
    here = repr(ENGINES[name](_fleet()))
    assert repr(ENGINES[name](_fleet())) == here
    code = f"from tests.solvers.test_engines import ENGINES, _fleet; print(ENGINES[{name!r}](_fleet()))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == here


def test_small_fleet_is_proven_and_shared() -> None:
    problem = _fleet()
    solution = exact.solve(problem)
    assert solution.status == "optimal"
    assert objective(problem, solution) < objective(problem, exclusive.solve(problem))


@pytest.mark.parametrize("name", ENGINES)
def test_degenerate_problems_have_answers(name: str) -> None:
    solve = ENGINES[name]
    pool = Pool("p", nodes=1, gpus_per_node=1, memory_mib=100, price_microusd_per_h=1_000_000)
    demand = Demand("d", (1_000_000,))
    shape = Shape("s", 0, 0, "exclusive", 50, 1_000_000)
    cases = {
        "nothing at all": Problem((), (), ()),
        "no demands": Problem((pool,), (), ()),
        "no shapes": Problem((pool,), (demand,), ()),
        "no nodes": Problem((replace(pool, nodes=0),), (demand,), (shape,)),
        "too large": Problem((pool,), (demand,), (replace(shape, memory_mib=101),)),
        "huge rate": Problem((pool,), (replace(demand, rate_microrps=(10**12,)),), (shape,)),
        "huge rate, useless shapes": Problem((pool,), (replace(demand, rate_microrps=(10**12,)),), (replace(shape, capacity_microrps=0),)),
        "no windows": Problem((pool,), (replace(demand, rate_microrps=()),), (shape,)),
    }
    for case, problem in cases.items():
        solution = solve(problem)
        assert violations(problem, solution) == (), case
        assert sum(solution.unserved_microrps) == sum(
            max(0, d.peak_microrps - (1_000_000 if solution.patterns else 0)) for d in problem.demands
        ), case


def test_idle_demand_gets_its_minimum_of_replicas() -> None:
    pool = Pool("p", nodes=1, gpus_per_node=2, memory_mib=100, price_microusd_per_h=1_000_000)
    problem = Problem((pool,), (Demand("d", (0,), min_replicas=2),), (Shape("s", 0, 0, "exclusive", 50, 1),))
    for solve in ENGINES.values():
        assert sum(pattern.count for pattern in solve(problem).patterns) == 2


def test_time_limit_returns_the_best_so_far_with_a_valid_bound() -> None:
    problem = _fleet()
    solution = exact.solve(problem, time_limit_s=0.01)
    assert violations(problem, solution) == ()
    assert objective(problem, solution) <= min(objective(problem, engine(problem)) for engine in BASELINES.values())


def test_status_is_optimal_only_when_both_bounds_are_met() -> None:
    problem = _fleet()
    solution = exact.solve(problem)
    lower = with_bounds(problem, solution, solution.bound_unserved_microrps, solution.cost_microusd_per_h - 1)
    assert lower.status == "feasible"
