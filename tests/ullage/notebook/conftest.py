"""The planned fleet of the command's tests, opened once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ullage.notebook.fleet_plan import FleetPlan, open_plan
from ullage.notebook.studied import Study, whatif


@pytest.fixture(scope="session")
def plan(planned: Path) -> FleetPlan:
    """Three models on one of two H100. Only to be read."""
    return open_plan(planned / "plan.json")


@pytest.fixture(scope="session")
def study(planned: Path) -> Study:
    """The same fleet as declared, with one and with two nodes. Only to be read."""
    return whatif(planned / "fleet.yaml", {"pools.h100.nodes": [1, 2]}, workers=1)


@pytest.fixture
def hostile(plan: FleetPlan) -> FleetPlan:
    """The same plan with names that would run as a script where they are not escaped."""
    text = plan.document.model_dump_json()
    for name in ("small", "middle", "large"):
        text = text.replace(f'"{name}', f'"<script>alert(1)</script>{name}')
    return FleetPlan(type(plan.document).model_validate_json(text))
