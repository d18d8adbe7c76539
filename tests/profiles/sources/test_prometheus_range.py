"""Questions to a Prometheus server in PromQL, and its answers."""

from __future__ import annotations

import json

import pytest

from profiles.sources.prometheus_range import (
    PrometheusError,
    matchers,
    models_question,
    p99_question,
    range_answer,
    rate_question,
    served_as,
)


def test_both_spellings_are_asked_for() -> None:
    assert rate_question("request_success_total", 'model_name="m"', 3600) == (
        'sum(rate(vllm:request_success_total{model_name="m"}[3600s]) or rate(vllm_request_success_total{model_name="m"}[3600s]))'
    )
    assert p99_question("request_prompt_tokens", 'a="b"', 60) == (
        'histogram_quantile(0.99, sum by (le) (rate(vllm:request_prompt_tokens_bucket{a="b"}[60s]) '
        'or rate(vllm_request_prompt_tokens_bucket{a="b"}[60s])))'
    )
    assert "rate(vllm:request_success_total[60s])" in models_question(60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("qwen3-8b", 'model_name="qwen3-8b"'),
        ("org/Model:v1", 'model_name="org/Model:v1"'),
        (' {tenant="a", model_name=~"x.*",} ', 'tenant="a", model_name=~"x.*",'),
        ('namespace!="dev"', 'namespace!="dev"'),
        ('{a="with \\" and } inside"}', 'a="with \\" and } inside"'),
    ],
)
def test_matchers(text: str, expected: str) -> None:
    assert matchers(text) == expected


@pytest.mark.parametrize("text", ["{}", "{a=b}", '{a="b"} or up', 'a="b"}[5m]) or (up{b="c"', '{a="b" b="c"}', '{1a="b"}'])
def test_broken_matchers(text: str) -> None:
    with pytest.raises(ValueError, match="are no label matchers; write for example"):
        matchers(text)


def test_names_are_quoted() -> None:
    assert served_as('a"b\\') == 'model_name="a\\"b\\\\"'
    assert served_as("qwen3.8b", "qwen3.8b-long") == 'model_name=~"qwen3\\\\.8b|qwen3\\\\.8b\\\\-long"'


def test_what_is_no_number_is_no_sample() -> None:
    values = [[1794790800, "1.5"], [1794794400, "NaN"], [1794798000.0, "+Inf"], [1794801600, "0"]]
    body = {
        "status": "success",
        "data": {"resultType": "matrix", "result": [{"metric": {"model_name": "m"}, "values": values}]},
        "warnings": ["some series are cut off"],
    }
    found = range_answer(json.dumps(body).encode(), 200, "http://p")
    assert found.values() == {1794790800: 1.5, 1794801600: 0.0}
    assert (found.series[0][0], found.warnings) == ({"model_name": "m"}, ("some series are cut off",))


@pytest.mark.parametrize(
    "raw", [b"", b"null", b'{"status": "success"}', b'{"status": "success", "data": {"resultType": "matrix"}}', b"\xff"]
)
def test_other_answers(raw: bytes) -> None:
    with pytest.raises(PrometheusError, match=r"^http://p: HTTP 200, and not the answer of a Prometheus"):
        range_answer(raw, 200, "http://p")
