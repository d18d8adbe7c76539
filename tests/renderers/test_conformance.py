"""Every renderer of the plug-in table, on every shared plan: the same bytes twice, a folder that stays clean, no secrets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from planner.plan import Plan
from renderers.files import write
from renderers.manifest import Manifest, RenderError
from renderers.render_target import RenderTarget, rendered
from tests.plans import mig_plan, plan_of, replica, split_plan, tensor_parallel_plan, time_shared_plan
from tests.renderers.mps_plans import mps_plan
from ullage.plugins import RENDERERS, load

Render: TypeAlias = Callable[[Plan], Manifest]
Case: TypeAlias = tuple[str, Callable[[], Plan]]

PLANS = (time_shared_plan, mps_plan, mig_plan, tensor_parallel_plan, split_plan)


# What a target cannot express, and says so: each has a test of its own beside the others of the target.
REFUSED: list[Case] = [("slurm", time_shared_plan), ("ray", time_shared_plan), ("ray", mig_plan), ("llama-swap", time_shared_plan)]
REFUSED += [(name, mps_plan) for name in ("compose", "helm", "kubernetes", "ray", "slurm")]
REFUSED += [(name, split_plan) for name in ("kubernetes", "helm", "litellm", "llama-swap", "ray")]
CASES: list[Case] = [(name, make) for name in sorted(RENDERERS) for make in PLANS if (name, make) not in REFUSED]


def renderer(name: str) -> Render:
    target: RenderTarget = load("renderers", RENDERERS, name)
    return partial(rendered, name, target)


@pytest.fixture(params=CASES, ids=[f"{name}-{make.__name__}" for name, make in CASES])
def case(request: pytest.FixtureRequest) -> tuple[Render, Plan]:
    """A target and a plan that it can express."""
    name, make = request.param
    return renderer(name), make()


@pytest.mark.parametrize(("name", "make"), REFUSED)
def test_what_cannot_be_expressed_is_refused(name: str, make: Callable[[], Plan]) -> None:
    with pytest.raises(RenderError, match=f"this plan cannot be rendered for {name}:"):
        renderer(name)(make())


def test_the_same_plan_gives_the_same_bytes(case: tuple[Render, Plan]) -> None:
    """Invariant 6."""
    render, plan = case
    assert render(plan) == render(plan)
    assert render(plan)


def test_the_folder_is_clean_after_writing(case: tuple[Render, Plan], tmp_path: Path) -> None:
    render, plan = case
    assert write(render(plan), tmp_path).created
    assert not write(render(plan), tmp_path, check=True).differs


@pytest.mark.parametrize("name", sorted(RENDERERS))
def test_a_token_in_the_plan_is_refused(name: str) -> None:
    with pytest.raises(RenderError, match="HF_TOKEN"):
        renderer(name)(plan_of((replica("hf_" + "x" * 34),), gpu_count=1))


def test_only_desired_is_read(case: tuple[Render, Plan]) -> None:
    render, plan = case
    assert render(plan.model_copy(update={"actions": (), "prior": plan.prior.model_copy(update={"serial": 99})})) == render(plan)


def test_paths_stay_inside_the_folder(case: tuple[Render, Plan]) -> None:
    render, plan = case
    for file in render(plan):
        assert not Path(file.path).is_absolute()
        assert ".." not in Path(file.path).parts


def test_every_file_ends_with_a_newline_and_names_no_secret(case: tuple[Render, Plan]) -> None:
    render, plan = case
    for file in render(plan):
        assert file.text.endswith("\n")
        assert "hf_" not in file.text
