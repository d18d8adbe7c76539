from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.emulator.asks import Ask, AskError, parse_body, read_ask, text_tokens

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.integers(1, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "model",
    "prompt",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "min_tokens",
    "n",
    "stream",
    "stream_options",
    "ignore_eos",
    "priority",
)


def ask(body: dict[str, Any], *, chat: bool = False) -> Ask:
    return read_ask(body, chat=chat, served_names=("m",), max_model_len=100, vocabulary=1000)


def outcome(attempt: Callable[[], object]) -> object:
    """What comes of it, or the status of its error."""
    try:
        return attempt()
    except AskError as error:
        return error.status.value


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES), st.booleans())
def test_any_body_is_an_ask_within_the_limits_or_an_error(body: dict[str, Any], chat: bool) -> None:
    found = outcome(lambda: ask(body, chat=chat))
    if isinstance(found, Ask):
        assert found.prompt_tokens >= 1
        assert 1 <= found.output_tokens <= found.max_tokens
        assert found.prompt_tokens + found.max_tokens <= 100
    else:
        assert found in {400, 404}


@given(st.binary(max_size=50))
def test_any_bytes_are_an_object_or_an_error(body: bytes) -> None:
    found = outcome(lambda: parse_body(body))
    assert found == 400 or isinstance(found, dict)


def test_a_very_long_number_is_no_crash() -> None:
    with pytest.raises(AskError):
        parse_body(b'{"max_tokens": ' + b"9" * 10000 + b"}")


@pytest.mark.parametrize(
    ("body", "chat", "prompt", "maximum", "output", "reason"),
    [
        ({"prompt": "x" * 40}, False, 10, 16, 16, "length"),
        ({"prompt": "x" * 40, "max_tokens": None}, False, 10, 90, 90, "length"),
        ({"prompt": [[1, 2, 3]], "max_tokens": 5, "ignore_eos": True}, False, 3, 5, 5, "length"),
        ({"messages": [{"role": "user", "content": "x" * 40}]}, True, 14, 86, 86, "length"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "xxxx"}]}], "max_completion_tokens": 7},
            True,
            5,
            7,
            7,
            "length",
        ),
        ({"messages": [{"role": "assistant", "content": None}], "max_tokens": 2}, True, 4, 2, 2, "length"),
    ],
)
def test_lengths(body: dict[str, Any], chat: bool, prompt: int, maximum: int, output: int, reason: str) -> None:
    found = ask(json.loads(json.dumps(body)), chat=chat)
    assert (found.prompt_tokens, found.max_tokens, found.output_tokens, found.finish_reason) == (prompt, maximum, output, reason)


def test_an_answer_ends_by_itself_unless_told_to_go_on() -> None:
    for ignore, expected in ((False, ("stop", 211)), (True, ("length", 900))):
        found = read_ask(
            {"prompt": "x", "max_tokens": 900, "ignore_eos": ignore}, chat=False, served_names=("m",), max_model_len=1000, vocabulary=10
        )
        assert (found.finish_reason, found.output_tokens) == expected


def test_text_tokens() -> None:
    assert [text_tokens(text) for text in ("", "abcd", "abcde")] == [1, 1, 2]


def test_a_priority_is_taken_where_the_engine_looks_at_it() -> None:
    body = {"prompt": "x", "priority": 7}
    assert outcome(lambda: ask(body)) == 400
    found = read_ask(body, chat=False, served_names=("m",), max_model_len=100, vocabulary=1000, by_priority=True)
    assert found.priority == 7
    assert ask({"prompt": "x", "priority": 0}).priority == 0
