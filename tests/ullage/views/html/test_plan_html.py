"""A plan as HTML: well-formed, inert whatever names say, to scale, and small at two thousand GPUs."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.plan import Asleep, Plan
from tests.plans import mig_plan, plan_of, replica, time_shared_plan
from tests.ullage.views.html.page_plans import HOSTILE, changed, plans, repeated_plan, told_plan
from tests.ullage.views.html.read_page import Node, everything, read
from ullage.views.html.markup import Markup, element, joined
from ullage.views.html.plan.plan_fragment import plan_html
from ullage.views.html.plan.report_page import report_page

View = Callable[[Plan], str]
VIEWS = {"fragment": plan_html, "page": report_page}
PLANS = plans()

views = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
all_plans = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "a", "header", "nav", "main", "section", "footer"),
    *("h1", "h2", "h3", "h4", "p", "b", "i", "u", "br", "ul", "li", "dl", "dt", "dd", "div", "span", "code"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "svg", "text", "rect"),
}
ATTRIBUTES = {
    *("class", "style", "title", "role", "aria-label", "aria-labelledby", "tabindex", "scope", "id", "href", "lang"),
    *("charset", "content", "name", "http-equiv", "viewbox", "x", "y", "width", "height"),
}


def inert(text: str) -> Node:
    """The tree of a text that holds only elements and attributes of ours, and whose style no name has got into."""
    root = read(text)
    for item in everything(root):
        assert item.tag in TAGS
        assert set(item.attributes) <= ATTRIBUTES
        assert re.fullmatch(r"(?:flex|left):[\d.]+%?|", item.attributes.get("style", ""))
    assert len(root.all("style")) == 1
    return root


@views
@all_plans
def test_it_is_well_formed_repeatable_and_loads_nothing(plan: Plan, view: View) -> None:
    text = view(plan)
    assert text == view(plan)
    root = inert(text)
    assert not re.search(r"https?:|src=|url\(|<script|javascript:|@import", text)
    ids = [item.attributes["id"] for item in everything(root) if "id" in item.attributes]
    assert len(set(ids)) == len(ids)
    assert {item.attributes["href"].removeprefix("#") for item in root.all("a")} <= set(ids)
    assert view is report_page or not ids, "a notebook shows many fragments on one page"


@views
@all_plans
def test_headings_are_in_order_and_tables_say_what_they_are(plan: Plan, view: View) -> None:
    root = read(view(plan))
    levels = [int(item.tag[1]) for item in everything(root) if re.fullmatch(r"h\d", item.tag)]
    assert levels[0] == (1 if view is report_page else 3)
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for table in root.all("table"):
        assert table.children[0].tag == "caption"
        assert table.children[0].words
        assert all(head.attributes["scope"] in {"col", "row"} for head in table.all("th"))
        assert len({len(row.children) for row in table.all("tr")}) == 1


@views
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_only_text(name: str, view: View) -> None:
    plan = told_plan(name)
    pools = [gpu.model_copy(update={"pool": name, "node": name, "gpu_type": name}) for gpu in plan.desired.gpus]
    root = inert(view(changed(plan, gpus=tuple(pools), input_hashes={name: "0" * 64})))
    if name.isprintable():
        assert name in root.words


@views
@given(name=st.text(min_size=1, max_size=30))
def test_any_name_is_only_text(name: str, view: View) -> None:
    text = view(told_plan(name))
    inert(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text)


def test_text_is_escaped_unless_it_is_markup() -> None:
    assert element("p", "a<b", element("b", '"'), class_="<'") == '<p class="&lt;&#x27;">a&lt;b<b>&quot;</b></p>'
    assert joined(["<", Markup("<br>")], "&") == "&lt;&amp;<br>"


@views
@all_plans
def test_each_gpu_and_each_workload_is_there(plan: Plan, view: View) -> None:
    root = read(view(plan))
    details = root.all("div", "fleet")[0].words
    unused = re.findall(r"GPU ([\d,-]+)", " ".join(line.words for line in root.all("p", "unused")))
    for gpu in plan.desired.gpus:
        assert f"{gpu.node} GPU {gpu.index}" in details or any(_holds(span, gpu.index) for spans in unused for span in spans.split(","))
    table = next(item for item in root.all("table") if item.children[0].words == "Workloads against their goals")
    assert [row.children[0].words for row in table.all("tr")[1:]] == [item.name for item in plan.desired.workloads]


def _holds(span: str, index: int) -> bool:
    first, _, last = span.partition("-")
    return bool(first) and int(first) <= index <= int(last or first)


@all_plans
def test_the_parts_of_a_bar_are_the_memory_of_the_gpu(plan: Plan) -> None:
    rows = read(plan_html(plan)).all("details", "gpu")
    gpus = {f"{gpu.node} GPU {gpu.index}": gpu for gpu in plan.desired.gpus}
    replicas = {item.name: item for item in plan.desired.replicas}
    assert bool(rows) == bool(plan.desired.replicas)
    for row in rows:
        name, bar = row.all("span", "n")[0], row.all("span", "bar")[0]
        gpu = gpus[name.text]
        if not gpu.mig_layout:
            assert sum(part.flex for part in bar.children) == gpu.memory_mib
        for drawn in bar.all("span", "r"):
            item = replicas[drawn.attributes["title"].split(": weights")[0]]
            assert drawn.flex == item.ledger.total_mib == sum(part.flex for part in drawn.children)
            assert drawn.children[0].flex == item.ledger.weights_mib


def test_mig_slots_are_where_they_are() -> None:
    plan = mig_plan()
    [bar] = read(plan_html(plan)).all("span", "bar")
    # an H100 has eight memory slices: 4g.40gb at 0 takes four of them, 3g.40gb at 4 the others
    assert [(part.tag, part.flex) for part in bar.children] == [("span", 4.0), ("span", 4.0)]
    assert [slot.all("span", "r")[0].attributes["title"].split(":")[0] for slot in bar.children] == ["llama-8b-0", "qwen3-8b-0"]
    [gpu] = plan.desired.gpus
    alone = gpu.model_copy(update={"mig_layout": gpu.mig_layout[1:], "replicas": gpu.replicas[1:]})
    [bar] = read(plan_html(changed(plan, gpus=(alone,)))).all("span", "bar")
    assert [(part.attributes["class"], part.flex) for part in bar.children] == [("f", 4.0), ("slot", 4.0)]
    assert plan_html(changed(plan, gpus=(gpu.model_copy(update={"gpu_type": "of nobody"}),)))


def test_what_others_hold_and_what_has_grown_is_drawn_apart() -> None:
    bar = read(plan_html(told_plan("a"))).all("span", "bar")[0]
    assert [part.flex for part in bar.children if part.attributes["class"] == "t"] == [4000.0]
    assert [part.flex for part in bar.all("i") if part.attributes["class"] in {"k", "g"}] == [4096.0, 4096.0]
    assert "held by others 3.9 GiB" in bar.attributes["aria-label"]


def test_a_replica_that_sleeps_takes_no_room_in_the_bar() -> None:
    plan = time_shared_plan()
    row = read(plan_html(changed(plan, asleep=(Asleep(name="qwen3-8b-0", level=2),)))).all("details", "gpu")[0]
    assert [item.attributes["title"].split(":")[0] for item in row.all("span", "r")] == ["llama-8b-0"]
    assert "qwen3-8b (asleep at level 2)" in row.words


def test_many_gpus_alike_are_one_row_with_all_their_names() -> None:
    root = read(plan_html(repeated_plan(61)))
    [row] = root.all("details", "gpu")
    assert row.all("span", "n")[0].words == "h100-0 GPU 0 x 61"
    assert all(f"h100-0 GPU {index}" in row.words for index in range(61))
    assert len(read(plan_html(repeated_plan(60))).all("details", "gpu")) == 60


@pytest.mark.parametrize("alike", [True, False])
def test_two_thousand_gpus_are_small_enough_to_show(alike: bool) -> None:
    plan = repeated_plan(2000, alike=alike)
    one = plan.desired.workloads[:200]
    text = plan_html(changed(plan, workloads=one))
    assert len(text.encode()) < 1_500_000
    words = read(text).all("div", "fleet")[0].words
    assert all(f"h100-0 GPU {index}" in words for index in range(2000))


def test_gpus_of_the_same_models_become_one_where_rows_are_too_many() -> None:
    replicas = tuple(replica(f"a-{gpu}", "a", gpus=(gpu,), kv_floor_mib=4096 + gpu, args={"port": 8100 + gpu}) for gpu in range(320))
    [row] = read(plan_html(plan_of(replicas, gpu_count=320))).all("details", "gpu")
    assert "Their sizes differ a little" in row.words


def test_what_is_wrong_stands_before_the_fleet() -> None:
    for view in VIEWS.values():
        text = view(told_plan("chat"))
        assert text.index("chat is too large") < text.index("Pool h100")
    assert "Nothing: all demand is served" in report_page(mig_plan())


def test_the_page_tells_moves_saving_losses_and_purchases() -> None:
    words = read(report_page(told_plan("chat"))).words
    for told in (
        "chat-0, chat-1",
        "chat: UNAVAILABLE for up to 60 s",
        "Scale to zero: paid only in windows with requests",
        "where interference is measured",
        "chat: NOT survived",
        "With one more GPU of chat: serves 0.5 requests/s of chat",
        "not MIG on 1 GPU of chat: no room for chat",
    ):
        assert told in words
    assert "ullage plan --explain" in read(report_page(mig_plan())).words
