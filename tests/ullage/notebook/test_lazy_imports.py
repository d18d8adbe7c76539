"""`import ullage` is quick, what is missing is named, and the examples in docstrings hold."""

from __future__ import annotations

import builtins
import doctest
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ullage
from ullage.model_fit import fit_models
from ullage.notebook.fleet_plan import FleetPlan
from ullage.notebook.studied import Study

MODULES = (
    *("ullage.model_fit", "ullage.notebook.answers", "ullage.notebook.escaped", "ullage.notebook.fleet_plan"),
    *("ullage.notebook.frames", "ullage.notebook.planned_fleet", "ullage.notebook.printed", "ullage.prompt_fit"),
    *("ullage.fleet_spec", "ullage.notebook.studied", "ullage.study.values", "ullage.study.named", "ullage.views.study.study_progress"),
    *("planner.spec.paths", "planner.spec.edits"),
)
HEAVY = ("highspy", "matplotlib", "numpy", "ortools", "pandas", "pydantic", "yaml")


def loaded(code: str) -> set[str]:
    """Which heavy packages a fresh process has loaded after the code."""
    script = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return set(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment).stdout.split())


def test_a_plain_import_loads_nothing_heavy() -> None:
    assert loaded("import ullage; dir(ullage); ullage.__all__") == set()


def test_opening_a_plan_and_fitting_load_neither_pandas_nor_matplotlib(planned: Path) -> None:
    code = f"import ullage; plan = ullage.open_plan({str(planned / 'plan.json')!r}); repr(plan); ullage.fit('qwen3-8b', gpu='h100')"
    assert loaded(code) & {"matplotlib", "pandas", "ortools", "highspy"} == set()


def test_every_public_name_is_there() -> None:
    assert ullage.__all__ == [
        *("FleetPlan", "FleetSpec", "Study", "fit", "fit_prompt", "fleet", "load", "open_plan", "plan", "quote", "whatif"),
    ]
    assert len(ullage.__all__) <= 12
    assert set(ullage.__all__) <= set(dir(ullage))
    for name in ullage.__all__:
        assert getattr(ullage, name).__doc__
    with pytest.raises(AttributeError, match="module 'ullage' has no attribute 'plans'"):
        ullage.plans  # noqa: B018


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra `notebook` were not installed."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> ModuleType:
        if name.partition(".")[0] in {"pandas", "matplotlib"}:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in [name for name in sys.modules if name.partition(".")[0] in {"pandas", "matplotlib"} or name == "ullage.notebook.figures"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("bare")
def test_what_is_missing_is_named_with_how_to_get_it(plan: FleetPlan) -> None:
    install = r"install it with: pip install 'ullage\[notebook\]'"
    with pytest.raises(ImportError, match=rf"to_frame\(\) needs pandas; {install}"):
        plan.to_frame("gpus")
    with pytest.raises(ImportError, match=rf"to_frame\(\) needs pandas; {install}"):
        fit_models("qwen3-8b", gpu="h100").to_frame()
    with pytest.raises(ImportError, match=rf"plot\(\) needs matplotlib; {install}"):
        plan.plot()
    # everything else works without
    assert plan.simulate(seconds=10).summary.total.requests
    assert plan._repr_html_()


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str, plan: FleetPlan, study: Study, work: Path) -> None:
    found = doctest.testmod(import_module(name), extraglobs={"plan": plan, "study": study})
    assert found.failed == 0
    assert found.attempted > 0
