"""The one parser of engine metrics."""

from __future__ import annotations

import gzip

from hypothesis import given
from hypothesis import strategies as st

from profiles.sources.prometheus_text import samples, sums
from tests.profiles.sources.samples import read


def page() -> str:
    return gzip.decompress(read("metrics-after-bench.prom.gz")).decode()


def test_sums_of_a_real_page() -> None:
    found = sums(page())
    assert found["num_requests_running"] == 0
    assert found["generation_tokens_total"] == 1572
    assert found["request_success_total"] == 46
    assert found["time_to_first_token_seconds_sum"] == 4.059951543807983
    assert "python_info" not in found


def test_both_spellings_are_the_same() -> None:
    assert list(samples(page().replace("vllm:", "vllm_"))) == list(samples(page()))


def test_labels_with_escapes_braces_and_commas() -> None:
    (found,) = samples('vllm:x{a="1,{}",b="say \\"hi\\"\\n\\\\",} 2\n')
    assert found.labels == {"a": "1,{}", "b": 'say "hi"\n\\'}
    assert (found.name, found.value) == ("x", 2.0)


def test_timestamps_and_exemplars_are_left_aside() -> None:
    text = 'vllm:a 1 1700000000000\nvllm:b_bucket{le="+Inf"} 3 # {trace_id="q"} 0.5\nvllm:c +Inf\n'
    assert sums(text) == {"a": 1.0, "b_bucket": 3.0, "c": float("inf")}


def test_lines_that_cannot_be_read_are_skipped() -> None:
    assert sums('vllm:a{b="} 1\nvllm:c one\nvllm:\nvllm:d\n# vllm:e 1\nvllm:f 2\n') == {"f": 2.0}


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    sums(text)
    sums(f"vllm:{text}")
