"""Options and fixtures for every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.constants_ast import Constants

# The same examples on every run, and no limit per example: a busy machine is no fault of the code. "random" draws others each time.
settings.register_profile("ullage", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("random", settings.get_profile("ullage"), derandomize=False)
settings.load_profile("ullage")

Golden = Callable[[Path, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files from what the code produces now")


def pytest_collection_finish() -> None:
    """Hypothesis also draws constants of the modules loaded so far: examples would depend on the tests before and on every edit."""
    if settings.get_current_profile_name() == "ullage":
        pytest.MonkeyPatch().setattr("hypothesis.internal.conjecture.providers._get_local_constants", Constants)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares a text with a golden file, or rewrites the file under --update-golden."""
    update = bool(request.config.getoption("--update-golden"))

    def check(path: Path, text: str) -> None:
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.exists(), f"{path} is missing; make it with: make golden"
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; if the change is meant, rewrite it with: make golden"

    return check
