"""Invariant 10: a plan survives its file; a broken file gives a sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.plan import DocumentError, State, plan_from_json, state_from_json, state_hash, to_json
from tests.fleets import fleet
from ullage.planning.plan import plan_fleet


def test_a_plan_survives_its_file() -> None:
    plan = plan_fleet(fleet(), State()).plan
    text = to_json(plan)
    assert plan_from_json(text, "plan.json") == plan
    assert to_json(plan_from_json(text, "plan.json")) == text


def test_equal_states_have_equal_hashes() -> None:
    assert state_hash(State()) == state_hash(State(serial=0))
    assert state_hash(State()) != state_hash(State(serial=1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "plan.json:1:1: not JSON"),
        ("[]", "schema_version is None"),
        ('{"schema_version": 99}', "schema_version is 99, this ullage reads 1"),
        ('{"schema_version": 1}', "desired: Field required"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_plan_gives_a_sentence(text: str, words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        plan_from_json(text, "plan.json")


def test_an_unknown_field_is_named() -> None:
    document = json.loads(to_json(State()))
    document["surprise"] = 1
    with pytest.raises(DocumentError, match=r"state\.json: surprise: "):
        state_from_json(json.dumps(document), "state.json")


@given(st.text())
def test_no_text_gives_anything_but_a_document_error(text: str) -> None:
    with pytest.raises(DocumentError):
        plan_from_json(text, "plan.json")


def test_a_number_too_long_to_read_is_an_error_with_the_file() -> None:
    with pytest.raises(DocumentError, match=r"^plan\.json: not JSON that can be read"):
        plan_from_json('{"schema_version": ' + "1" * 5000 + "}", "plan.json")
