"""Every example plans, everything is served, and the text is the one that is shipped beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Golden
from tests.ullage.commands import ullage

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("brownfield", "busy", "long-prompts", "many-tenants", "mixed-pools", "one-gpu")


def test_every_folder_with_a_plan_is_looked_at() -> None:
    assert tuple(sorted(path.parent.name for path in EXAMPLES.glob("*/expected.txt"))) == NAMES
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.iterdir() if path.is_dir() and f"({path.name}/README.md)" not in listed] == []


@pytest.mark.golden
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_the_one_that_is_shown(name: str, golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES / name)
    planned = ullage("plan", "fleet.yaml", "--state", tmp_path / "nothing-runs", "--reproducible", "--fail-on-unserved")
    assert planned.code == 0, planned.err
    golden(EXAMPLES / name / "expected.txt", planned.out)
