"""A real engine that somebody started is found, written down, adopted without a restart, kept by the first plan, and released."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.plan import plan_from_json
from tests.e2e.engines import Engine
from tests.ullage.commands import ullage

pytestmark = pytest.mark.vllm


def test_a_server_is_taken_over_and_given_back_while_it_answers(engine: Engine, place: Path) -> None:
    assert place.exists()
    assert engine.complete("one two three", 5)["usage"]["completion_tokens"] == 5
    port = engine.url.rpartition(":")[2]
    found = ullage("discover", "--engines")
    assert found.code == 0, found.err
    assert f"--port {port}" in found.out
    imported = ullage("import", "--engines", "--port", port, "-o", "fleet.yaml")
    assert imported.code == 0, imported.err
    assert ullage("validate", "fleet.yaml").code == 0

    proposed = ullage("adopt", "--fleet", "fleet.yaml", "--port", port)
    assert (proposed.code, "the next plan keeps it as it runs" in proposed.out) == (0, True), proposed.out + proposed.err
    assert ullage("adopt", "--confirm").code == 0
    status = ullage("status")
    assert (status.code, "ready" in status.out) == (0, True), status.out
    assert ullage("plan", "fleet.yaml", "-o", "plan.json").code == 0
    plan = plan_from_json(Path("plan.json").read_text(encoding="utf-8"), "plan.json")
    assert [action.kind for action in plan.actions] == ["set_routes"]

    assert ullage("adopt", "--release").code == 0
    assert engine.complete("one two three", 5)["usage"]["completion_tokens"] == 5
