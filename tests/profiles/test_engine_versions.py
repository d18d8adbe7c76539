"""What a version of vLLM can do: versions on both sides of each limit."""

from __future__ import annotations

import pytest

from profiles import engine_versions
from profiles.engine_versions import (
    FIRST_RELEASES,
    KNOWN_FLAGS,
    KV_BYTES,
    MIG_BY_UUID,
    OWN_BUDGET,
    SAME_PATCHES,
    SHUTDOWN_TIMEOUT,
    SLEEP_MODE,
    Ability,
    flags_caveat,
    has,
    lacking,
    plan_reason,
    stop_caveat,
)
from profiles.settings import EngineSettings
from renderers.vllm.option_table import SAME_AS_FIRST, shipped_versions, table_for, versions_with


@pytest.mark.parametrize(
    ("ability", "before", "since"),
    [
        (KV_BYTES, ("0.6.4", "0.10.1.1", "0.9.0.post1"), ("0.10.2", "0.11", "0.10.2rc1", "0.32.0", "1.0.0")),
        (OWN_BUDGET, ("0.6.4", "0.7.3"), ("0.8.0", "0.32.0+cpu")),
        (SLEEP_MODE, ("0.11.0", "0.16.0"), ("0.17.0", "0.32.0")),
        (SHUTDOWN_TIMEOUT, ("0.16.0", "0.17.1"), ("0.18.0", "0.33.0")),
        (MIG_BY_UUID, ("0.19.0", "0.20.0", "0.20.2"), ("0.21.0", "0.32.0")),
    ],
)
def test_limits(ability: Ability, before: tuple[str, ...], since: tuple[str, ...]) -> None:
    assert [has(version, ability) for version in before] == [False] * len(before)
    assert [has(version, ability) for version in since] == [True] * len(since)


def test_what_is_missing_is_said_with_the_version_that_has_all_of_it() -> None:
    assert lacking("0.32.0", KV_BYTES, OWN_BUDGET, MIG_BY_UUID) is None
    assert (lacking("0.20.2", MIG_BY_UUID) or "").endswith("write 0.21.0 or newer")
    assert lacking("0.9.1", KV_BYTES, OWN_BUDGET) == (
        "vLLM 0.9.1 cannot be given the size of its KV cache in bytes (--kv-cache-memory-bytes) (right since 0.10.2); write 0.10.2 or newer"
    )
    old = plan_reason("0.6.4") or ""
    assert "counts what its neighbours hold of the GPU's memory as its own (right since 0.8); write 0.10.2 or newer" in old


def test_versions_whose_flags_are_known_are_those_with_a_table() -> None:
    assert shipped_versions() == FIRST_RELEASES
    assert SAME_AS_FIRST == SAME_PATCHES
    assert KNOWN_FLAGS in shipped_versions()


@pytest.mark.parametrize(
    "version",
    [
        *("0.32", "0.32.0", "0.32.0+cpu", "0.31.0", "0.17.1", "0.20.2", "0.20.2.post1"),
        *("0.33.1", "0.20.3", "0.32.0rc1", "0.16.0rc2", "0.15.1", "0.11.0", "1.0.0", "0.32.0.1"),
    ],
)
def test_what_is_said_of_the_flags_is_what_the_tables_do(version: str) -> None:
    caveat, choice = flags_caveat(version), table_for(version)
    assert (caveat is None) == (choice.warning is None)
    if caveat is not None:
        assert f"taken to be those of {choice.table.version}:" in caveat


@pytest.mark.parametrize("ability", [item for item in vars(engine_versions).values() if isinstance(item, Ability) and item.flag])
def test_first_versions_are_those_of_the_tables(ability: Ability) -> None:
    known = versions_with(ability.flag or "")
    assert known == tuple(version for version in shipped_versions() if has(version, ability))
    assert known[-1] == shipped_versions()[-1]
    assert (ability.flag or "") in ability.without


def test_engines_that_do_not_wait_when_they_stop_are_told_of() -> None:
    assert stop_caveat("0.18.0") is None
    assert "breaks off the requests in it when it is told to stop" in (stop_caveat("0.17.1") or "")


def test_the_default_version_can_do_everything() -> None:
    default = EngineSettings().engine_version
    assert (lacking(default, KV_BYTES, OWN_BUDGET, MIG_BY_UUID), plan_reason(default), flags_caveat(default)) == (None, None, None)
