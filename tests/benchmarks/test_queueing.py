"""The queueing benchmark prints its figures; they are within what docs/latency.md states."""

import json

import pytest

from benchmarks import queueing


def test_the_summary_line_has_every_measure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queueing, "MODELS", {"Qwen/Qwen3-0.6B": 1})
    monkeypatch.setattr(queueing, "MIXES", {"bursty chat": queueing.MIXES["bursty chat"]})
    assert queueing.main(["--points"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert found["points"] == 6
    assert len(lines) == 6 + 2 + 1
    for measure in ("TTFT p95", "TPOT p95"):
        assert found[measure]["safe_fraction"] == 1.0
        # half of the six points have the lengths of Mooncake, whose few requests of 100,000 tokens make 300 a small sample
        assert 1.0 <= found[measure]["median_ratio"] <= 3.0
    assert 0.4 <= found["capacity"]["median_ratio"] <= 1.0
    assert found["capacity"]["safe_fraction"] == 1.0
