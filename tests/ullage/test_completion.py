"""Shell completion offers the values of options."""

from __future__ import annotations

import pytest

from tests.ullage.commands import ullage
from ullage.plugins import RENDERERS, SOLVERS


def offered(monkeypatch: pytest.MonkeyPatch, typed: str) -> list[str]:
    """What bash would show when the tab key is hit behind `typed`."""
    monkeypatch.setenv("_ULLAGE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" ")) - 1))
    result = ullage()
    assert (result.code, result.err) == (0, "")
    return result.out.split()


def test_targets_and_solvers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(monkeypatch, "ullage render plan.json --to ") == sorted(RENDERERS)
    assert offered(monkeypatch, "ullage plan --solver ex") == ["exact", "exclusive"]
    assert set(offered(monkeypatch, "ullage plan --solver ")) == set(SOLVERS)


def test_settings_of_the_target_that_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = "ullage render plan.json --to kubernetes --set "
    assert offered(monkeypatch, f"{typed}dev") == ["devices=device-plugin", "devices=dra"]
    assert "namespace=" in offered(monkeypatch, typed)
    assert offered(monkeypatch, "ullage render plan.json --to envoy --set ") == []
    assert offered(monkeypatch, "ullage render plan.json --to nobody --set ") == []


def test_gpu_types_keep_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(monkeypatch, "ullage fit qwen3-8b --gpu H100") == ["H100-NVL-94GB", "H100-PCIE-80GB", "H100-SXM-80GB"]
    assert offered(monkeypatch, "ullage catalogue gpus h100-s") == ["h100-sxm-80gb"]


def test_models_by_name_with_and_without_organisation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(monkeypatch, "ullage fit openai/") == ["openai/gpt-oss-120b", "openai/gpt-oss-20b"]
    assert offered(monkeypatch, "ullage catalogue models gpt-oss") == ["gpt-oss-120b", "gpt-oss-20b"]


def test_what_is_offered_is_taken() -> None:
    assert ullage("catalogue", "gpus", "h100-sxm-80gb").code == 0
    assert ullage("catalogue", "models", "gpt-oss-20b").code == 0
