"""Findings: what the data sheets exclude, what falls where it must rise, what contradicts."""

from __future__ import annotations

from typing import Any

import pytest

from profiles.catalogue import builtin
from profiles.sources.source import Context
from profiles.store.canonical import canonical
from profiles.store.checks import Finding, check
from profiles.store.measurements import Measurements
from tests.profiles.points import measured, pair, point, side, start
from tests.profiles.sources.samples import read
from ullage.plugins import SOURCES, load


def findings(*latency: Any, **others: Any) -> tuple[Finding, ...]:
    return check(Measurements(latency=latency, **others), builtin())


def test_a_plausible_store_has_no_findings() -> None:
    rising = [point(concurrency=size, ttft_s=0.05 + 0.004 * size, tpot_s=0.007 + 0.0002 * size) for size in (1, 8, 32)]
    known = side(model="Qwen/Qwen3-32B")
    assert findings(*rising, starts=(start(kv_bytes=50 << 30),), pairs=(pair(first=known, second=known),)) == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        # 7.50e9 parameters (the input embedding is not read) of 2 bytes at 3,350 GB/s, 1/8 of it for the slice
        ({"tpot_s": 0.004}, "tpot_s 4 ms at 1024 + 128 tokens, concurrency 8 is below the 4.48 ms of the data sheet"),
        ({"ttft_s": 0.012}, "ttft_s 12 ms at 1024 + 128 tokens, concurrency 8 is below the 14.5 ms of the data sheet"),
        ({"mig_profile": "1g.10gb"}, "is below the 35.8 ms of the data sheet"),
        ({"mig_profile": "9g.999gb"}, "has no MIG profile '9g.999gb'"),
        ({"tensor_parallel_size": 64}, "tensor_parallel_size 64 does not divide the 32 heads"),
        ({"quantization": "nonsense"}, "quantization 'nonsense' is not supported"),
    ],
)
def test_what_a_data_sheet_excludes(values: dict[str, Any], message: str) -> None:
    found = findings(point(**values))
    assert found
    assert found[0].level == "error"
    assert any(message in finding.message for finding in found), found


def test_parallel_sizes_and_formats_move_the_bound() -> None:
    assert findings(point(tpot_s=0.004, tensor_parallel_size=2)) == ()
    assert findings(point(tpot_s=0.004, quantization="fp8")) == ()
    assert findings(point(tpot_s=0.004, gpu="B200-SXM-180GB")) == ()


def test_times_that_fall_with_load() -> None:
    (found,) = findings(point(concurrency=8, ttft_s=0.3), point(concurrency=16, ttft_s=0.1), point(concurrency=32, ttft_s=0.095))
    assert found.level == "warning"
    assert "ttft_s falls from 300 to 100 ms as concurrency rises to 16" in found.message
    other_day = point(concurrency=16, ttft_s=0.1, provenance=measured(date="2026-01-01"))
    assert findings(point(concurrency=8, ttft_s=0.3), other_day) == ()


def test_conflicts_name_the_one_that_is_preferred() -> None:
    old, new = measured(engine_version="0.19.0", date="2026-01-01"), measured(engine_version="0.32.0", date="2025-01-01")
    (found,) = findings(point(provenance=old, tpot_s=0.02), point(provenance=new))
    assert "2 answers for tpot_s at 1024 + 128 tokens, concurrency 8, from 9.5 to 20 ms; this one is preferred" in found.message
    assert "vllm 0.32.0" in found.subject
    assert findings(point(provenance=old, tpot_s=0.01), point(provenance=new)) == ()


def test_starts_must_fit_their_gpu() -> None:
    (found,) = findings(starts=(start(kv_bytes=70 << 30),))
    assert found.level == "error"
    assert "its parts are 86997 MiB together" in found.message
    (odd,) = findings(starts=(start(mig_profile="9g.999gb"),))
    assert "has no MIG profile 9g.999gb" in odd.message
    (more,) = findings(starts=(start(kv_tokens=200, kv_blocks=10, block_size=16),))
    assert "kv_tokens 200 are more than kv_blocks 10 of 16 tokens hold" in more.message


def test_neighbours_do_not_speed_up() -> None:
    found = findings(pairs=(pair(first=side(slowdown=0.9)),))
    assert "a was faster together than alone (slowdown 0.9); measure again" in {finding.message for finding in found}


def test_unknown_names_are_told() -> None:
    assert {str(finding) for finding in findings(point(model="mine", gpu="abacus"))} == {
        "warning: model mine: not in the catalogue: nothing to compare with",
        "warning: GPU type abacus: not in the catalogue: nothing to compare with",
    }


def test_no_measured_row_of_a_real_data_set_beats_the_data_sheet() -> None:
    raw = load("sources", SOURCES, "aiconfigurator").parse("fit.csv.gz", read("serving_measured_fit.csv.gz"), Context())
    errors = [finding for finding in check(canonical(raw, builtin()), builtin()) if finding.level == "error"]
    assert all("does not divide" in finding.message for finding in errors)
