"""Models from local folders: planned, checked and told apart by their whole path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from planner.plan import State
from planner.spec import SpecError, load_fleet
from profiles.catalogue import builtin
from tests.fleets import SMALL_CONFIG, fleet_dict, workload
from ullage.planning.plan import plan_fleet


def test_a_config_of_another_name_is_refused(tmp_path: Path) -> None:
    """The engine is given the folder and would read the config.json in it, or none."""
    (tmp_path / "model").mkdir()
    for name in ("config.json", "foo.json"):
        (tmp_path / "model" / name).write_text(json.dumps({**SMALL_CONFIG, "hidden_size": 1024}))
    written = fleet_dict(models={"small": {"source": "./model/foo.json"}}, workloads={"small": workload("small")})
    with pytest.raises(SpecError, match=r"models\.small\.source: \./model/foo\.json: engines read config\.json; give the file that name"):
        load_fleet(tmp_path / "fleet.yaml", yaml.safe_dump(written), builtin())
    written["models"] = {"small": {"source": "./model/config.json"}}
    assert load_fleet(tmp_path / "fleet.yaml", yaml.safe_dump(written), builtin()).models[0].engine_model == "./model"


def test_two_folders_of_one_name_are_two_models(tmp_path: Path) -> None:
    for name, hidden in (("first", 1024), ("second", 2048)):
        folder = tmp_path / name / "model"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({**SMALL_CONFIG, "hidden_size": hidden}))
    models = {name: {"source": f"./{name}/model"} for name in ("first", "second")}
    written = fleet_dict(models=models, workloads={name: workload(name) for name in models})
    plan = plan_fleet(load_fleet(tmp_path / "fleet.yaml", yaml.safe_dump(written), builtin()), State()).plan
    assert {replica.served_name: replica.catalogue_model for replica in plan.desired.replicas} == {
        name: f"./{name}/model" for name in models
    }
