"""A plan as Markdown: all a reviewer needs, small enough for a comment, and inert whatever names say."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.plan import Plan
from tests.plans import time_shared_plan
from tests.ullage.views.html.page_plans import HOSTILE, changed, plans, repeated_plan, told_plan
from tests.ullage.views.markdown.read_markdown import ReadMarkdown, read_markdown
from ullage.planning.plan_change import change_between
from ullage.views.plan.diff_markdown import diff_markdown
from ullage.views.plan.markdown_text import escaped, name_code
from ullage.views.plan.plan_markdown import plan_markdown

# A comment on GitHub.
MOST_CHARACTERS = 65_536

MARKED = (
    *("a|b", "`", "``x", "\\|", "a\\", "<b>", "</details>", "<!-- ", "&lt;b&gt;", "&#124;", "[x](http://a.b)", "![x](y)", "<http://a.b>"),
    *("http://a.b/c", "www.a.b", "a@b.c", "@all", "@org/team", "#12", "o/r#12", "GH-12", "!3", "~bug", "%4", "$5$", ":smile:", "&6", "^7"),
    *(
        "mailto:a@b.c",
        "deadbeef0123",
        "- x",
        "1. x",
        "# x",
        "---",
        "===",
        "+",
        "    x",
        "\x1b[31mred",
        "a\nb",
        "a\r\n| b |",
        "\u202ex",
        "\ud800",
    ),
    *("**x**", "_x_", "~~x~~", "/close", "[x]: http://a.b", "|---|", "", " ", "x" * 3000),
)
NAMES = st.one_of(
    st.text(min_size=1, max_size=30),
    st.lists(st.sampled_from([*MARKED, *HOSTILE]), min_size=1, max_size=4).map("".join),
    st.text(alphabet="|`<>@#:/[]()!\\&*_-.w0a \n", min_size=1, max_size=20),
)


def both(plan: Plan) -> tuple[str, str, str]:
    """All views of a plan: itself, and its difference to and from another."""
    other = time_shared_plan()
    return plan_markdown(plan), diff_markdown(change_between(other, plan)), diff_markdown(change_between(plan, other))


def shape(found: ReadMarkdown) -> tuple[list[list[int]], list[str]]:
    """Cells by row, and the kinds of blocks."""
    return [[len(row) for row in table] for table in found.tables], found.blocks


def renamed(name: str) -> Plan:
    """A plan in which everything that can have a name has this one, or is told with it."""
    plan = told_plan(name)
    gpus = [gpu.model_copy(update={"pool": name, "node": name, "gpu_type": name}) for gpu in plan.desired.gpus]
    replicas = [replica.model_copy(update={"node": name}) for replica in plan.desired.replicas]
    certificate = plan.desired.certificate.model_copy(update={"solver": name})
    return changed(plan, gpus=tuple(gpus), replicas=tuple(replicas), certificate=certificate, input_hashes={name: "0" * 64})


@pytest.mark.parametrize("plan", plans().values(), ids=plans().keys())
def test_it_is_repeatable_and_nothing_of_it_is_bound(plan: Plan) -> None:
    for text, again in zip(both(plan), both(plan), strict=True):
        assert text == again
        assert text.endswith("\n")
        found = read_markdown(text)
        assert found.foreign == []
        assert text.count("<details>") == text.count("</details>") == sum("<details>" in tag for tag in found.html)


@given(name=NAMES)
def test_no_name_breaks_a_table_nor_makes_a_tag_a_link_or_a_mention(name: str) -> None:
    # the order of names in the plan is that of the text: one of the same length keeps it
    for text, plain in zip(both(renamed(name)), both(renamed("llama-8c")), strict=True):
        found, wanted = read_markdown(text), read_markdown(plain)
        assert found.foreign == []
        assert shape(found) == shape(wanted)
        assert all(letter.isprintable() or letter == "\n" for letter in text)
        text.encode("utf-8")


@pytest.mark.parametrize("name", MARKED)
def test_what_has_a_meaning_in_markdown_shows_as_it_is_written(name: str) -> None:
    for marked in (escaped(name), name_code(name)):
        found = read_markdown(f"| {marked} |\n| --- |\n")
        shown = found.tables[0][0][0].replace("\u200b", "")
        wanted = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)
        assert shown == wanted.strip() or (len(name) > 600 and shown.endswith("x ..."))
        assert found.foreign == []


def test_names_that_are_only_names_stand_in_fixed_width() -> None:
    assert [name_code(name) for name in ("llama-8b", "meta/Llama-3.1", "h100-0")] == ["`llama-8b`", "`meta/Llama-3.1`", "`h100-0`"]


def test_a_reviewer_reads_cost_service_actions_goals_and_risks_in_this_order() -> None:
    text = plan_markdown(told_plan("llama-8b"))
    assert re.findall(r"^#+ .*$", text, flags=re.MULTILINE) == [
        "## Plan: 5.90 USD/h, 2 of 3 GPUs",
        *("### Actions", "### Goals", "### Risks"),
    ]
    assert "**UNSERVED 0.5 of 1.5 requests/s of 1 workload**" in text
    assert "4 actions, in this order; 29.9 GiB of weights to load." in text
    assert "| 1 | start | `llama-8b-0` | `llama-8b` | `h100-0` GPU 0 | 15.0 | new |" in text
    assert "| `llama-8b` | `llama-8b` | 1.50 | 210 / 500 ms | 58% | 31 / 50 ms | 38% | x1 | **0.50** |" in text
    for risk in ("llama-8b falls short under slow llama-8b", "loss of a node: llama-8b: NOT survived", "warning: warning of llama-8b"):
        assert f"\n* {risk}" in text
    assert "\n* llama-8b: UNAVAILABLE for up to 60 s" in text
    assert "| `cost_usd_per_h` | 5.9 | 5.9 | 0.00% | yes |" in text


def test_a_missed_goal_stands_out_and_comes_first() -> None:
    plan = time_shared_plan()
    late = plan.desired.workloads[-1].model_copy(update={"ttft_s": 0.6})
    text = plan_markdown(changed(plan, workloads=(*plan.desired.workloads[:-1], late)))
    rows = [line for line in text.splitlines() if " / 500 ms" in line]
    assert "**missed by 20%**" in rows[0]
    assert rows[0].startswith(f"| `{late.name}` |")


def test_a_plan_of_two_thousand_gpus_fits_a_comment() -> None:
    large, other = repeated_plan(2000), repeated_plan(2000, alike=False)
    for text in (plan_markdown(large), diff_markdown(change_between(large, other))):
        assert len(text) < MOST_CHARACTERS
    assert "<details><summary>" in plan_markdown(large)
