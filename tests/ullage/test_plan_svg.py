"""A plan as a picture: well-formed XML whose rectangles are where the memory is."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from planner.plan import Plan
from tests import sound_plans
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan
from tests.ullage.commands import ullage, write_plan
from ullage.views.plan_svg import BAR_PX, KV, LEFT_PX, OVERHEAD, WEIGHTS, plan_svg

SVG = "{http://www.w3.org/2000/svg}"
PLANS = {
    "time-shared": time_shared_plan(),
    "mig": mig_plan(),
    "tensor-parallel": tensor_parallel_plan(),
    "nothing": plan_of((), gpu_count=3),
}


def root_of(plan: Plan) -> ET.Element:
    return ET.fromstring(plan_svg(plan.desired))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_the_picture_is_well_formed_repeatable_and_inside_its_frame(plan: Plan) -> None:
    root = root_of(plan)
    assert plan_svg(plan.desired) == plan_svg(plan.desired)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for rect in root.iter(f"{SVG}rect"):
        left, top = float(rect.get("x", "0")), float(rect.get("y", "0"))
        assert left >= 0
        assert top >= 0
        assert left + float(rect.attrib["width"]) <= width
        assert top + float(rect.attrib["height"]) <= height


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_widths_are_in_proportion_to_memory(plan: Plan) -> None:
    groups = root_of(plan).iter(f"{SVG}g")
    residents = [(gpu, name) for gpu in plan.desired.gpus for name in gpu.replicas]
    replicas = {item.name: item for item in plan.desired.replicas}
    for (gpu, name), group in zip(residents, groups, strict=True):
        ledger = replicas[name].ledger
        title = group.find(f"{SVG}title")
        assert title is not None
        assert (title.text or "").startswith(f"{name}: weights {ledger.weights_mib} MiB, KV {ledger.kv_mib} MiB")
        *parts, outline = group.iter(f"{SVG}rect")
        assert [part.get("fill") for part in parts] == [WEIGHTS, KV, OVERHEAD]
        assert sum(float(part.attrib["width"]) for part in parts) == pytest.approx(float(outline.attrib["width"]), abs=0.2)
        assert float(outline.attrib["width"]) == pytest.approx(BAR_PX * ledger.total_mib / gpu.memory_mib, abs=0.1)
        assert LEFT_PX <= float(outline.attrib["x"]) <= LEFT_PX + BAR_PX


def test_text_that_is_markup_elsewhere_is_only_text_here() -> None:
    plan = plan_of((replica("<b>&'\"-0", mode="exclusive"),), gpu_count=1)
    assert any((text.text or "") == "<b>&'\"-0" for text in root_of(plan).iter(f"{SVG}text"))


def test_show_writes_the_picture(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.json", sound_plans.sliced())
    assert ullage("show", plan, "--svg", tmp_path / "plan.svg").code == 0
    assert (tmp_path / "plan.svg").read_text(encoding="utf-8") == plan_svg(sound_plans.sliced().desired)
