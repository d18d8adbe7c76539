"""Catalogue files with faults: each is refused with the file and the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import profiles.catalogue
from profiles.catalogue import Catalogue
from profiles.fields import FieldError

ROOT = Path(profiles.catalogue.__file__).parent

Change = Callable[[dict[str, Any]], object]


def _refused(tmp_path: Path, kind: str, change: Change) -> str:
    """The message for the shipped H100 or DeepSeek-R1 file after a change."""
    file = {"gpus": "h100-sxm-80gb.yaml", "models": "deepseek-ai--deepseek-r1.yaml"}[kind]
    content = yaml.safe_load((ROOT / kind / file).read_text(encoding="utf-8"))
    change(content)
    return _message(tmp_path, kind, yaml.safe_dump(content))


def _message(tmp_path: Path, kind: str, text: str) -> str:
    (tmp_path / kind).mkdir()
    (tmp_path / kind / "entry.yaml").write_text(text, encoding="utf-8")
    catalogue = Catalogue(tmp_path)
    with pytest.raises(FieldError) as caught:
        _ = catalogue.gpu_names if kind == "gpus" else catalogue.model_names
    assert "entry.yaml" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda gpu: gpu.pop("memory_usable_mib"), "memory_usable_mib: missing"),
        (lambda gpu: gpu.pop("fp8_tflops"), "fp8_tflops: missing"),
        (lambda gpu: gpu.update(colour="green"), "colour: unknown key"),
        (lambda gpu: gpu.update(bf16_tflops=None), "bf16_tflops: must not be null"),
        (lambda gpu: gpu.update(bf16_tflops=float("nan")), "bf16_tflops: must be a finite number above 0"),
        (lambda gpu: gpu.update(bf16_tflops="fast"), "bf16_tflops: must be a number"),
        (lambda gpu: gpu.update(memory_usable_mib=-1), "memory_usable_mib: must be at least 1, is -1"),
        (lambda gpu: gpu.update(memory_usable_mib=True), "memory_usable_mib: must be a whole number"),
        (lambda gpu: gpu.update(link="nvlink"), "link: must be one of nvswitch, pairs, pcie"),
        (lambda gpu: gpu.update(aliases="H100"), "aliases: must be a list"),
        (lambda gpu: gpu.update(aliases=[1]), "aliases: must be a list of texts"),
        (lambda gpu: gpu.update(name=""), "name: must be text"),
        (lambda gpu: gpu.update(mig=7), "mig: must be a mapping"),
        (lambda gpu: gpu["mig"].update(slices=7), "mig.slices: unknown key"),
        (lambda gpu: gpu["mig"]["profiles"][1].pop("max_count"), r"mig.profiles[1].max_count: missing"),
        (lambda gpu: gpu["mig"]["profiles"][1].update(placement_starts=["0"]), "placement_starts: must be a list of whole numbers"),
        (lambda gpu: gpu["listed_prices_usd_per_h"].update(free=0), "listed_prices_usd_per_h.free: must be a finite number above 0"),
    ],
)
def test_a_faulty_gpu_file_is_refused(tmp_path: Path, change: Change, expected: str) -> None:
    assert expected in _refused(tmp_path, "gpus", change)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda model: model.pop("layers"), "layers: missing"),
        (lambda model: model.pop("source"), "source: missing"),
        (lambda model: model.update(weights="many"), "weights: unknown key"),
        (lambda model: model.update(layers=61.5), "layers: must be a whole number"),
        (lambda model: model.update(dtype="float8"), "dtype: must be one of"),
        (lambda model: model.update(checkpoint_quant="fp7"), "checkpoint_quant: must be one of"),
        (lambda model: model.pop("quant_scope"), "quant_scope: missing"),
        (lambda model: model.pop("tie_embeddings"), "tie_embeddings: must be true or false"),
        (lambda model: model.update(gated_mlp="yes"), "gated_mlp: must be true or false"),
        (lambda model: model.update(sliding_layers=3), "sliding_layers and sliding_window_tokens go together"),
        (lambda model: model["experts"].pop("count"), "experts.count: missing"),
        (lambda model: model["mla"].update(rank=1), "mla.rank: unknown key"),
    ],
)
def test_a_faulty_model_file_is_refused(tmp_path: Path, change: Change, expected: str) -> None:
    assert expected in _refused(tmp_path, "models", change)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "name: [", "!!python/object/apply:os.getcwd []\n", "name: &a [*a]\n"])
def test_a_file_that_is_no_mapping_or_no_safe_yaml_is_refused(tmp_path: Path, text: str) -> None:
    assert _message(tmp_path, "models", text)
