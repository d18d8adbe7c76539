"""Tables of Mélange and of AIBrix, which differ in their axes."""

from __future__ import annotations

from profiles.sources.source import Context
from tests.profiles.sources.samples import changed, read, sample, says
from ullage.plugins import SOURCES, load


def test_melange() -> None:
    found = sample("melange").parse().latency
    assert [(point.gpu, point.input_tokens, point.output_tokens, point.rate_rps) for point in found] == [
        ("A10G", 250, 100, 2.0),
        ("A10G", 250, 500, 1.0),
        ("A10G", 2000, 100, 0.5),
        ("A100-80GB", 250, 100, 20.0),
        ("A100-80GB", 250, 500, 10.5),
        ("A100-80GB", 2000, 100, 5.0),
        ("A100-80GB", 2000, 500, 2.5),
    ]
    aibrix = load("sources", SOURCES, "melange").parse("aibrix.json", read("aibrix.json"), Context(model="m")).latency
    # rows of AIBrix are output lengths
    assert [(point.input_tokens, point.output_tokens, point.rate_rps) for point in aibrix] == [
        (32, 512, 3.0),
        (64, 512, 2.0),
        (128, 512, 1.0),
        (32, 1024, 5.0),
        (64, 1024, 2.0),
        (128, 1024, 0.4),
    ]


def test_melange_needs_lengths_that_fit_the_table() -> None:
    one = sample("melange")
    assert "indexes: missing; add [[input lengths" in says(one, changed(one, indexes=None))
    assert "tputs: has 2 rows, indexes[0] names 1 input lengths" in says(one, changed(one, indexes=[[1], [1, 2]]))
    assert "gpu_info.A10G.tputs[0]: must be a list of 1 rates" in says(one, changed(one, indexes=[[1, 2], [1]]))
    assert "no cell above 0" in says(one, changed(one, gpu_info={"A10G": {"tputs": [[0, 0], [0, 0]]}}))
    assert "model: the file does not say it; give --model" in says(one, one.raw, Context())
