"""What the fleet file says of splits by the length of prompts, and what it may not say."""

from __future__ import annotations

import pytest

from tests.planner.spec.fleet_files import FLEET, TRACE, changed, load, problems

LONG_TAIL = "input_tokens: {mean: 500, p99: 4000}"
SOURCE = "    source: Qwen/Qwen2.5-1.5B\n"
ANOTHER = "    model: small\n    demand: {rate: 1/s, input_tokens: 5, output_tokens: 5}\n"


def _with(line: str, text: str) -> str:
    return changed("    class: interactive\n", f"    class: interactive\n    {line}\n", text)


SPLIT = _with("split: prompt_length", FLEET.replace("input_tokens: 500", LONG_TAIL))


def test_nothing_is_split_unless_it_is_asked_for() -> None:
    (chat,) = load(FLEET.replace("input_tokens: 500", LONG_TAIL)).workloads
    assert (chat.may_split, chat.splits, chat.bytes_per_token) == (False, (), 4.0)
    assert load(_with("split: none", FLEET)).workloads == load(FLEET).workloads


def test_lengths_at_which_it_may_be_split_are_quantiles_of_prompts() -> None:
    (chat,) = load(_with("bytes_per_token: 3.5", SPLIT)).workloads
    assert chat.may_split
    assert chat.bytes_per_token == 3.5
    cuts = [split.over_tokens for split in chat.splits]
    assert cuts == sorted(set(cuts))
    assert (len(cuts), cuts[-1]) == (5, 3999)


def test_of_a_trace_they_are_those_of_its_requests() -> None:
    text = SPLIT.replace("{rate: 2/s, input_tokens: {mean: 500, p99: 4000}, output_tokens: {mean: 100, p99: 400}}", "{trace: t.csv}")
    (chat,) = load(text, {"t.csv": TRACE}).workloads
    assert [split.over_tokens for split in chat.splits] == [200]


def test_one_length_has_no_split() -> None:
    (chat,) = load(_with("split: prompt_length", FLEET)).workloads
    assert chat.may_split
    assert chat.splits == ()


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (_with("split: by_length", FLEET), "workloads.chat.split", "none"),
        (_with("split: [1]", FLEET), "workloads.chat.split", "none"),
        (_with("bytes_per_token: 4", FLEET), "workloads.chat.bytes_per_token", "says nothing without a split"),
        (_with("slo: {long_ttft_p95: 5s}", FLEET), "workloads.chat.slo.long_ttft_p95", "says nothing without a split"),
        (_with("bytes_per_token: 0", SPLIT), "workloads.chat.bytes_per_token", "0.25"),
        (_with("bytes_per_token: x", SPLIT), "workloads.chat.bytes_per_token", "not a number"),
        (_with("bytes_per_token: .nan", SPLIT), "workloads.chat.bytes_per_token", "number"),
        (_with("max_replicas: 3", SPLIT), "workloads.chat.split", "max_replicas cannot be shared out"),
        (f"{SPLIT}  other:\n{ANOTHER}", "workloads.chat.split", "other"),
        (f"{SPLIT}  chat-long:\n    isolate: true\n{ANOTHER}", "workloads.chat.split", "chat-long, which is the name of something else"),
        (changed(SOURCE, f"{SOURCE}    adapters: {{sql: {{source: a/b, rank: 8}}}}\n", SPLIT), "workloads.chat.split", "has adapters"),
    ],
)
def test_what_cannot_be_split_is_refused_with_its_field(text: str, path: str, words: str) -> None:
    found = problems(text)
    assert [problem for problem in found if f" {path}: " in problem and words in problem], found
