"""Goals after unserved demand: what runs stays within the slack, fragmentation by hand, tiers in order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.choice.choose import choose
from planner.choice.fragmentation import unusable_gpus
from planner.plan import State, as_applied
from planner.problem import Demand, Pattern, Pool, Problem, Shape
from planner.sizing.blueprint import build
from planner.spec.goals import goal_tiers
from solvers.solution import answer, with_bounds
from tests.fleets import fleet
from ullage.planning.plan import plan_fleet

ONE_H100 = {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"}


def shape(demand: int, memory_mib: int, **changes: object) -> Shape:
    base = Shape(
        f"shape-{demand}", demand, 0, "time_shared", memory_mib, 10, max_residents=2, active_limit_permille=1000 * 2, compute_permille=500
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def problem(*shapes: Shape) -> Problem:
    demands = tuple(Demand(f"demand-{i}", (10,)) for i in range(1 + max(item.demand for item in shapes)))
    return Problem((Pool("p", 1, 2, 100, 1_000_000),), demands, shapes)


def test_fragmentation_is_the_part_of_the_mix_that_finds_no_room() -> None:
    pair = problem(shape(0, 60), shape(1, 50))
    apart = answer(pair, "test", (Pattern(0, (0,)), Pattern(0, (1,))))
    # demand 0 (half of the mix) may join neither, demand 1 neither demand 0 nor itself: 0.4 + 0.5 GPUs are left and unusable
    assert unusable_gpus(pair, apart) == pytest.approx(0.9)
    small = problem(shape(0, 60), shape(1, 40))
    beside = answer(small, "test", (Pattern(0, (0,)), Pattern(0, (1,))))
    # demand 1 may join demand 0, and demand 0 demand 1: half of what is left on each is unusable
    assert unusable_gpus(small, beside) == pytest.approx(0.5 * 0.4 + 0.5 * 0.6)


def test_a_free_gpu_is_usable_and_a_pool_without_shapes_is_not() -> None:
    one = problem(shape(0, 60))
    assert unusable_gpus(one, answer(one, "test", (Pattern(0, (0,)),))) == pytest.approx(0.4)
    two = replace(one, pools=(*one.pools, Pool("other", 1, 3, 100, 1_000_000)))
    assert unusable_gpus(two, answer(two, "test", (Pattern(0, (0,)),))) == pytest.approx(0.4 + 3.0)


@pytest.mark.parametrize(("slack", "kept"), [(0.0, False), (0.4, False), (0.6, True)])
def test_what_runs_is_kept_unless_the_gain_exceeds_the_slack(slack: float, kept: bool) -> None:
    here = fleet(policy={"cost_slack_fraction": slack})
    first = plan_fleet(here, State()).plan
    blueprint = build(here, as_applied(first))
    residents = tuple(sorted(item.shape for item in blueprint.problem.current))
    assert len(residents) == 3
    cheap = answer(blueprint.problem, "cheap", (Pattern(0, residents),))
    # the same replicas on two GPUs are what runs
    moved = tuple(replace(item, gpus=(int(item.shape == residents[0]),)) for item in blueprint.problem.current)
    running = replace(blueprint, problem=replace(blueprint.problem, current=moved))
    best = with_bounds(running.problem, cheap, cheap.bound_unserved_microrps, cheap.cost_microusd_per_h)
    choice = choose(here, running, best, [best], ())
    assert choice.kept is kept
    assert choice.solution.cost_microusd_per_h == (6_000_000 if kept else 3_000_000)
    assert choice.solution.bound_microusd_per_h == 3_000_000


def test_what_runs_is_named_by_the_engine_that_found_it() -> None:
    """KV pools that have grown are no other answer, also where it is not the best engine's."""
    lengths = {"input_tokens": 569, "output_tokens": 90}
    windows = [{**lengths, "rate": rate, "start": start, "end": end} for rate, start, end in (("4/s", "0s", "1h"), ("0.5/s", "2h", "3h"))]
    fleet_here = fleet(
        pools={"cut": {"gpu": "A30", "nodes": 2, "gpus_per_node": 1, "price": "2 USD/h", "mig": "repartition"}, "whole": ONE_H100},
        models={"a": {"source": "Qwen/Qwen3-0.6B"}, "b": {"source": "meta-llama/Llama-3.1-8B"}},
        workloads={
            "rare": {"model": "a", "demand": {"rate": "1/d", "input_tokens": 457, "output_tokens": 90}, "min_replicas": 2},
            "often": {"model": "b", "class": "background", "demand": {"windows": windows}, "min_replicas": 2},
        },
    )
    first = plan_fleet(fleet_here, State()).plan
    assert first.desired.certificate.solver == "best-fit"
    assert plan_fleet(fleet_here, as_applied(first)).plan.desired == first.desired


def test_an_unchanged_fleet_keeps_its_placement() -> None:
    first = plan_fleet(fleet(), State()).plan
    again = plan_fleet(fleet(), as_applied(first)).plan
    assert again.actions == ()
    assert again.churn is not None
    assert again.churn.value == 0.0


def test_churn_of_a_first_plan_is_all_weights() -> None:
    plan = plan_fleet(fleet(), State()).plan
    assert plan.churn is not None
    weights_mib = sum(replica.ledger.weights_mib * len(replica.gpus) for replica in plan.desired.replicas)
    assert plan.churn.value == pytest.approx(weights_mib / 1024, rel=1e-6)
    assert plan.churn.bound <= plan.churn.value


def test_goals_that_are_not_named_follow_in_their_usual_order() -> None:
    tiers = goal_tiers(["fragmentation", "cost + 0.5 churn"])
    assert [[(term.goal, term.weight) for term in tier] for tier in tiers] == [[("fragmentation", 1.0)], [("cost", 1.0), ("churn", 0.5)]]
    with pytest.raises(ValueError, match="'speed' is not a goal"):
        goal_tiers(["speed"])
