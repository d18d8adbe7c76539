from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from planner.problem import MigSlot, Pattern, Placed, Pool, Problem, Shape, placement_violations, shared_machines
from planner.problem.model import Demand
from solvers.baselines import first_fit
from solvers.exact import lexicographic as exact
from solvers.placement.physical import place
from solvers.solution import answer
from tests.strategies import MIG_LAYOUTS, problems

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)


@SLOW
@given(problem=problems(gpus=8))
def test_placements_are_legal_and_stay_when_nothing_changes(problem: Problem) -> None:
    solution = first_fit.solve(problem)
    placed = place(problem, solution)
    assert placement_violations(problem, solution, placed) == ()
    assert place(replace(problem, current=placed), solution) == placed


@SLOW
@given(problem=problems(gpus=8))
def test_another_solution_on_a_running_fleet_is_legal(problem: Problem) -> None:
    running = replace(problem, current=place(problem, first_fit.solve(problem)))
    solution = exact.solve(running)
    assert placement_violations(running, solution, place(running, solution)) == ()


def _pool(**changes: object) -> Pool:
    return replace(Pool("p", nodes=2, gpus_per_node=4, memory_mib=100, price_microusd_per_h=1, block_sizes=(1, 2, 4)), **changes)  # type: ignore[arg-type]


def _demands(count: int) -> tuple[Demand, ...]:
    return tuple(Demand(f"d{i}", (1,)) for i in range(count))


def test_running_replicas_stay_where_they_are() -> None:
    shapes = (Shape("a", 0, 0, "exclusive", 50, 1), Shape("b", 1, 0, "exclusive", 50, 1))
    current = (Placed(0, 1, (2,)), Placed(1, 0, (3,)))
    problem = Problem((_pool(),), _demands(2), shapes, current)
    solution = answer(problem, "test", [Pattern(0, (0,), 2), Pattern(0, (1,))])
    assert place(problem, solution) == (Placed(0, 0, (0,)), Placed(1, 0, (3,)), Placed(0, 1, (2,)))


def test_large_blocks_avoid_what_runs() -> None:
    shapes = (Shape("pair", 0, 0, "exclusive", 50, 1, gpus=2), Shape("single", 1, 0, "exclusive", 50, 1))
    problem = Problem((_pool(nodes=1),), _demands(2), shapes, (Placed(1, 0, (1,)),))
    solution = answer(problem, "test", [Pattern(0, (0,)), Pattern(0, (1,))])
    assert place(problem, solution) == (Placed(1, 0, (1,)), Placed(0, 0, (2, 3)))


def test_pools_billed_by_node_use_the_nodes_that_run() -> None:
    shapes = (Shape("a", 0, 0, "exclusive", 50, 1),)
    problem = Problem((_pool(billing="node"),), _demands(1), shapes, (Placed(0, 1, (0,)),))
    placed = place(problem, answer(problem, "test", [Pattern(0, (0,), 3)]))
    assert {item.node for item in placed} == {1}


def test_mig_instances_keep_their_start_slots() -> None:
    pool = Pool("p", nodes=1, gpus_per_node=1, memory_mib=100, price_microusd_per_h=1, mig_layouts=MIG_LAYOUTS)
    half = Shape("half", 0, 0, "mig", 40, 1, mig_profile="half")
    quarter = Shape("quarter", 1, 0, "mig", 20, 1, mig_profile="quarter")
    problem = Problem((pool,), _demands(2), (half, quarter), (Placed(0, 0, (0,), 2), Placed(1, 0, (0,), 1)))
    placed = place(problem, answer(problem, "test", [Pattern(0, (0, 1, 1))]))
    assert placed == (Placed(1, 0, (0,), 0), Placed(1, 0, (0,), 1), Placed(0, 0, (0,), 2))
    assert MigSlot("half", 2) in MIG_LAYOUTS[2]


def test_blocks_of_every_size_are_spread_into_free_places() -> None:
    """Two blocks of two GPUs and two single GPUs; each pair must survive the loss of a node."""
    demands = (Demand("big", (1,), tolerate_nodes=1), Demand("small", (1,), tolerate_nodes=1))
    shapes = (Shape("big", 0, 0, "exclusive", 90, 1, gpus=2), Shape("small", 1, 0, "exclusive", 90, 1))
    problem = Problem((_pool(),), demands, shapes)
    placed = place(problem, answer(problem, "test", [Pattern(0, (0,), 2), Pattern(0, (1,), 2)]))
    assert [{item.node for item in placed if item.shape == index} for index in (0, 1)] == [{0, 1}, {0, 1}]


def test_replicas_that_must_be_apart_are_exchanged_between_machines() -> None:
    """Two and two on two nodes; a machine that is a node of two pools is one."""
    demands = (Demand("a", (1,), spread_nodes=True), Demand("b", (1,), spread_nodes=True))
    shapes = (Shape("a", 0, 0, "exclusive", 90, 1), Shape("b", 1, 0, "exclusive", 90, 1), Shape("a there", 0, 1, "exclusive", 90, 1))
    problem = Problem((Pool("p", 2, 2, 100, 1),), demands, shapes[:2])
    placed = place(problem, answer(problem, "test", [Pattern(0, (0,), 2), Pattern(0, (1,), 2)]))
    assert [{item.node for item in placed if item.shape == index} for index in (0, 1)] == [{0, 1}, {0, 1}]
    pools = (Pool("p", 2, 1, 100, 1, machines=(0, 1)), Pool("q", 2, 1, 100, 1, machines=(0, 2)))
    problem = Problem(pools, demands, shapes)
    placed = place(problem, answer(problem, "test", [Pattern(0, (0,)), Pattern(0, (1,)), Pattern(1, (2,))]))
    assert shared_machines(problem, placed) == ()


def test_replicas_that_run_apart_stay_where_they_are() -> None:
    shapes = (Shape("a", 0, 0, "exclusive", 90, 1),)
    running = (Placed(0, 0, (1,)), Placed(0, 2, (0,)))
    problem = Problem((Pool("p", 3, 2, 100, 1),), (Demand("a", (1,), spread_nodes=True),), shapes, running)
    assert place(problem, answer(problem, "test", [Pattern(0, (0,), 2)])) == running


def test_the_fewest_weights_are_loaded_whatever_memory_engines_have() -> None:
    light = Shape("light", 0, 0, "time_shared", 60, 1, max_residents=2, compute_permille=0, weights_mib=5)
    heavy = Shape("heavy", 1, 0, "time_shared", 30, 1, max_residents=2, compute_permille=0, weights_mib=20)
    problem = Problem((_pool(),), _demands(2), (light, heavy), (Placed(0, 0, (0,)), Placed(1, 1, (0,))))
    solution = answer(problem, "test", [Pattern(0, (0, 1))])
    assert place(problem, solution) == (Placed(0, 1, (0,)), Placed(1, 1, (0,)))


def test_an_engine_that_may_count_as_what_is_wanted_stays() -> None:
    floor = Shape("floor", 0, 0, "time_shared", 40, 1, max_residents=2, compute_permille=0, weights_mib=5)
    running = replace(floor, name="running", memory_mib=50)
    problem = Problem((_pool(),), _demands(1), (floor, running), (Placed(1, 1, (3,)),))
    assert place(problem, answer(problem, "test", [Pattern(0, (0,))])) == (Placed(0, 1, (3,)),)
