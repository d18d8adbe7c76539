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
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan
from ullage.plugins import RENDERERS, load

Render: TypeAlias = Callable[[Plan], Manifest]

PLANS = (time_shared_plan, mig_plan, tensor_parallel_plan)


@pytest.fixture(params=sorted(RENDERERS))
def render(request: pytest.FixtureRequest) -> Render:
    target: RenderTarget = load("renderers", RENDERERS, request.param)
    return partial(rendered, request.param, target)


@pytest.fixture(params=PLANS, ids=lambda make: str(make.__name__))
def plan(request: pytest.FixtureRequest) -> Plan:
    make: Callable[[], Plan] = request.param
    return make()


def test_the_same_plan_gives_the_same_bytes(render: Render, plan: Plan) -> None:
    """Invariant 6."""
    assert render(plan) == render(plan)
    assert render(plan)


def test_the_folder_is_clean_after_writing(render: Render, plan: Plan, tmp_path: Path) -> None:
    assert write(render(plan), tmp_path).created
    assert not write(render(plan), tmp_path, check=True).differs


def test_a_token_in_the_plan_is_refused(render: Render) -> None:
    with pytest.raises(RenderError, match="HF_TOKEN"):
        render(plan_of((replica("hf_" + "x" * 34),), gpu_count=1))


def test_only_desired_is_read(render: Render, plan: Plan) -> None:
    assert render(plan.model_copy(update={"actions": (), "prior": plan.prior.model_copy(update={"serial": 99})})) == render(plan)


def test_paths_stay_inside_the_folder(render: Render, plan: Plan) -> None:
    for file in render(plan):
        assert not Path(file.path).is_absolute()
        assert ".." not in Path(file.path).parts


def test_every_file_ends_with_a_newline_and_names_no_secret(render: Render, plan: Plan) -> None:
    for file in render(plan):
        assert file.text.endswith("\n")
        assert "hf_" not in file.text
