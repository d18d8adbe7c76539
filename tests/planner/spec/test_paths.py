"""Paths to fields, and changes made at them: names with dots, short forms, nearest spellings, nothing lost."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.spec.edits import multiplied, node_of, node_of_text, product, times, value_at, with_value
from planner.spec.paths import PathError, joined, resolve
from planner.spec.yaml_tree import Node, parse

TEXT = """\
schema_version: 1
pools:
  h100: {gpu: H100-SXM-80GB, nodes: 2, gpus_per_node: 8, taken: [{node: 0, gpus: [1]}]}
  h100.spare: {gpu: H100-SXM-80GB, nodes: 1, gpus_per_node: 8}
models:
  llama-3.1-8b: {source: meta-llama/Llama-3.1-8B-Instruct}
workloads:
  chat: {model: llama-3.1-8b, demand: {rate: 3/s, input_tokens: {mean: 500, p99: 900}, output_tokens: 100}}
"""


def root() -> Node:
    return parse("fleet.yaml", TEXT)[0]


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("pools.h100.nodes", ("pools", "h100", "nodes")),
        ("pools.h100.spare.nodes", ("pools", "h100.spare", "nodes")),
        ("models.llama-3.1-8b.max_model_len", ("models", "llama-3.1-8b", "max_model_len")),
        ("workloads.chat.rate", ("workloads", "chat", "demand", "rate")),
        ("workloads.chat.demand.rate", ("workloads", "chat", "demand", "rate")),
        ("workloads.chat.input_tokens.mean", ("workloads", "chat", "demand", "input_tokens", "mean")),
        ("workloads.chat.ttft_p95", ("workloads", "chat", "slo", "ttft_p95")),
        ("workloads.chat.class", ("workloads", "chat", "class")),
        ("workloads.chat.labels.cost.centre", ("workloads", "chat", "labels", "cost.centre")),
        ("workloads.new", ("workloads", "new")),
        ("pools.h100.taken[0].gpus", ("pools", "h100", "taken", 0, "gpus")),
        ("policy.risk.attainment", ("policy", "risk", "attainment")),
        ("policy.attainment", ("policy", "risk", "attainment")),
        ("policy.router.port", ("policy", "router", "port")),
    ],
)
def test_a_path_is_resolved_to_the_field_it_names(path: str, steps: tuple[str | int, ...]) -> None:
    assert resolve(root(), path) == steps


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "a path is empty"),
        ("pool.h100.nodes", "did you mean 'pools'?"),
        ("pools.h10.nodes", "there is no 'h10' under pools; did you mean 'h100'? there are: h100, h100.spare"),
        ("pools.h100.spar.nodes", "pools.h100 has no field 'spar'"),
        ("pools.h100.node", "did you mean 'pools.h100.nodes'?"),
        ("models.llama-3.1-8.max_model_len", "did you mean 'llama-3.1-8b'?"),
        ("workloads.chat.ttft", "did you mean 'workloads.chat.ttft_p95'?"),
        ("pools.h100.nodes.count", "is a single value; there is nothing in it"),
        ("pools.h100.taken[3].gpus", "has 1 items in the file, counted from 0; there is no [3]"),
    ],
)
def test_a_path_to_nothing_is_refused_with_the_nearest_spelling(path: str, told: str) -> None:
    with pytest.raises(PathError) as error:
        resolve(root(), path)
    assert told in str(error.value)
    assert str(error.value).startswith(path or "a path")


@given(st.text(max_size=40))
def test_no_path_gives_anything_but_steps_or_a_sentence(path: str) -> None:
    with suppress(PathError):
        steps = resolve(root(), path)
        assert resolve(root(), joined(steps)) == steps


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_a_value_that_is_set_is_there_and_nothing_else_changes(value: Any) -> None:
    before, steps = root(), ("workloads", "chat", "labels")
    after = with_value(before, steps, node_of(value))
    found = value_at(after, steps)
    assert found is not None
    assert found.plain() == node_of(value).plain()
    assert with_value(after, steps, None).plain() == before.plain() == root().plain()
    assert after.size - before.size == node_of(value).size


def test_an_item_of_a_list_is_changed_and_left_out() -> None:
    steps = resolve(root(), "pools.h100.taken[0].node")
    assert with_value(root(), steps, node_of(1)).plain()["pools"]["h100"]["taken"] == [{"node": "1", "gpus": ["1"]}]
    assert with_value(root(), steps[:-1], None).plain()["pools"]["h100"]["taken"] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (2.5, "2.5"),
        (np.int64(4), "4"),
        (np.float64(0.1), "0.1"),
        (True, "true"),
        (np.bool_(True), "true"),
        ("x2", "x2"),
        (1e-7, "1e-07"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_become_what_a_file_would_say(value: object, text: str) -> None:
    assert node_of(value).value == text


def test_arrays_become_lists() -> None:
    assert node_of(np.array([1, 2])).plain() == ["1", "2"]


def test_what_a_file_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="is a object; a fleet file holds"):
        node_of(object())


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", "3"), ("[a, b]", ["a", "b"]), ("{mean: 5}", {"mean": "5"}), ("'x: y'", "x: y"), ("2.5 USD/h", "2.5 USD/h"), ("null", None)],
)
def test_a_text_is_read_as_in_a_file(text: str, value: object) -> None:
    assert node_of_text(text).plain() == value


@pytest.mark.parametrize("text", ["[a", "a: b: c", "!!python/object:os.system x", "b\nother: 3", "*alias"])
def test_a_text_that_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        node_of_text(text)


@pytest.mark.parametrize(
    ("text", "factor", "result"),
    [
        ("2.50 USD/h", Fraction(11, 10), "2.75 USD/h"),
        ("500ms", Fraction(1, 2), "250ms"),
        ("3/s", Fraction(2), "6/s"),
        ("8", Fraction(3, 2), "12"),
        ("1/s", Fraction(1, 10**9), "0.000000001/s"),
    ],
)
def test_a_quantity_is_multiplied_in_its_unit(text: str, factor: Fraction, result: str) -> None:
    assert product(text, factor) == result


def test_only_numbers_are_multiplied() -> None:
    assert times("x1.5") == Fraction(3, 2)
    assert times("1.5") is times(2) is times("xlarge") is None
    assert multiplied(root(), "workloads.chat.rate", Fraction(2)).plain()["workloads"]["chat"]["demand"]["rate"] == "6/s"
    with pytest.raises(PathError, match=r"the file has no value at pools.h100.price"):
        multiplied(root(), "pools.h100.price", Fraction(2))
    with pytest.raises(PathError, match="'H100-SXM-80GB' is not a number"):
        multiplied(root(), "pools.h100.gpu", Fraction(2))
    with pytest.raises(PathError, match=r"pools.h100 is not a number"):
        multiplied(root(), "pools.h100", Fraction(2))
