"""What a version of vLLM can do: versions on both sides of each limit."""

from __future__ import annotations

import pytest

from profiles.engine_versions import KNOWN_FLAGS, KV_BYTES, MIG_BY_UUID, OWN_BUDGET, Ability, flags_caveat, has, lacking, plan_reason
from profiles.settings import EngineSettings
from renderers.vllm.option_table import shipped_versions, table_for


@pytest.mark.parametrize(
    ("ability", "before", "since"),
    [
        (KV_BYTES, ("0.6.4", "0.10.2", "0.9.0.post1"), ("0.11", "0.11.0", "0.11.0rc1", "0.32.0", "1.0.0")),
        (OWN_BUDGET, ("0.6.4", "0.7.3"), ("0.8.0", "0.32.0+cpu")),
        (MIG_BY_UUID, ("0.19.0", "0.20.0", "0.20.2"), ("0.21.0", "0.32.0")),
    ],
)
def test_limits(ability: Ability, before: tuple[str, ...], since: tuple[str, ...]) -> None:
    assert [has(version, ability) for version in before] == [False] * len(before)
    assert [has(version, ability) for version in since] == [True] * len(since)


def test_what_is_missing_is_said_with_the_version_that_has_all_of_it() -> None:
    assert lacking("0.32.0", KV_BYTES, OWN_BUDGET, MIG_BY_UUID) is None
    assert lacking("0.9.1", KV_BYTES, OWN_BUDGET) == (
        "vLLM 0.9.1 cannot be given the size of its KV cache in bytes (--kv-cache-memory-bytes) (right since 0.11); write 0.11.0 or newer"
    )
    old = plan_reason("0.6.4") or ""
    assert "counts what its neighbours hold of the GPU's memory as its own (right since 0.8); write 0.11.0 or newer" in old


def test_versions_whose_flags_are_known_are_those_with_a_table() -> None:
    assert shipped_versions() == (KNOWN_FLAGS,)
    for version in ("0.32", "0.32.0", "0.32.0+cpu", "0.31.0", "0.33.1"):
        assert (flags_caveat(version) is None) == (table_for(version).warning is None)


def test_the_default_version_can_do_everything() -> None:
    default = EngineSettings().engine_version
    assert (lacking(default, KV_BYTES, OWN_BUDGET, MIG_BY_UUID), plan_reason(default), flags_caveat(default)) == (None, None, None)
