"""A study as a picture: well-formed, inert, with bars in proportion, every scenario drawn or counted, and no text over another."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ullage.views.drawn_studies import base_row, grid_study, named_study, results_of, solved_row
from tests.ullage.views.html.page_plans import HOSTILE
from ullage.study.results import StudyResults
from ullage.study.rows import StudyRow
from ullage.views.study.round_ticks import doubling_ticks, round_ticks, tick_words
from ullage.views.study.study_choice import breaks_words, left_out_words, shown_rows
from ullage.views.study.study_heat import heat_grid
from ullage.views.study.study_svg import COST_PX, MOST_DRAWN, UNSERVED_PX, study_svg
from ullage.views.svg_text import text_width_px

SVG = "{http://www.w3.org/2000/svg}"
LONG = "a" * 5000
STUDIES = {
    "three": grid_study(3, 2),
    "sixty": grid_study(60, 10),
    "thousand": grid_study(1000, 12),
    "nothing": results_of(),
    "no plan": results_of(StudyRow(scenario="as declared", problem=LONG)),
    "free": results_of(solved_row("as declared", {}, 0.0, unserved_rps=3.0, breaks_at=None)),
    "long": results_of(base_row(), solved_row(LONG, {"a": LONG}, 1e7, unserved_rps=1e5, breaks_at=40.0)),
    "right to left": named_study("\u202e\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd"),
    "early": grid_study(20, 5).model_copy(update={"total": 40}),
}
TAGS = {"svg", "g", "rect", "text", "title", "line", "path", "circle"}

studies = pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES.keys())

Box = tuple[float, float, float, float]


def drawn(study: StudyResults) -> ET.Element:
    """The picture, of which every element is one of ours."""
    text = study_svg(study)
    root = ET.fromstring(text)
    assert {item.tag.removeprefix(SVG) for item in root.iter()} <= TAGS
    assert not any(name.startswith("on") or name in {"href", "style"} for item in root.iter() for name in item.attrib)
    assert not re.search(r"https?:|src=|url\(|<script|javascript:", text.replace("http://www.w3.org/2000/svg", ""))
    return root


def boxes(node: ET.Element, x_px: float = 0.0, y_px: float = 0.0) -> list[tuple[str, Box]]:
    """Left, top, right and bottom of each text."""
    found: list[tuple[str, Box]] = []
    moved = re.fullmatch(r"translate\((\S+) (\S+)\)", node.get("transform", ""))
    if moved:
        x_px, y_px = x_px + float(moved[1]), y_px + float(moved[2])
    if node.tag == f"{SVG}text" and node.text:
        size_px = int(node.attrib["font-size"])
        width_px = text_width_px(node.text, size_px)
        part = {"start": 0.0, "middle": 0.5, "end": 1.0}[node.get("text-anchor", "start")]
        left_px, base_px = x_px + float(node.attrib["x"]) - part * width_px, y_px + float(node.attrib["y"])
        found.append((node.text, (left_px, base_px - 0.75 * size_px, left_px + width_px, base_px + 0.2 * size_px)))
    for child in node:
        found += boxes(child, x_px, y_px)
    return found


@studies
def test_no_text_lies_over_another_or_beyond_the_edge(study: StudyResults) -> None:
    root = drawn(study)
    width_px, height_px = float(root.attrib["width"]), float(root.attrib["height"])
    found = boxes(root)
    for words, (left, top, right, bottom) in found:
        assert left >= 0, words
        assert top >= 0, words
        assert right <= width_px, words
        assert bottom <= height_px, words
    for (one, a), (other, b) in combinations(found, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], f"{one!r} over {other!r}"


@studies
def test_the_same_study_gives_the_same_bytes(study: StudyResults) -> None:
    assert study_svg(study) == study_svg(study.model_copy(deep=True))


@studies
def test_bars_are_in_proportion_and_every_scenario_is_drawn_or_counted(study: StudyResults) -> None:
    root = drawn(study)
    rows, left_out = shown_rows(study, MOST_DRAWN)
    groups = [group for group in root.iter(f"{SVG}g") if group.get("class") == "scenario"]
    assert len(groups) == len(rows) == min(MOST_DRAWN, len(study.rows))
    assert len(rows) + left_out == len(study.rows)
    assert bool(left_out) == (left_out_words(left_out)[:20] in "".join(root.itertext()) and left_out > 0)
    most_usd_per_h = max([row.cost_usd_per_h or 0.0 for row in rows], default=0.0) or 1.0
    most_rps = max([row.unserved_rps or 0.0 for row in rows], default=0.0)
    for group, row in zip(groups, rows, strict=True):
        widths = {item.attrib["class"]: float(item.attrib["width"]) for item in group.iter(f"{SVG}rect")}
        words = " ".join(group.itertext())
        if not row.solved:
            assert widths == {}
            assert "no plan: " in words
            continue
        assert widths["cost"] == pytest.approx(COST_PX * (row.cost_usd_per_h or 0.0) / most_usd_per_h, abs=0.06)
        assert ("short" in widths) == bool(row.unserved_rps)
        if row.unserved_rps:
            assert widths["short"] == pytest.approx(UNSERVED_PX * row.unserved_rps / most_rps, abs=0.06)
        assert f"{row.cost_usd_per_h:,.2f}" in words


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_only_text(name: str) -> None:
    root = drawn(named_study(name))
    if name.isprintable():
        assert name in "".join(root.itertext())


@given(name=st.text(min_size=1, max_size=60))
def test_any_name_is_only_text(name: str) -> None:
    drawn(named_study(name))


def test_the_rows_of_a_large_study_are_those_that_matter() -> None:
    study = grid_study(1000, 12)
    rows, left_out = shown_rows(study, MOST_DRAWN)
    names = {row.scenario for row in rows}
    serving = [row for row in study.rows if row.solved and not row.unserved_rps]
    dearest = max(serving, key=lambda row: row.cost_usd_per_h or 0.0)
    cheapest = min(serving, key=lambda row: row.cost_usd_per_h or 0.0)
    assert left_out == 880
    assert {"as declared", dearest.scenario, cheapest.scenario} <= names
    assert any(not row.solved for row in rows)
    assert max(row.unserved_rps or 0.0 for row in rows) == max(row.unserved_rps or 0.0 for row in study.rows)
    assert rows == [row for row in study.rows if row.scenario in names]


def test_the_picture_of_a_very_large_study_is_small() -> None:
    assert len(study_svg(grid_study(20_000, 100))) < 2_500_000


def test_a_map_is_drawn_for_two_settings_of_few_values() -> None:
    grid = heat_grid(grid_study(61, 10))
    assert grid is not None
    assert (len(grid.down_values), len(grid.across_values)) == (6, 10)
    assert "Cost in USD/h over both settings" in study_svg(grid_study(61, 10))
    assert heat_grid(grid_study(1000, 12)) is None
    assert heat_grid(results_of(base_row())) is None
    three = solved_row("a", {"a": "1", "b": "1", "c": "1"}, 1.0, breaks_at=2.0)
    assert heat_grid(results_of(base_row(), three)) is None


def test_what_has_room_is_not_cut() -> None:
    assert "…" not in study_svg(grid_study(60, 10))


def test_when_it_breaks_is_said_in_words() -> None:
    assert breaks_words(base_row()) == "breaks at x1.06"
    assert breaks_words(solved_row("a", {}, 1.0, breaks_at=None)) == "breaks beyond x32"
    assert breaks_words(solved_row("a", {}, 1.0, unserved_rps=1.0, breaks_at=None)) == "breaks now"


@given(low=st.floats(0, 1e7), span=st.floats(0, 1e7))
def test_ticks_cover_the_range_and_are_few(low: float, span: float) -> None:
    ticks = round_ticks(low, low + span)
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low + 1e-6 * (1 + low)
    assert ticks[-1] >= low + span - 1e-6 * (1 + low + span)
    assert ticks == sorted(set(ticks))


def test_ticks_that_double() -> None:
    assert doubling_ticks(1.1, 7) == [1, 2, 4, 8]
    assert [tick_words(value) for value in (0.5, 2.0, 12000.0)] == ["0.5", "2", "12,000"]
