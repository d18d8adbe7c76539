"""A study as HTML: well-formed, inert whatever names say, complete, and with bars to scale."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ullage.views.drawn_studies import base_row, grid_study, named_study, results_of
from tests.ullage.views.html.page_plans import HOSTILE
from tests.ullage.views.html.read_page import Node, everything, read
from tests.ullage.views.html.test_plan_html import ATTRIBUTES, TAGS
from ullage.study.results import StudyResults
from ullage.study.rows import StudyRow
from ullage.views.html.study.scenario_table import MOST_IN_PAGE
from ullage.views.html.study.study_fragment import study_html
from ullage.views.html.study.study_page import study_page
from ullage.views.study.study_text import MOST_ROWS

View = Callable[[StudyResults], str]
VIEWS = {"fragment": study_html, "page": study_page}
STUDIES = {
    "three": grid_study(3, 2),
    "sixty": grid_study(60, 10),
    "many": grid_study(700, 12),
    "nothing": results_of(),
    "no plan": results_of(StudyRow(scenario="as declared", problem="none\nat all")),
    "early": grid_study(20, 5).model_copy(update={"total": 40}),
    "right to left": named_study("\u202e\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd"),
    "long": named_study("a" * 5000),
}
DRAWN = {"bdi", "g", "line", "path", "circle"}
SHAPES = {"fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "text-anchor", "d", "cx", "cy", "r", "x1", "x2", "y1", "y2"}

views = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
studies = pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES.keys())


def inert(text: str) -> Node:
    """The tree of a text that holds only elements and attributes of ours, and whose style no name has got into."""
    root = read(text)
    for item in everything(root):
        assert item.tag in TAGS | DRAWN
        assert set(item.attributes) <= ATTRIBUTES | SHAPES
        assert re.fullmatch(r"(?:flex|left):[\d.]+%?|", item.attributes.get("style", ""))
    assert len(root.all("style")) == 1
    return root


@views
@studies
def test_it_is_well_formed_repeatable_and_loads_nothing(study: StudyResults, view: View) -> None:
    text = view(study)
    assert text == view(study)
    root = inert(text)
    assert not re.search(r"https?:|src=|url\(|<script|javascript:|@import", text)
    ids = [item.attributes["id"] for item in everything(root) if "id" in item.attributes]
    assert len(set(ids)) == len(ids)
    assert {item.attributes["href"].removeprefix("#") for item in root.all("a")} <= set(ids)
    assert view is study_page or not ids, "a notebook shows many fragments on one page"


@views
@studies
def test_headings_are_in_order_and_tables_say_what_they_are(study: StudyResults, view: View) -> None:
    root = read(view(study))
    levels = [int(item.tag[1]) for item in everything(root) if re.fullmatch(r"h\d", item.tag)]
    assert levels[0] == (1 if view is study_page else 3)
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for table in root.all("table"):
        assert table.children[0].tag == "caption"
        assert table.children[0].words
        assert all(head.attributes["scope"] in {"col", "row"} for head in table.all("th"))
        assert len({len(row.children) for row in table.all("tr")}) == 1


@views
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_only_text(name: str, view: View) -> None:
    root = inert(view(named_study(name)))
    if name.isprintable():
        assert name in root.words


@views
@given(name=st.text(min_size=1, max_size=30))
def test_any_name_is_only_text(name: str, view: View) -> None:
    text = view(named_study(name))
    inert(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text)


def rows_of(root: Node) -> list[Node]:
    return [row for frame in root.all("div", "scenarios") for row in frame.all("tr")[1:]]


@views
@studies
def test_every_scenario_is_there_or_counted(study: StudyResults, view: View) -> None:
    root = read(view(study))
    most = MOST_IN_PAGE if view is study_page else MOST_ROWS
    left_out = max(0, len(study.rows) - most)
    assert len(rows_of(root)) == len(study.rows) - left_out
    assert not left_out or f"{left_out:,} scenarios are left out here" in root.words
    if not left_out:
        assert sorted(row.children[0].words for row in rows_of(root)) == sorted(row.scenario for row in study.rows)


@studies
def test_bars_are_to_scale(study: StudyResults) -> None:
    rows = {row.scenario: row for row in study.rows}
    most_usd_per_h = max([row.cost_usd_per_h or 0.0 for row in study.rows], default=0.0)
    for drawn in rows_of(read(study_page(study))):
        row, bars = rows[drawn.children[0].words], drawn.all("span", "cost")
        assert len(bars) == row.solved
        for bar in bars:
            assert bar.children[0].flex == pytest.approx((row.cost_usd_per_h or 0.0) / most_usd_per_h, abs=1e-4)
            assert bar.children[0].flex + bar.children[1].flex == pytest.approx(1.0, abs=2e-4)


def test_many_rows_stand_in_groups_by_the_first_setting() -> None:
    groups = read(study_page(grid_study(700, 12))).all("details", "group")
    told = [(group.all("bdi")[0].words, group.all("summary")[0].text) for group in groups]
    assert told[0] == ("as declared", ": 1 scenario, 14.75 USD/h")
    assert told[1][0] == "pools.h100.nodes=1"
    assert told[1][1].startswith(": 12 scenarios, 10.00 to ")
    assert not read(study_page(grid_study(60, 12))).all("details")


def test_five_numbers_sum_it_up() -> None:
    tiles = [tile.words for tile in read(study_page(grid_study(60, 10))).all("div", "tile")]
    assert len(tiles) == 5
    assert tiles[0].startswith("Scenarios planned56 of 60")
    assert "10.00 USD/hpools.h100.nodes=1, workloads.chat.rate=x1" in tiles[1]
    assert tiles[3].startswith("As declared14.75 USD/h")
    assert tiles[4].endswith("4 without a plan")


def test_the_page_tells_who_yields_what_is_lost_and_why_there_is_no_plan() -> None:
    words = read(study_page(grid_study(60, 10))).words
    for told in (
        "Front of cost against risk",
        "Front of cost against attainment",
        "Unserved requests/s, by scenario",
        "Lost at once, by scenario",
        "H100-SXM-80GB",
        "fleet.yaml: pools.h100: too few nodes",
        "time_limit_s",
        "a" * 64,
    ):
        assert told in words
    calm = read(study_page(results_of(base_row()))).words
    assert "Nobody: each scenario that has a plan serves all demand." in calm
    assert "None: each scenario that was tried has a plan." in calm
