"""Flags that a user adds: checked against the engine's version, in the plan, on the command line, and known to the checker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.plan import plan_from_json
from planner.plan.extra_args import refusal
from renderers.vllm import command
from tests.ullage.commands import Result, ullage, write_fleet

MODELS = {"small": {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048}}


def fleet(folder: Path, **flags: str) -> Path:
    models = {name: {**model, "extra_args": flags} for name, model in MODELS.items()}
    served = {"chat": {"model": "small", "demand": {"rate": "1/s", "input_tokens": 100, "output_tokens": 50}}}
    write_fleet(folder / "fleet.yaml", models=models, workloads=served)
    return folder / "fleet.yaml"


def test_added_flags_reach_the_command_line_and_an_edited_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat.jinja").write_text("{{ x }}")
    flags = {
        "tool-call-parser": "hermes",
        "enable-auto-tool-choice": "true",
        "chat-template": "./chat.jinja",
        "enable-prefix-caching": "no",
    }
    assert ullage("plan", fleet(tmp_path, **flags), "-o", "plan.json").code == 0
    text = (tmp_path / "plan.json").read_text()
    (replica,) = plan_from_json(text, "plan.json").desired.replicas
    words = command(replica)
    assert words[words.index("--tool-call-parser") + 1] == "hermes"
    assert words[words.index("--chat-template") + 1] == "./chat.jinja"
    assert {"--enable-auto-tool-choice", "--no-enable-prefix-caching"} <= set(words)
    document = json.loads(text)
    document["desired"]["replicas"][0]["args"]["extra_args"].append({"flag": "port", "value": "1"})
    (tmp_path / "plan.json").write_text(json.dumps(document))
    refused = ullage("show", "plan.json")
    assert (refused.code, "--port is decided by the plan" in refused.err) == (1, True)


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("no-such-flag", "x", "vLLM 0.32.0, --no-such-flag: no such flag in this version; nor in any other"),
        ("swap-space", "4", "vLLM 0.32.0, --swap-space: no such flag in this version; it exists up to 0.17.0"),
        ("enable-auto-tool-choice", "maybe", "--enable-auto-tool-choice: takes no value, write true or false instead of 'maybe'"),
        ("max-logprobs", "many", "--max-logprobs: 'many' is not a whole number"),
    ],
)
def test_what_the_version_refuses_is_told_with_its_field(flag: str, value: str, says: str, tmp_path: Path) -> None:
    for verb in ("validate", "plan"):
        result = ullage(verb, fleet(tmp_path, **{flag: value}))
        assert result.code == 1
        assert f"fleet.yaml: models.small.extra_args.{flag}: " in result.err
        assert says in result.err


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"extra_args": {"max-num-queued-reqs": "8"}},
            "models.small.extra_args.max-num-queued-reqs: vLLM 0.17.1, --max-num-queued-reqs: no such flag in this version; it exists from "
            "0.29.0 on",
        ),
        ({"kv_cache_dtype": "float16"}, "models.small.kv_cache_dtype: vLLM 0.17.1, --kv-cache-dtype: 'float16' is none of auto, bfloat16"),
        ({"choices": {"kv_cache_dtype": ["float16"]}}, "models.small.choices.kv_cache_dtype: vLLM 0.17.1, --kv-cache-dtype: 'float16'"),
    ],
)
def test_what_the_model_s_own_version_cannot_do_is_told_with_the_model(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    served = {"chat": {"model": "small", "demand": {"rate": "1/s", "input_tokens": 100, "output_tokens": 50}}}

    def validated(version: str) -> Result:
        write_fleet(tmp_path / "fleet.yaml", models={"small": {**MODELS["small"], **settings, "engine_version": version}}, workloads=served)
        return ullage("validate", tmp_path / "fleet.yaml")

    refused = validated("0.17.1")
    assert (refused.code, says in refused.err) == (1, True), refused.err
    assert validated("0.33.0").code == 0


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("disable-sleep-mode", "is decided by the plan"),
        ("disable-lora", "is decided by the plan"),
        ("disable-expert-parallel", "changes memory"),
        ("enable-hybrid-kv-cache-manager", "changes memory"),
        ("disable-log-stats", None),
        ("enable-prefix-caching", None),
    ],
)
def test_a_flag_is_refused_in_both_of_its_words(flag: str, why: str | None) -> None:
    """Since vLLM 0.33 --disable-x turns --enable-x off."""
    assert (refusal(flag) or "").startswith(why or "")
    assert (refusal(flag) is None) == (why is None)
