"""The shipped catalogue: complete, unambiguous, sourced, and found by any of its spellings."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

import profiles.catalogue
from profiles.catalogue import Catalogue, UnknownNameError, builtin
from profiles.gpu_types import GpuType
from profiles.models import Architecture

ROOT = Path(profiles.catalogue.__file__).parent
GPUS = tuple(builtin().gpu(name) for name in builtin().gpu_names)
MODELS = tuple(builtin().model(name) for name in builtin().model_names)
GPU_IDS = [gpu.name for gpu in GPUS]
MODEL_IDS = [model.name for model in MODELS]


def test_it_is_large_enough() -> None:
    assert len(GPUS) >= 18
    assert len(MODELS) >= 100


@pytest.mark.parametrize("entries", [GPUS, MODELS], ids=["gpus", "models"])
def test_no_spelling_names_two_entries(entries: tuple[GpuType | Architecture, ...]) -> None:
    owner: dict[str, str] = {}
    for entry in entries:
        for spelling in (entry.name, *entry.aliases):
            for key in {spelling.casefold().replace("_", "-"), spelling.rpartition("/")[2].casefold().replace("_", "-")}:
                assert owner.setdefault(key, entry.name) == entry.name, f"{spelling}: {owner[key]} and {entry.name}"


def test_every_file_is_named_after_its_entry_and_has_no_key_twice() -> None:
    for path in chain(ROOT.glob("gpus/*.yaml"), ROOT.glob("models/*.yaml")):
        text = path.read_text(encoding="utf-8")
        keys = re.findall(r"^([a-z_0-9]+):", text, flags=re.MULTILINE)
        assert len(keys) == len(set(keys)), path
        assert path.stem == text.splitlines()[0].removeprefix("name: ").replace("/", "--").lower()


@pytest.mark.parametrize("name", ["H100", "h100_sxm", "H100-80GB-HBM3", "NVIDIA H100 80GB HBM3", "h100-sxm-80gb"])
def test_one_gpu_has_many_spellings(name: str) -> None:
    assert builtin().gpu(name).name == "H100-SXM-80GB"


@pytest.mark.parametrize(
    "name",
    ["Meta-Llama-3.1-8B-Instruct", "Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B", "LLAMA-3.1-8B"],
)
def test_one_model_has_many_spellings(name: str) -> None:
    assert builtin().model(name).name == "meta-llama/Llama-3.1-8B"


def test_the_id_to_load_is_the_one_asked_for_in_its_proper_spelling() -> None:
    assert builtin().model_id("llama-3.1-8b-instruct") == "meta-llama/Llama-3.1-8B-Instruct"
    assert builtin().model_id("META-LLAMA/llama-3.1-8b") == "meta-llama/Llama-3.1-8B"
    assert builtin().model_id("starcoder2") == "bigcode/starcoder2"


@pytest.mark.parametrize("entry", [*GPUS, *MODELS], ids=[*GPU_IDS, *MODEL_IDS])
def test_every_spelling_finds_its_entry(entry: GpuType | Architecture) -> None:
    find = builtin().gpu if isinstance(entry, GpuType) else builtin().model
    for spelling in (entry.name, *entry.aliases):
        assert find(spelling) is entry
        assert find(spelling.upper()) is entry


def test_unknown_names_get_the_nearest_spelling() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown GPU type 'H10O'; nearest: .*H100"):
        builtin().gpu("H10O")
    with pytest.raises(UnknownNameError, match=r"unknown model 'Qwen/Qwen3-88B'; nearest: Qwen/Qwen3-8B"):
        builtin().model("Qwen/Qwen3-88B")
    with pytest.raises(UnknownNameError, match=r"none of the \d+ known ones is similar"):
        builtin().gpu("abacus")
    with pytest.raises(UnknownNameError):
        builtin().model("")


@pytest.mark.parametrize("gpu", GPUS, ids=GPU_IDS)
def test_every_gpu_fact_has_its_source(gpu: GpuType) -> None:
    for key in ("memory_usable_mib", "speeds", "link", "sm_count", "mig", "listed_prices_usd_per_h"):
        assert gpu.sources[key]
    if gpu.mig_profiles:
        assert {"mig.placement_starts", "mig.memory_mib", "mig.sm_count"} <= set(gpu.sources)
    if gpu.sm_count is None:
        assert gpu.sources["sm_count"].startswith("not known")


@pytest.mark.parametrize("gpu", GPUS, ids=GPU_IDS)
def test_mig_profiles_lie_within_their_gpu(gpu: GpuType) -> None:
    for profile in gpu.mig_profiles:
        assert profile.memory_mib <= gpu.memory_usable_mib
        assert profile.compute_slices <= gpu.mig_compute_slices
        assert max(profile.placement_starts) + profile.memory_slices <= gpu.mig_memory_slices
        assert profile.max_count <= len(profile.placement_starts)
        assert profile.sm_count is None or gpu.sm_count is None or profile.sm_count <= gpu.sm_count
        assert gpu.mig_profile(profile.name) is profile
    with pytest.raises(ValueError, match=f"{gpu.name} has no MIG profile '9g.1gb'"):
        gpu.mig_profile("9g.1gb")


def test_usable_memory_is_what_the_driver_gives_not_what_the_sheet_says() -> None:
    # 79.19 GiB and 79.15 GiB, as engines log them on these GPUs
    assert builtin().gpu("h100").memory_usable_mib == int(79.19 * 1024)
    assert builtin().gpu("a100").memory_usable_mib == int(79.15 * 1024)


def test_price_is_the_median_of_the_listed_ones_or_none() -> None:
    assert builtin().gpu("h100").price_usd_per_h == 2.95
    assert builtin().gpu("h200").price_usd_per_h == pytest.approx((3.39 + 3.5) / 2)
    assert builtin().gpu("t4").price_usd_per_h is None


def test_entries_can_be_hashed_and_looked_up_again() -> None:
    assert hash(GPUS[0]) == hash(builtin().gpu(GPUS[0].name))
    assert len(set(MODELS)) == len(MODELS)


def test_a_look_up_parses_only_files_that_hold_the_name() -> None:
    catalogue = Catalogue(ROOT)
    assert "_texts" not in vars(catalogue._models)
    catalogue.model("phi-4")
    assert 1 <= len(catalogue._models._parsed) <= 3
    assert not catalogue._gpus._parsed
