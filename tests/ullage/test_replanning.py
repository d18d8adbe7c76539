"""The loop plans again when demand has left the plan, keeps what is worth it, and otherwise says why not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from executor.state.folder import StateFolder
from executor.state.goal import goal_of, set_goal
from planner.envelope import EngineOf, planned_rps
from planner.plan import Plan, as_applied, plan_from_json
from tests.ullage.commands import ullage, write_fleet
from ullage.replanning import Replanner, ReplanSettings, scales

AFTER_S = 600.0


class Played:
    """A state folder with an applied plan, a clock, and what was said."""

    def __init__(self, place: Path, **settings: object) -> None:
        self.fleet = write_fleet(place / "fleet.yaml")
        assert ullage("plan", self.fleet, "-o", place / "plan.json", "--no-verify").code == 0
        self.plan = plan_from_json((place / "plan.json").read_text(encoding="utf-8"), "plan.json")
        self.folder = StateFolder(place / ".ullage")
        self.folder.create()
        self.folder.save(as_applied(self.plan))
        set_goal(self.folder, self.plan)
        self.said: list[str] = []
        self.now_s = 0.0
        self.requests = dict.fromkeys(planned_rps(self.plan.desired), 0.0)
        options = ReplanSettings(self.fleet, after_s=AFTER_S, **settings)  # type: ignore[arg-type]
        self.replanner = Replanner(options, self.folder, lambda: self.now_s, self.said.append)

    async def pass_by(self, seconds: float, factors: Mapping[str, float]) -> None:
        """Requests come at so many times the planned rate; the loop looks every minute, and waits for a plan in the making."""
        planned = planned_rps(self.plan.desired)
        for _ in range(int(seconds // 60.0)):
            self.now_s += 60.0
            for name, rps in planned.items():
                self.requests[name] += 60.0 * rps * factors.get(name, 1.0)
            await self.replanner.look({EngineOf(name, "1"): int(count) for name, count in self.requests.items()})
            if self.replanner.working is not None:
                await asyncio.wait({self.replanner.working})
        await self.replanner.look(None)
        await self.replanner.end()


def play(played: Played, seconds: float, **factors: float) -> None:
    asyncio.run(played.pass_by(seconds, factors))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def busiest(plan: Plan) -> str:
    rates = planned_rps(plan.desired)
    return max(rates, key=lambda name: rates[name])


def test_demand_as_planned_changes_nothing(place: Path) -> None:
    played = Played(place)
    play(played, 3 * AFTER_S, **{busiest(played.plan): 1.15})
    assert (played.said, goal_of(played.folder)) == ([], played.plan)


def test_more_demand_for_long_enough_gives_a_plan_that_serves_it(place: Path) -> None:
    played = Played(place)
    name = busiest(played.plan)
    play(played, AFTER_S + 120.0, **{name: 40.0})
    assert played.said[0] == f"demand has left the plan for 600 s ({name} x40.00): planning again"
    assert played.said[1].startswith("keeps a new plan from now on ("), played.said
    goal = goal_of(played.folder)
    assert goal is not None
    before, after = planned_rps(played.plan.desired), planned_rps(goal.desired)
    assert after[name] == pytest.approx(40.0 * before[name], rel=0.02)
    assert {other: after[other] for other in after if other != name} == pytest.approx(
        {other: before[other] for other in before if other != name}, rel=0.001
    )
    assert f"demand of {name} is 40 times the declared one" in goal.desired.warnings


def test_a_shadow_only_says_what_it_would_do(place: Path) -> None:
    played = Played(place, shadow=True)
    play(played, AFTER_S + 120.0, **{busiest(played.plan): 40.0})
    assert played.said[-1].startswith("shadow: would keep the new plan from now on")
    assert goal_of(played.folder) == played.plan


def test_less_demand_must_save_enough_and_no_more_than_so_many_plans_are_made_per_hour(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(place, per_hour=1)
    cheaper = played.plan.desired.model_copy(update={"cost_usd_per_h": played.plan.desired.cost_usd_per_h * 0.98})
    action = as_if_changed(played.plan)
    asked: list[Mapping[str, float]] = []

    async def planned(factors: Mapping[str, float]) -> Plan:
        asked.append(factors)
        return action.model_copy(update={"desired": cheaper})

    monkeypatch.setattr(played.replanner, "_planned", planned)
    name = busiest(played.plan)
    play(played, 3 * AFTER_S, **{name: 0.5})
    assert len(asked) == 1
    assert asked[0][name] == pytest.approx(0.5, rel=0.01)
    assert "saves 2.0%, below 5.0%: the plan stays" in played.said[-1]
    assert goal_of(played.folder) == played.plan


def as_if_changed(plan: Plan) -> Plan:
    assert plan.actions
    return plan


def test_a_plan_that_was_applied_meanwhile_is_not_overridden(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(place)
    other = played.plan.model_copy(update={"actions": ()})

    async def planned(factors: Mapping[str, float]) -> Plan:
        del factors
        set_goal(played.folder, other)
        return played.plan.model_copy(update={"desired": played.plan.desired.model_copy(update={"warnings": ("new",)})})

    monkeypatch.setattr(played.replanner, "_planned", planned)
    play(played, AFTER_S + 120.0, **{busiest(played.plan): 3.0})
    assert played.said[-1] == "another plan was applied meanwhile: the new one is dropped"
    assert goal_of(played.folder) == other


def test_what_goes_wrong_is_told_and_the_plan_stays(place: Path) -> None:
    played = Played(place)
    played.fleet.write_text("what is this?\n", encoding="utf-8")
    play(played, AFTER_S + 120.0, **{busiest(played.plan): 3.0})
    assert played.said[-1].startswith("planning again failed, the plan stays: ")
    assert goal_of(played.folder) == played.plan


def test_factors_are_of_what_is_declared_though_the_plan_was_scaled_itself(place: Path) -> None:
    played = Played(place)
    desired = played.plan.desired
    name = busiest(played.plan)
    declared = {other: rps / 2 for other, rps in planned_rps(desired).items()}
    found = scales(desired, declared, {name: 1.5})
    assert found == pytest.approx({other: 3.0 if other == name else 2.0 for other in declared})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--replan", "fleet.yaml"), "--replan works with --watch only"),
        (("--watch", "--shadow"), "give --replan FLEET"),
        (("plan.json", "--watch", "--replan", "fleet.yaml"), "leave the plan file out"),
        (("--watch", "--replan", "nope.yaml"), "nope.yaml: there is no such file"),
        (("--watch", "--dry-run"), "leave --watch out"),
        (("--metrics-port", "9400"), "--metrics-port works with --watch only"),
        (("--interval", "3"), "--interval '3': has no unit; write for example 10s or 1min"),
        (("--interval", "2h"), "--interval 2h: must be between 0.1s and 3600s"),
    ],
)
def test_options_that_contradict_each_other_are_told(place: Path, options: tuple[str, ...], words: str) -> None:
    write_fleet(place / "fleet.yaml")
    found = ullage("reconcile", *options)
    assert (found.code, words in found.err) == (1, True), found.err


def test_a_goal_that_cannot_be_read_is_left_to_the_pass_to_tell(place: Path) -> None:
    played = Played(place)
    played.folder.goal_path.write_text("no plan", encoding="utf-8")
    play(played, AFTER_S + 120.0, **{busiest(played.plan): 3.0})
    assert played.said == []
