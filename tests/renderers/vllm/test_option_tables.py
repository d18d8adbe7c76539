"""The option tables of all versions: each loads, is what a parser can have, and takes the commands that are rendered for its version."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from planner.plan import Plan
from renderers.manifest import RenderError
from renderers.templates import package_text
from renderers.vllm.option_table import SAME_AS_FIRST, shipped_versions, table_for, versions_with
from renderers.vllm.refresh_options import FIELDS
from renderers.vllm.replica_start import command
from tests.plans import mig_plan, replica, tensor_parallel_plan, time_shared_plan

PLANS = (time_shared_plan(), mig_plan(), tensor_parallel_plan())
KEYS = ["flags", "dest", "type", "nargs", "choices", "default"]


@pytest.mark.parametrize("version", shipped_versions())
def test_a_table_is_one_line_to_an_option_and_every_spelling_is_there_once(version: str) -> None:
    text = package_text(f"vllm/options/{version}.json")
    raw = json.loads(text)
    assert list(raw) == ["engine", "version", "source", "fields", "options"]
    assert (raw["engine"], raw["version"], raw["fields"]) == ("vllm", version, FIELDS)
    assert f"read out of vLLM {version}, CPU build; vLLM is Apache-2.0" in raw["source"]
    rows = raw["options"]
    assert text.count("\n") == len(rows) + 8
    assert all(list(row) == KEYS for row in rows)
    spellings = Counter(flag for row in rows for flag in row["flags"])
    assert [flag for flag, times in spellings.items() if times > 1] == []
    assert all(flag.startswith("-") for flag in spellings)
    assert [row["dest"] for row in rows if not row["flags"]] == ["model_tag"]
    assert set(table_for(version).table.options) == set(spellings)


def _flags(plan: Plan, version: str) -> dict[str, str | None]:
    """Flags of the plan's commands with the value that stands behind each."""
    found: dict[str, str | None] = {}
    for item in plan.desired.replicas:
        words = (*command(item.model_copy(update={"engine_version": version})), "--")
        found |= {word: None if after.startswith("--") else after for word, after in pairwise(words)}
    return {flag: value for flag, value in found.items() if flag.startswith("--") and flag != "--"}


@pytest.mark.parametrize("version", [*shipped_versions(), *SAME_AS_FIRST])
def test_commands_of_a_version_pass_its_own_table(version: str) -> None:
    choice = table_for(version)
    assert (choice.warning, choice.table.version) == (None, version)
    for plan in PLANS:
        given = _flags(plan, version)
        assert {"--kv-cache-memory-bytes", "--gpu-memory-utilization", "--max-num-seqs"} <= set(given)
        for flag, value in given.items():
            choice.table.check(flag, value)


def test_what_is_only_our_wish_is_left_out_where_the_version_lacks_it() -> None:
    for version in shipped_versions():
        words = command(replica("r", engine_version=version))
        assert ("--shutdown-timeout" in words) == (version in versions_with("--shutdown-timeout"))
    assert "--shutdown-timeout" not in command(replica("r", engine_version="0.17.1"))


@pytest.mark.parametrize(
    ("version", "flag", "says"),
    [
        ("0.17.1", "--shutdown-timeout", "vLLM 0.17.1, --shutdown-timeout: no such flag in this version; it exists from 0.18.0 on; choose"),
        ("0.33.0", "--swap-space", "vLLM 0.33.0, --swap-space: no such flag in this version; it exists up to 0.17.0; choose"),
        ("0.30.0", "--enable-bf16x3-router-gemm", "it exists from 0.26.0 to 0.29.0; choose"),
        ("0.20.2", "--disable-log-requests", "it exists up to 0.16.0 and from 0.33.0 on; choose"),
        ("0.16.0", "--no-such-flag", "nor in any other from 0.16.0 to 0.33.0; correct its name"),
    ],
)
def test_a_flag_the_version_lacks_is_refused_with_the_versions_that_have_it(version: str, flag: str, says: str) -> None:
    with pytest.raises(RenderError) as refused:
        table_for(version).table.check(flag, "1")
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (
            {"extra_args": ({"flag": "max-num-queued-reqs", "value": "8"},)},
            "replica 'r': vLLM 0.17.1, --max-num-queued-reqs: no such flag in this version; it exists from 0.29.0 on",
        ),
        ({"kv_cache_dtype": "float16"}, "replica 'r': vLLM 0.17.1, --kv-cache-dtype: 'float16' is none of auto, bfloat16, fp8"),
    ],
)
def test_what_carries_the_plan_s_meaning_is_refused_with_version_flag_and_replica(args: dict[str, Any], says: str) -> None:
    with pytest.raises(RenderError) as refused:
        command(replica("r", engine_version="0.17.1", args=args))
    assert says in str(refused.value)
    command(replica("r", engine_version="0.33.0", args=args))


@pytest.mark.parametrize(
    ("version", "table"), [("0.15.1", "0.16.0"), ("0.20.3", "0.20.0"), ("0.33.7", "0.33.0"), ("0.19.0rc1", "0.19.0"), ("nightly", "0.33.0")]
)
def test_another_version_is_read_with_the_nearest_lower_table_and_that_is_said(version: str, table: str) -> None:
    choice = table_for(version)
    assert choice.table.version == table
    assert f"no option table for vLLM {version}; flags were checked against {table}:" in (choice.warning or "")


@pytest.mark.parametrize("version", ["0.32.0", "0.33.0"])
def test_a_switch_is_turned_off_in_the_words_of_every_version(version: str) -> None:
    off = replica("r", engine_version=version, args={"extra_args": ({"flag": "enable-prefix-caching", "value": "off"},)})
    assert command(off)[-1] == "--no-enable-prefix-caching"


@pytest.mark.parametrize(
    ("flag", "value", "taken"),
    [
        ("--max-logprobs", "-1", True),
        ("--max-logprobs", "-x", False),
        ("--max-logprobs", "1.5", False),
        ("--max-model-len", "8k", True),
        ("--max-model-len", "8Ki", False),
        ("--gpu-memory-utilization", ".9", True),
        ("--gpu-memory-utilization", "-", False),
        ("--served-model-name", "-1", False),
    ],
)
def test_numbers_are_those_that_the_engine_reads(flag: str, value: str, taken: bool) -> None:
    table = table_for("0.32.0").table
    if taken:
        table.check(flag, value)
    else:
        with pytest.raises(RenderError, match=flag):
            table.check(flag, value)


def test_a_switch_that_cannot_be_said_no_to_is_left_out() -> None:
    off, on = ({"extra_args": ({"flag": "disable-log-stats", "value": value},)} for value in ("false", "true"))
    assert "--disable-log-stats" in command(replica("r", args=on))
    assert [word for word in command(replica("r", args=off)) if "disable-log-stats" in word] == []
