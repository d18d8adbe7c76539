from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from executor.emulator.metrics import Histogram, Metrics, one_two_five
from tests.emulator.processes import FIXTURES

SERIES = re.compile(r"^(vllm:\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def series(text: str) -> dict[str, set[tuple[str, ...]]]:
    """Family -> label names and, where they are not free, values."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for line in text.splitlines():
        if match := SERIES.match(line):
            labels = [(key, value) for key, value in LABEL.findall(match[2] or "")]
            fixed = {"le", "reason", "source", "sleep_state", "finished_reason"}
            found.setdefault(match[1], set()).add(tuple(sorted(f"{key}={value}" if key in fixed else key for key, value in labels)))
    return found


def comments(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith(("# HELP vllm:", "# TYPE vllm:"))}


def fresh() -> Metrics:
    idle = (FIXTURES / "metrics-idle.prom").read_text()
    (info,) = [line for line in idle.splitlines() if line.startswith("vllm:cache_config_info{")]
    labels = {key: value for key, value in LABEL.findall(info) if key != "engine"}
    return Metrics("tiny-llama", 2048, labels, 1.0)


def test_idle_metrics_have_the_families_labels_and_buckets_of_vllm() -> None:
    idle, text = (FIXTURES / "metrics-idle.prom").read_text(), fresh().text()
    mine, theirs = series(text), series(idle)
    # vLLM registers its sleep metrics with the first operation.
    for family in [name for name in mine if name.startswith("vllm:sleep_mode")]:
        del mine[family]
    assert mine == theirs
    assert comments(idle) <= comments(text)


def test_sleep_metrics_are_those_of_vllm() -> None:
    used = (FIXTURES / "metrics-after-bench.prom").read_text()
    metrics = fresh()
    for operation in ("sleep", "wake"):
        metrics.sleep_operation(operation, 0.5)
    text = metrics.text()
    assert comments(text) == comments(used)
    name = "vllm:sleep_mode_operation_duration_seconds_bucket"
    assert series(text)[name] == series(used)[name]


def test_label_values_are_escaped() -> None:
    text = Metrics('a"b\\c', 2048, {}, 1.0).text()
    assert 'model_name="a\\"b\\\\c"' in text


@given(st.lists(st.floats(min_value=0, max_value=100)))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    histogram = Histogram((1.0, 10.0))
    for value in values:
        histogram.observe(value)
    lines = list(histogram.lines("x", {}))
    assert lines[0] == f'x_bucket{{le="1.0"}} {float(sum(value <= 1 for value in values))}'
    assert lines[1] == f'x_bucket{{le="10.0"}} {float(sum(value <= 10 for value in values))}'
    assert lines[3] == f"x_count {float(len(values))}"


def test_token_buckets() -> None:
    assert one_two_five(2048)[-3:] == (500, 1000, 2000)
