"""The backend of real engines keeps what every backend promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.backends.engine_kinds import vllm_backend
from executor.state.folder import StateFolder
from tests.e2e.tiny_fleet import planned
from tests.executor import test_backend_conformance as conformance

pytestmark = pytest.mark.vllm


def test_a_real_engine_starts_answers_drains_and_stops_as_any_other(place: Path, models: Path) -> None:
    plan = planned(models, "llama")
    folder = StateFolder(place / ".ullage")
    folder.create()
    stage = conformance.Stage(lambda: vllm_backend(folder, place), plan, plan.desired.router)
    conformance.test_one_command_is_one_hash_and_another_is_another(stage)
    conformance.test_a_replica_starts_answers_drains_and_stops_and_each_step_can_be_repeated(stage)
    conformance.test_a_start_that_fails_says_why_and_leaves_nothing(stage)
