"""Fits and quotes as values: the words of the command line, and tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ullage
from tests.ullage import commands
from tests.ullage.test_fit_command import CONFIG
from ullage.model_fit import fit_models
from ullage.notebook.answers import newcomer_of, quote
from ullage.views.tables.ledger_table import LEDGER_COLUMNS

TWO = ["qwen3-8b", "llama-3.1-8b-instruct"]


def test_a_fit_is_that_of_the_command() -> None:
    found = fit_models(TWO, gpu="h100", max_model_len=16384)
    arguments = ("fit", *TWO, "--gpu", "h100", "--max-model-len", "16384")
    assert str(found) == commands.ullage(*arguments).out
    assert json.dumps(found.document(), indent=2) + "\n" == commands.ullage(*arguments, "--json").out
    assert found.fits
    assert repr(found) == "<FitAnswer: 2 models on one H100-SXM-80GB: fit together>"
    assert [resident.model for resident in found.residents] == ["Qwen/Qwen3-8B", "meta-llama/Llama-3.1-8B-Instruct"]


def test_the_ledger_is_a_frame() -> None:
    found = fit_models(TWO, gpu="h100", max_model_len=[8192, 4096])
    frame = found.to_frame()
    assert list(frame.columns) == list(LEDGER_COLUMNS)
    for resident in found.residents:
        assert int(frame[frame["model"] == resident.model]["memory_mib"].sum()) == resident.total_mib
    assert {resident.flags[resident.flags.index("--max-model-len") + 1] for resident in found.residents} == {"8192", "4096"}


def test_what_does_not_fit_has_proposals_and_what_cannot_run_no_lines() -> None:
    large = fit_models("llama-3.1-70b-instruct", gpu="h100")
    assert not large.fits
    assert large.proposals
    assert str(large).startswith("1 model on one H100-SXM-80GB: does not fit")
    never = fit_models("qwen3-8b", gpu="t4")
    assert [resident.lines for resident in never.residents] == [()]
    assert never.to_frame().empty


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gpu": None}, "give --gpu"),
        ({"gpu": "h10"}, "h10"),
        ({"gpu": "h100", "mig": "9g"}, "has no MIG profile '9g'"),
        ({"gpu": "h100", "max_num_seqs": [1, 2, 3]}, "--max-num-seqs is given 3 times for 2 models"),
        ({"gpu": "h100", "task": "chat"}, "task 'chat' is none of embed, generate"),
        ({"gpu": "h100", "constants": "a.yaml", "store": "b"}, "contradict each other"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_models(TWO, **options)  # type: ignore[arg-type]


def test_a_task_may_be_given_per_model() -> None:
    found = fit_models(TWO, gpu="h100", task=["embed", "generate"])
    assert ["pooling" in resident.flags for resident in found.residents] == [True, False]


def test_names_of_folders_are_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "<script>alert(1)"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    shown = [
        fit_models(str(folder), gpu="h100")._repr_html_(),
        ullage.fit_prompt(str(folder), 100, gpu="h100")._repr_html_(),
    ]
    for html in shown:
        assert "<script" not in html
        assert "&lt;script&gt;" in html


def test_a_quote_is_that_of_the_command(work: Path) -> None:
    found = quote("plan.json", model="small", rate="0.1/s", slo="2s/100ms", priority=20, isolate=True)
    arguments = ("quote", "small", "plan.json", "--rate", "0.1/s", "--slo", "2s/100ms", "--priority", "20", "--isolate")
    assert str(found) == commands.ullage(*arguments).out
    assert json.dumps(found.document(), sort_keys=True) + "\n" == commands.ullage(*arguments, "--json").out
    assert found.quote is not None
    assert found.usd_per_h == found.quote.usd_per_h
    assert found.unserved_rps == 0.0
    assert repr(found).startswith("<QuoteAnswer: confirmed: ")
    [(_, row)] = found.to_frame().iterrows()
    assert row["usd_per_h"] == found.usd_per_h
    assert row["places"] == ", ".join(found.quote.places)
    # numbers are requests per second
    assert quote(work / "plan.json", model="small", rate=0.1, slo="2s/100ms", priority="20", isolate=True) == found


def test_an_estimate_runs_no_solver(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a solver was asked")

    monkeypatch.setattr("ullage.planning.quote.plan_fleet", fail)
    found = quote("plan.json", model="small", rate=0.01, only_estimate=True)
    assert (found.quote, found.usd_per_h, found.unserved_rps) == (None, 0.0, 0.0)
    assert str(found) == commands.ullage("quote", "small", "plan.json", "--rate", "0.01/s", "--estimate").out
    assert repr(found).startswith("<QuoteAnswer: estimate: +0.00 USD/h")
    assert list(found.to_frame().columns) == ["usd_per_h", "replicas", "joined", "shape", "replaced"]


def test_a_newcomer_is_what_the_fleet_file_would_say() -> None:
    found = newcomer_of("m", rate=2, input_tokens=10, output_tokens=5, slo="1s", latency_class="background", priority=7, isolate=True)
    assert found.workload == {
        "class": "background",
        "demand": {"rate": "2/s", "input_tokens": "10", "output_tokens": "5"},
        "slo": {"ttft_p95": "1s"},
        "priority": "7",
        "isolate": "true",
    }
    assert newcomer_of("m").workload == {"class": "standard", "demand": {"rate": "1/s", "input_tokens": "500"}}
    with pytest.raises(ValueError, match="write TTFT/TPOT"):
        newcomer_of("m", slo="/50ms")


def test_whom_a_quote_displaces_is_in_its_frame_and_escaped(work: Path) -> None:
    found = quote("plan.json", model="small", rate=0.1)
    assert found.quote is not None
    lost = replace(found, quote=replace(found.quote, displaced_rps={"<script>b": 1.5, "a": 2.0}))
    assert lost.to_frame()["displaced_rps"][0] == "<script>b 1.5, a 2"
    assert "<script" not in lost._repr_html_()
    assert "&lt;script&gt;b" in lost._repr_html_()


def test_a_rate_may_be_a_number_of_numpy() -> None:
    assert newcomer_of("qwen3-8b", rate=float(np.float64(2.5))).workload["demand"]["rate"] == "2.5/s"
    assert newcomer_of("qwen3-8b", rate=np.float64(2.0)).workload["demand"]["rate"] == "2/s"
