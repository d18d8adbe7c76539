"""Usable and dominated shapes are found in arrays; rule by rule and pair by pair the same must come out."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from planner.problem import Pattern, Problem, Shape, pattern_violations
from solvers.model.useful_shapes import candidates, dominators, takes_whole_gpus, usable_shapes
from tests.strategies import problems, random_problem


def _legal_alone(problem: Problem, index: int) -> bool:
    shape = problem.shapes[index]
    pool = problem.pools[shape.pool]
    fits = pool.nodes > 0 and shape.gpus <= pool.gpus_per_node
    return fits and not list(pattern_violations(problem, Pattern(shape.pool, (index,))))


def _wanted(problem: Problem, shape: Shape) -> bool:
    demand = problem.demands[shape.demand]
    return demand.max_replicas > 0 and (demand.min_replicas > 0 or (demand.peak_microrps > 0 and shape.capacity_microrps > 0))


def _asks_no_more(rival: Shape, shape: Shape) -> bool:
    if rival.capacity_microrps < shape.capacity_microrps or rival.gpus > shape.gpus:
        return False
    if takes_whole_gpus(shape):
        return rival.mode != "mig"
    if (rival.mode, rival.mig_profile, rival.colocation_class) != (shape.mode, shape.mig_profile, shape.colocation_class):
        return False
    asked = ["host_cores", "host_memory_mib"]
    if shape.mode != "mig":
        asked += ["memory_mib", "start_extra_mib", "compute_permille", "bandwidth_permille"]
        loosest = rival.max_residents >= shape.max_residents and rival.active_limit_permille >= shape.active_limit_permille
        if not loosest or not _never_more_active(rival.active_permille, shape.active_permille):
            return False
    return all(getattr(rival, name) <= getattr(shape, name) for name in asked)


def _never_more_active(rival: tuple[int, ...], own: tuple[int, ...]) -> bool:
    if len(rival) == len(own):
        return all(mine <= other for mine, other in zip(rival, own, strict=True))
    return max(rival) <= min(own)


@given(problems(gpus=8, demand_count=2, shape_count=24))
def test_what_stands_for_a_shape_dominates_it_and_is_dominated_by_none(problem: Problem) -> None:
    shapes = problem.shapes
    usable = [i for i in range(len(shapes)) if _wanted(problem, shapes[i]) and _legal_alone(problem, i)]
    assert list(usable_shapes(problem)) == usable
    standing = dominators(problem)
    assert list(standing) == usable
    assert candidates(problem) == tuple(sorted(set(standing.values())))
    for index, above in standing.items():
        of_one = [i for i in usable if (shapes[i].demand, shapes[i].pool) == (shapes[index].demand, shapes[index].pool)]
        better = [i for i in of_one if i != index and _asks_no_more(shapes[i], shapes[index])]
        strictly = [i for i in better if i < index or not _asks_no_more(shapes[index], shapes[i])]
        assert (index in standing.values()) == (not strictly)
        assert above in ([index] if not strictly else better)


def test_activity_in_other_windows_is_compared_at_its_worst() -> None:
    problem = random_problem(3, 4, 1, 1)
    own = Shape("s", 0, 0, "time_shared", 10, 5, max_residents=2, active_limit_permille=2000, active_permille=(300, 400))
    pool = replace(problem.pools[0], nodes=1, mig_layouts=(), memory_mib=100, compute_limit_permille=1000, max_active_residents=3)
    demand = replace(problem.demands[0], rate_microrps=(10,), max_replicas=9)
    for others, dominated in (((300, 300, 300), True), ((300, 301, 300), False), ((300,), True), ((350,), False)):
        rival = replace(own, memory_mib=9, active_permille=others)
        found = Problem((replace(pool, gpus_per_node=1),), (demand,), (own, rival))
        assert (dominators(found)[0] == 1) == dominated


def test_another_problem_with_the_same_shapes_is_asked_anew() -> None:
    problem = random_problem(11, 8, 3, 12)
    before = usable_shapes(problem)
    assert before
    assert usable_shapes(problem) is before
    assert usable_shapes(replace(problem, start=(Pattern(0, (0,)),))) is before
    assert usable_shapes(replace(problem, pools=tuple(replace(pool, nodes=0) for pool in problem.pools))) == ()
    assert usable_shapes(problem) == before
