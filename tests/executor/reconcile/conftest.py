"""A loop per test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.executor.reconcile.loops import Loop


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return Loop(tmp_path / "state")
