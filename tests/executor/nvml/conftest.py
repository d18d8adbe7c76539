"""A machine whose driver is ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.executor.nvml.fake_driver import FakeDriver, pretend


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeDriver:
    return pretend(monkeypatch, tmp_path)
