"""`ullage profile`: files become a reviewed folder, or nothing happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.profiles.sources.samples import FIXTURES
from tests.ullage.commands import ullage

BENCH = FIXTURES / "vllm-bench-serve-detailed.json"
H100 = ("--model", "llama-3.1-8b", "--gpu", "h100", "--engine-version", "0.32.0")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    assert ullage("profile", "import", BENCH, *H100, "--store", folder).code == 0
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_import_says_what_came_from_where(tmp_path: Path) -> None:
    result = ullage("profile", "import", BENCH, FIXTURES / "metrics-idle.prom.gz", "--gpu", "abacus", "--store", tmp_path / "store")
    assert result.code == 0
    assert result.out.splitlines() == [
        f"{BENCH}: 1 latency points (vllm-bench-serve)",
        f"{FIXTURES / 'metrics-idle.prom.gz'}: 1 starts (vllm-metrics)",
        "new: 1 latency points, 1 starts; 1 files of the store changed",
        "warning: GPU type abacus: not in the catalogue: nothing to compare with",
        "warning: model tiny-llama: not in the catalogue: nothing to compare with",
    ]


def test_importing_again_changes_nothing(store: Path) -> None:
    before = files(store)
    result = ullage("profile", "import", BENCH, *H100, "--store", store, "--json")
    assert json.loads(result.out) == {
        "files": [{"name": str(BENCH), "kind": "vllm-bench-serve", "latency": 1, "starts": 0, "pairs": 0}],
        "new": {"latency": 0, "starts": 0, "pairs": 0},
        "changed": [],
        "findings": [],
    }
    assert files(store) == before


def test_conflicting_measurements_are_kept(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    bench = json.loads(BENCH.read_bytes())
    other.write_text(json.dumps({**bench, "date": "20260101-000000", "mean_tpot_ms": 20.0}))
    assert "new: 1 latency points" in ullage("profile", "import", other, *H100, "--store", store).out
    result = ullage("profile", "check", "--store", store)
    assert result.code == 0
    assert "2 answers for tpot_s at 65 + 32 tokens, concurrency 8, from 13.2 to 20 ms; this one is preferred" in result.out
    assert "on 2026-11-23: 2 answers" in result.out
    shown = ullage("profile", "show", "llama-3.1-8b", "--store", store).out.splitlines()
    assert [line.split()[11:13] for line in shown[1:]] == [["yes", "measured"], ["no", "measured"]]


def test_one_bad_file_and_nothing_is_imported(store: Path, tmp_path: Path) -> None:
    before = files(store)
    cut, units = tmp_path / "cut.json", tmp_path / "units.csv"
    cut.write_bytes(BENCH.read_bytes()[:1000])
    units.write_text("model,gpu,input_tokens,output_tokens,tpot_s\nm,g,8,8,13.1\n")
    result = ullage("profile", "import", FIXTURES / "plain.csv", cut, units, "--store", store)
    assert result.code == 1
    assert f"{cut}: not JSON, or cut off" in result.err
    assert f"{units}: row 2: tpot_s: 13.1 s is outside 0.0001 to 2; is it in another unit?" in result.err
    assert files(store) == before


def test_an_import_into_no_store_leaves_none_when_it_fails(tmp_path: Path) -> None:
    assert ullage("profile", "import", BENCH, "--store", tmp_path / "none", "--kind", "guidellm").code == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("import", "missing.json"), "missing.json: there is no such file"),
        (("import", __file__), "no source recognises this file"),
        (("import", BENCH, "--kind", "excel"), "'excel' is not one of the sources: vllm-bench-serve"),
        (("import", BENCH, "--gpu", "h100", "--date", "2020-01-01"), "date: the file says 2026-11-23, --date says 2020-01-01"),
        (("import", FIXTURES / "vllm-bench-latency.json"), "input_tokens: the file does not say it; give --input-tokens"),
        (("list",), "there is no such folder of measurements"),
        (("show", "m"), "there is no such folder of measurements"),
        (("estimate", "llama-9b", "--gpu", "h100"), "unknown model 'llama-9b'"),
        (("estimate", "llama-3.1-8b", "--gpu", "h10"), "unknown GPU type 'h10'"),
        (("estimate", "llama-3.1-8b", "--gpu", "h100", "--tensor-parallel-size", "3"), "tensor_parallel_size 3 does not divide"),
        (("estimate", "llama-3.1-8b", "--gpu", "h100", "--mig-profile", "9g"), "has no MIG profile '9g'"),
    ],
)
def test_errors_are_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], says: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = ullage("profile", *arguments)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: ")
    assert says in result.err
    assert list(tmp_path.iterdir()) == []


def test_list_and_show(store: Path) -> None:
    assert ullage("profile", "import", FIXTURES / "plain.csv", "--store", store).code == 0
    listed = json.loads(ullage("profile", "list", "--store", store, "--json").out)["groups"]
    assert [(row["model"], row["engine_version"], row["latency"], row["last_date"]) for row in listed] == [
        ("meta-llama/Llama-3.1-8B", "0.19.0", 2, "2026-05-04"),
        ("meta-llama/Llama-3.1-8B", "0.32.0", 1, "2026-11-23"),
    ]
    text = ullage("profile", "list", "--store", store).out
    assert "meta-llama/Llama-3.1-8B  H100-SXM-80GB  vllm 0.32.0" in text
    shown = ullage("profile", "show", "Llama-3.1-8B-Instruct", "--gpu", "H100-80GB-HBM3", "--store", store)
    assert "168.4    13.16" in shown.out
    assert "measured with vllm 0.19.0 by load test of team red on 2026-05-04" in shown.out
    points = json.loads(ullage("profile", "show", "llama-3.1-8b", "--store", store, "--json").out)
    assert len(points["latency"]) == 3
    nothing = ullage("profile", "show", "qwen3-32b", "--store", store)
    assert "nothing about qwen3-32b; `ullage profile list` names what there is" in nothing.err


def test_check_ends_with_1_when_an_entry_cannot_be_true(store: Path) -> None:
    assert ullage("profile", "check", "--store", store).code == 0
    file = next(store.rglob("*.yaml"))
    file.write_text(file.read_text().replace("tpot_s: 0.0131554", "tpot_s: 0.00131554").replace("request_s: 0.576173, ", ""))
    result = ullage("profile", "check", "--store", store, "--json")
    assert result.code == 1
    (finding,) = json.loads(result.out)["findings"]
    assert finding["level"] == "error"
    assert "is below the 4.48 ms of the data sheet" in finding["message"]


def test_export_can_be_imported(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.csv"
    assert ullage("profile", "export", "--store", store, "-o", out).code == 0
    assert ullage("profile", "export", "--store", store).out == out.read_text()
    assert "nothing new" in ullage("profile", "import", out, "--store", store).out
    assert ullage("profile", "import", out, "--store", tmp_path / "other").code == 0
    assert files(tmp_path / "other") == files(store)
    assert json.loads(ullage("profile", "export", "--store", store, "--json", "--gpu", "a100").out)["latency"] == []


def test_an_export_as_json_holds_all_points_and_gives_the_same_folder(tmp_path: Path) -> None:
    out, first, second = tmp_path / "all.json", tmp_path / "first", tmp_path / "second"
    imported = ullage("profile", "import", FIXTURES / "ullage-export.json", "--store", first)
    assert (imported.code, "1 latency points, 1 starts, 1 pairs" in imported.out) == (0, True)
    assert ullage("profile", "export", "--store", first, "--json", "-o", out).code == 0
    assert out.read_bytes() == (FIXTURES / "ullage-export.json").read_bytes()
    assert ullage("profile", "import", out, "--store", second).code == 0
    assert files(first) == files(second)
    refused = ullage("profile", "import", out, "--store", second, "--gpu", "a100")
    assert (refused.code, "give no options" in refused.err) == (1, True)


def test_a_csv_export_tells_what_it_leaves_out(tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert ullage("profile", "import", FIXTURES / "ullage-export.json", "--store", store).code == 0
    assert "not in the CSV: 1 starts, 1 pairs; --json has them" in ullage("profile", "export", "--store", store).err


def test_estimates_are_bands_and_say_what_they_are(tmp_path: Path) -> None:
    result = ullage("profile", "estimate", "llama-3.1-8b", "--gpu", "h100", "--batch", "1", "--batch", "64", "--json")
    found = json.loads(result.out)
    assert found["kind"] == "estimated"
    assert found["provenance"]
    assert [row["requests"] for row in found["batches"]] == [1, 64]
    for band in (found["prefill"], *(row["tpot"] for row in found["batches"])):
        assert 0 < band["p10_s"] < band["p50_s"] < band["p90_s"]
    assert found["batches"][0]["tpot"]["p50_s"] < found["batches"][1]["tpot"]["p50_s"]
    slice_of_it = json.loads(ullage("profile", "estimate", "llama-3.1-8b", "--gpu", "h100", "--mig-profile", "3g.40gb", "--json").out)
    assert slice_of_it["prefill"]["p50_s"] > found["prefill"]["p50_s"]
    text = ullage("profile", "estimate", "llama-3.1-8b", "--gpu", "h100").out
    assert ": estimated" in text
    assert "TPOT of 128 together" in text


def test_an_estimate_rests_on_the_store_it_is_given(store: Path) -> None:
    bare, corrected = (
        json.loads(ullage("profile", "estimate", "llama-3.1-8b", "--gpu", "h100", "--json", *extra).out)
        for extra in ((), ("--store", store))
    )
    assert "measured on this engine at 1 loads" in corrected["provenance"]
    widths = [row["batches"][0]["tpot"]["p90_s"] / row["batches"][0]["tpot"]["p10_s"] for row in (bare, corrected)]
    assert widths[1] < widths[0]
    missing = ullage("profile", "estimate", "llama-3.1-8b", "--gpu", "h100", "--store", store / "nowhere")
    assert missing.code != 0
    assert "nowhere" in missing.err


def test_an_estimate_says_when_the_engine_does_not_fit() -> None:
    large = ullage("profile", "estimate", "llama-3.1-70b", "--gpu", "h100")
    assert "does not fit: the engine needs 1" in large.out
    assert "there are 81090 MiB" in large.out
    sliced = ("profile", "estimate", "qwen3-8b", "--gpu", "h100", "--mig-profile", "1g.10gb", "--json")
    assert "MiB per GPU" in json.loads(ullage(*sliced).out)["does_not_fit"]
    assert json.loads(ullage("profile", "estimate", "qwen3-8b", "--gpu", "h100", "--json").out)["does_not_fit"] is None


def test_a_point_that_physics_forbids_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    table = tmp_path / "points.csv"
    # 141 GB of weights pass through 4.8 TB/s in 29 ms at best: nothing decodes in 1 ms
    table.write_text(
        "model,gpu,input_tokens,output_tokens,concurrency,ttft_s,tpot_s\n"
        "llama-3.1-8b,h100,128,128,1,0.03,0.007\n"
        "llama-3.1-70b,h200,128,128,1,0.2,0.001\n"
    )
    result = ullage("profile", "import", table, "--store", tmp_path / "store")
    assert result.code == 1
    assert "tpot_s 1 ms at 128 + 128 tokens, concurrency 1 is below the" in result.err
    assert "nothing was imported" in result.err
    assert not (tmp_path / "store").exists()


def test_an_estimate_for_a_model_that_embeds_is_the_time_to_its_answer() -> None:
    result = ullage("profile", "estimate", "bge-m3", "--gpu", "l4")
    assert (result.code, result.err) == (0, "")
    assert "answer of an idle engine" in result.out
    assert "TPOT" not in result.out
