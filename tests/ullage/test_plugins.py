"""The table of parts: every entry loads, entry points are merged, unknown names are answered with the known ones."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from renderers.render_target import RenderTarget
from ullage import plugins
from ullage.plugins import BACKENDS, BASELINES, RENDERERS, SOLVERS, load, names


@pytest.mark.parametrize(("group", "table"), [("solvers", SOLVERS), ("backends", BACKENDS)])
def test_every_part_loads_and_is_callable(group: str, table: dict[str, str]) -> None:
    assert all(callable(load(group, table, name)) for name in table)


def test_every_renderer_is_a_target() -> None:
    assert all(isinstance(load("renderers", RENDERERS, name), RenderTarget) for name in RENDERERS)


def test_baselines_are_solvers() -> None:
    assert set(BASELINES) < set(SOLVERS)


def test_entry_points_add_parts_but_never_replace_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    found = EntryPoints(
        (
            EntryPoint("mine", "json:dumps", "ullage.renderers"),
            EntryPoint("vllm", "json:loads", "ullage.renderers"),
            EntryPoint("other", "json:loads", "ullage.solvers"),
        )
    )
    monkeypatch.setattr(plugins, "entry_points", found.select)
    assert names("renderers", RENDERERS) == (*RENDERERS, "mine")
    assert load("renderers", RENDERERS, "mine").__name__ == "dumps"
    assert load("renderers", RENDERERS, "vllm").render.__module__ == "renderers.vllm"
    known = ", ".join((*RENDERERS, "mine"))
    with pytest.raises(ValueError, match=f"'other' is not one of the renderers: {known}"):
        load("renderers", RENDERERS, "other")
