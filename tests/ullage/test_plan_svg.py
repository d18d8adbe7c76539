"""A plan as a picture: well-formed XML whose rectangles are where the memory is."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from planner.plan import Ledger, Plan, ReplicaForecast
from tests import sound_plans
from tests.plans import mig_plan, plan_of, replica, tensor_parallel_plan, time_shared_plan
from tests.ullage.commands import ullage, write_plan
from ullage.views.plan.plan_svg import BAR_PX, GROWN, KV, OVERHEAD, WEIGHTS, plan_svg
from ullage.views.svg_text import cut, listed, text_width_px, wrapped

SVG = "{http://www.w3.org/2000/svg}"
PLANS = {
    "time-shared": time_shared_plan(),
    "mig": mig_plan(),
    "tensor-parallel": tensor_parallel_plan(),
    "nothing": plan_of((), gpu_count=3),
}


Box = tuple[float, float, float, float]


def bars(root: ET.Element) -> list[Box]:
    """Left, top, right and bottom of each GPU's bar."""
    found = [rect for rect in root.iter(f"{SVG}rect") if rect.get("width") == str(BAR_PX) and rect.get("fill") == "#eeeeee"]
    return [
        (x, y, x + BAR_PX, y + float(rect.attrib["height"]))
        for rect in found
        for x, y in [(float(rect.attrib["x"]), float(rect.attrib["y"]))]
    ]


def texts(root: ET.Element) -> list[tuple[str, Box]]:
    """Lines of text with their boxes by estimated width; letters reach a fifth of their size below the line."""
    found = []
    for text in root.iter(f"{SVG}text"):
        x, y, size_px = float(text.attrib["x"]), float(text.attrib["y"]), int(text.attrib["font-size"])
        width_px = text_width_px(text.text or "", size_px, bold=text.get("font-weight") == "bold")
        found.append((text.text or "", (x, y - 0.8 * size_px, x + width_px, y + 0.2 * size_px)))
    return found


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def large_plan(prefix: str) -> Plan:
    """40 GPUs of one node, nine replicas on every other of them, all with long names, and demand that is not served."""
    ledger = Ledger(
        weights_mib=4000, activation_mib=500, cuda_graphs_mib=500, context_mib=500, kv_mib=2500, total_mib=8000, start_peak_mib=8000
    )
    forecast = ReplicaForecast(ttft_s=0.2, tpot_s=0.02, busy_fraction=0.1, running_requests=0.1, kv_fraction=0.1)
    changes: dict[str, Any] = {"ledger": ledger, "forecast": forecast}
    replicas = tuple(
        replica(f"{prefix}-{gpu:02}-{place}", f"{prefix}-{gpu:02}", gpus=(gpu,), args={"port": 8100 + 10 * gpu + place}, **changes)
        for gpu in range(0, 40, 2)
        for place in range(9)
    )
    plan = plan_of(replicas, gpu_count=40)
    desired = plan.desired
    short = [workload.model_copy(update={"unserved_rps": 0.5, "unserved_reason": "why"}) for workload in desired.workloads]
    named = [gpu.model_copy(update={"node": f"{prefix}-0"}) for gpu in desired.gpus]
    certificate = desired.certificate.model_copy(
        update={"status": "feasible", "stopped_by": "time_limit", "kept": True, "solver": "an-engine-of-a-plug-in-with-a-long-name"}
    )
    return plan.model_copy(
        update={"desired": desired.model_copy(update={"workloads": tuple(short), "gpus": tuple(named), "certificate": certificate})}
    )


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
        assert [part.get("fill") for part in parts] == [WEIGHTS, KV, GROWN, OVERHEAD]
        assert sum(float(part.attrib["width"]) for part in parts) == pytest.approx(float(outline.attrib["width"]), abs=0.2)
        assert float(outline.attrib["width"]) == pytest.approx(BAR_PX * ledger.total_mib / gpu.memory_mib, abs=0.1)
        left_px = bars(root_of(plan))[0][0]
        assert left_px <= float(outline.attrib["x"]) <= left_px + BAR_PX


@pytest.mark.parametrize("prefix", ["h", "frankfurt-datacentre-h100-pool-for-everyone", "W" * 60], ids=["short", "long", "wide"])
def test_at_40_gpus_no_text_lies_over_another_or_over_a_bar(prefix: str) -> None:
    plan = large_plan(prefix)
    root = root_of(plan)
    boxes = texts(root)
    assert len(boxes) >= 40 * 2 + 20
    for place, (text, box) in enumerate(boxes):
        assert box[0] >= 0, text
        assert box[2] <= float(root.attrib["width"]), text
        assert [other for other, other_box in boxes[place + 1 :] if overlap(box, other_box)] == [], text
        assert [bar for bar in bars(root) if overlap(box, bar)] == [], text


def test_what_was_cut_is_there_in_full_for_the_pointer() -> None:
    plan = large_plan("frankfurt-datacentre-h100-pool-for-everyone")
    [first, *_] = [text for text in root_of(plan).iter(f"{SVG}text") if (text.text or "").endswith(" more")]
    title = first.find(f"{SVG}title")
    assert title is not None
    assert title.text == " · ".join(plan.desired.gpus[0].replicas)


def test_unserved_demand_stands_first_and_in_a_colour_of_its_own() -> None:
    [head, *_] = root_of(large_plan("h")).iter(f"{SVG}text")
    assert head.text == "UNSERVED 10 of 30 requests/s of 20 workloads"
    assert head.get("fill") == "#b03a00"
    [head, *_] = root_of(mig_plan()).iter(f"{SVG}text")
    assert (head.text, head.get("fill")) == ("1 of 1 GPUs, 2.95 USD/h, proven optimal for this problem; solver test", "#000000")


def test_texts_are_cut_listed_and_wrapped_to_their_room() -> None:
    # 0.64 of the size for each of these letters, 0.42 for spaces and hyphens, one size for the ellipsis
    assert text_width_px("abcd", 10) == pytest.approx(25.6)
    assert cut("abcd", 10, 25.6) == "abcd"
    assert cut("abcdeaaz", 10, 36.0) == "ab…az"
    assert listed(("aaaa", "bbbb", "cccc"), 10, 102.1) == "aaaa · bbbb · cccc"
    assert listed(("aaaa", "bbbb", "cccc"), 10, 95.0) == "aaaa and 2 more"
    assert list(wrapped("aa bb cc", 10, 31.0)) == ["aa bb", "cc"]


def test_text_that_is_markup_elsewhere_is_only_text_here() -> None:
    plan = plan_of((replica("<b>&'\"-0", mode="exclusive"),), gpu_count=1)
    assert any((text.text or "") == "<b>&'\"-0" for text in root_of(plan).iter(f"{SVG}text"))


def test_show_writes_the_picture(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.json", sound_plans.sliced())
    assert ullage("show", plan, "--svg", tmp_path / "plan.svg").code == 0
    assert (tmp_path / "plan.svg").read_text(encoding="utf-8") == plan_svg(sound_plans.sliced().desired)
