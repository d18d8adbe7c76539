from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from planner.plan import Plan
from renderers.manifest import RenderError
from renderers.names import file_name
from renderers.no_credentials import refuse_credentials
from renderers.templates import comment, scalar, shell_word, template
from tests.plans import plan_of, replica

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(_TEXT)
def test_a_scalar_is_the_same_text_in_json_and_yaml(text: str) -> None:
    assert json.loads(scalar(text)) == text
    assert yaml.safe_load(scalar(text)) == text


@given(_TEXT)
@settings(max_examples=20)
def test_a_shell_word_is_one_word_with_the_same_text(text: str) -> None:
    done = subprocess.run(["bash", "-c", f"printf '%s|' {shell_word(text)}"], capture_output=True, check=True)
    assert done.stdout == text.encode() + b"|"


@given(_TEXT)
def test_a_comment_stays_on_its_line(text: str) -> None:
    assert comment(text).isprintable()
    assert len(comment(text)) == len(text)


@given(st.text())
def test_file_names_are_one_safe_component(name: str) -> None:
    made = file_name(name)
    assert made
    assert "/" not in made
    assert made[0] not in ".-"
    assert made.isascii()
    assert len(made) <= 110


@given(st.text(), st.text())
def test_different_names_make_different_files(first: str, second: str) -> None:
    assert (file_name(first) == file_name(second)) == (first == second)


def test_a_value_the_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        template("envoy", "envoy.yaml.j2").render()


def test_no_shell_word_holds_nul() -> None:
    with pytest.raises(RenderError, match="NUL"):
        shell_word("a\0b")


def _with_token(**changes: Any) -> Plan:
    return plan_of((replica("r", **changes),), gpu_count=1)


def test_a_plan_with_an_access_token_is_refused_without_repeating_it() -> None:
    token = "hf_" + "aB3" * 11 + "x"
    plan = _with_token(args={"model": f"https://user:{token}@host/model"}, pool=token)
    with pytest.raises(RenderError, match=r"desired\.replicas\.0\.args\.model") as refused:
        refuse_credentials(plan.desired, "desired")
    assert "HF_TOKEN" in str(refused.value)
    assert "desired.replicas.0.pool" in str(refused.value)
    assert token not in str(refused.value)
    refuse_credentials(_with_token(args={"model": "someone/hf_model_for_tests_only"}).desired, "desired")
