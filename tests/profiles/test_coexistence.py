"""Whether engines live together: sums, limits that are exact, flags, and reasons."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.memory.coexistence import Fit, ResidentEngine, fit
from profiles.memory.kv import min_kv_bytes
from profiles.settings import EngineSettings

H100, A100 = (builtin().gpu(name) for name in ("H100-SXM-80GB", "A100-SXM-80GB"))


def engine(name: str, asked: EngineSettings | None = None) -> ResidentEngine:
    return ResidentEngine(name, builtin().model(name), asked or EngineSettings(dtype="auto", max_model_len=4096))


def fitted(*engines: ResidentEngine) -> Fit:
    return fit(engines, H100, None, 1024)


def test_the_lines_add_up_and_the_rest_goes_to_the_pools() -> None:
    found = fitted(engine("Qwen/Qwen3-8B"), engine("meta-llama/Llama-3.1-8B"))
    assert found.fits
    for resident in found.residents:
        assert resident.total_mib == sum(line.memory_mib for line in resident.lines)
        assert resident.kv_bytes >= resident.min_kv_bytes
        assert all(line.provenance for line in resident.lines)
    used_mib = sum(resident.total_mib for resident in found.residents)
    assert 0 <= found.memory_mib - found.headroom_mib - used_mib < 16
    assert found.binding == "weights of Qwen/Qwen3-8B"


def test_what_is_missing_is_said_in_mib() -> None:
    found = fitted(engine("Qwen/Qwen3-32B"), engine("google/gemma-2-27b"))
    assert not found.fits
    assert found.left_mib < 0
    assert f"{-found.left_mib} MiB are missing" in found.reasons[0]


@pytest.mark.parametrize("name", ["Qwen/Qwen3-14B", "google/gemma-2-9b", "Qwen/Qwen3.5-35B-A3B", "deepseek-ai/DeepSeek-V2-Lite"])
def test_the_largest_limits_fit_and_one_more_does_not(name: str) -> None:
    gpu = replace(H100, memory_usable_mib=int(engine(name).ledger(H100, 0).total_mib * 1.04) + 1024)
    asked = engine(name)
    resident = fit([asked], gpu, None, 1024).residents[0]
    length, sequences = resident.largest_max_model_len, resident.largest_max_num_seqs

    def fits(max_model_len: int, max_num_seqs: int) -> bool:
        changed = replace(asked.settings, max_model_len=max_model_len, max_num_seqs=max_num_seqs)
        return fit([replace(asked, settings=changed)], gpu, None, 1024).fits

    assert not length or fits(length, asked.settings.max_num_seqs)
    assert length == asked.architecture.max_position or not fits(length + 1, asked.settings.max_num_seqs)
    assert not sequences or fits(asked.settings.max_model_len, sequences)
    assert sequences == asked.settings.max_num_batched_tokens or not fits(asked.settings.max_model_len, sequences + 1)


def test_impossible_requests_get_the_reason() -> None:
    tensor = replace(EngineSettings(max_model_len=4096), tensor_parallel_size=3)
    assert "does not divide the number of attention heads" in str(fitted(engine("Qwen/Qwen3-8B", tensor)).residents[0].reason)
    sliced = fit([engine("Qwen/Qwen3-0.6B", replace(tensor, tensor_parallel_size=2))], A100, A100.mig_profile("3g.40gb"), 0)
    assert "one MIG slice only" in sliced.reasons[0]


def test_a_mig_slice_has_its_own_memory() -> None:
    profile = A100.mig_profile("1g.10gb")
    found = fit([engine("Qwen/Qwen3-0.6B")], A100, profile, 512)
    assert (found.memory_mib, found.mig_profile, found.fits) == (profile.memory_mib, "1g.10gb", True)
    assert not fit([engine("Qwen/Qwen3-8B")], A100, profile, 512).fits


def test_the_flags_say_what_was_computed() -> None:
    asked = EngineSettings(max_model_len=4096, quantization="fp8", kv_cache_dtype="fp8", enforce_eager=True)
    resident = fitted(engine("Qwen/Qwen3-8B", asked)).residents[0]
    flags = dict(zip(resident.flags, resident.flags[1:], strict=False))
    assert flags["--kv-cache-memory-bytes"] == str(resident.kv_bytes)
    assert flags["--quantization"] == flags["--kv-cache-dtype"] == "fp8"
    assert "--enforce-eager" in resident.flags
    context_mib = next(line.memory_mib for line in resident.lines if line.name.startswith("context"))
    assert float(flags["--gpu-memory-utilization"]) * H100.memory_usable_mib <= resident.total_mib - context_mib


@settings(max_examples=20)
@given(names=st.lists(st.sampled_from(["Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B", "google/gemma-2-9b", "Qwen/Qwen3-14B"]), min_size=1, max_size=5))
def test_a_fit_never_exceeds_the_memory_and_each_pool_holds_a_request(names: list[str]) -> None:
    found = fitted(*(engine(name) for name in names))
    if found.fits:
        assert sum(resident.total_mib for resident in found.residents) <= found.memory_mib - found.headroom_mib
    for resident, name in zip(found.residents, names, strict=True):
        assert resident.kv_bytes >= min_kv_bytes(builtin().model(name), engine(name).settings)
