"""A small study that many tests share: three models on two H100."""

from __future__ import annotations

from typing import Any

from tests.fleets import fleet_dict
from ullage.fleet_spec import FleetSpec, fleet
from ullage.study.named import scenario
from ullage.study.question import StudyQuestion


def spec(**changes: Any) -> FleetSpec:
    return fleet(fleet_dict(**changes))


def question(*named: dict[str, object], **settings: tuple[object, ...]) -> StudyQuestion:
    """Settings by a path with __ in place of dots."""
    base = spec()
    return StudyQuestion(
        base, {path.replace("__", "."): values for path, values in settings.items()}, tuple(scenario(base, said) for said in named)
    )
