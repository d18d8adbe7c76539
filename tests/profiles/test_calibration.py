"""Constants re-fitted from starts: what the logs say comes back, and models that were not in the fit are predicted as well."""

import csv
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from profiles.catalogue import builtin
from profiles.memory.calibration import CalibrationError, LoggedStart, calibrated
from profiles.memory.engine_constants import constants_for
from profiles.memory.kv import kv_bytes_per_block
from profiles.store.measurements import Provenance, StartPoint

H100 = builtin().gpu("H100-SXM-80GB")
GIB = 1 << 30


def starts() -> list[LoggedStart]:
    with (Path(__file__).parent / "fixtures" / "vllm_memory_logs.csv").open() as file:
        return [_start(row) for row in csv.DictReader(file)]


def _start(row: dict[str, str]) -> LoggedStart:
    mib = {name: float(row[f"{name}_gib"]) * 1024 for name in ("weights", "activation", "non_torch", "gpu_total", "init_used")}
    point = StartPoint(
        model=row["model"],
        gpu=row["gpu"],
        tensor_parallel_size=int(row["tp"]),
        pipeline_parallel_size=int(row["pp"]),
        dtype=row["dtype"],
        kv_cache_dtype=row["kv_dtype"],
        max_model_len=int(row["max_model_len"]),
        max_num_seqs=int(row["max_num_seqs"]),
        max_num_batched_tokens=int(row["max_num_batched_tokens"]),
        gpu_memory_utilization_fraction=float(row["gpu_memory_utilization"]),
        gpu_total_mib=mib["gpu_total"],
        init_free_mib=mib["gpu_total"] - mib["init_used"],
        weights_mib=mib["weights"],
        activation_mib=mib["activation"],
        non_torch_mib=mib["non_torch"],
        cuda_graphs_mib=float(row["cudagraph_actual_gib"]) * 1024,
        kv_bytes=round(float(row["kv_gib"]) * GIB),
        provenance=Provenance(kind="measured", source="log", engine_version=row["vllm_version"]),
    )
    return LoggedStart(builtin().model(row["model"]), H100, point)


def test_the_sampler_and_the_medians_come_back_out_of_the_logs() -> None:
    found = calibrated(starts())
    assert found.constants.sampler_bytes_per_logit == pytest.approx(12, abs=0.2)
    assert found.constants.context.single_mib == pytest.approx(0.51 * 1024, abs=0.1)
    assert found.constants.non_torch.tensor_parallel_mib == pytest.approx(2.07 * 1024, rel=0.01)
    assert (found.constants.kind, found.constants.from_version, found.constants.before_version) == ("fitted", "0.19.0", "0.21.0")
    assert found.error_after_fraction is not None
    assert found.error_after_fraction < 0.001


def test_constants_fitted_without_a_model_predict_it() -> None:
    everything = starts()
    errors = []
    for model in sorted({start.architecture.name for start in everything}):
        others = [start for start in everything if start.architecture.name != model]
        constants = calibrated(others).constants
        errors += [abs(start.kv_error_fraction(constants) or 0.0) for start in everything if start.architecture.name == model]
    assert len(errors) == len(everything)
    assert fmean(errors) < 0.002
    assert max(errors) < 0.005


def test_wrong_constants_are_repaired_by_the_logs() -> None:
    shifted = [replace(start, point=replace(start.point, activation_mib=(start.point.activation_mib or 0) + 300)) for start in starts()]
    found = calibrated(shifted)
    assert found.constants.fixed_activation_mib == pytest.approx(constants_for("0.19.0").fixed_activation_mib + 300, abs=20)


def test_a_pool_alone_tells_what_lies_outside_the_allocator() -> None:
    start = next(start for start in starts() if start.architecture.name == "Qwen/Qwen3-8B")
    bare = replace(start.point, activation_mib=None, non_torch_mib=None, weights_mib=None, cuda_graphs_mib=None, init_free_mib=None)
    found = calibrated([replace(start, point=bare)])
    assert found.changed == ("non_torch",)
    assert found.constants.non_torch.single_mib == pytest.approx(256, abs=80)


def test_starts_of_several_or_unknown_versions_are_refused() -> None:
    first, second = starts()[:2]
    other = replace(second.point, provenance=replace(second.point.provenance, engine_version="0.21.0"))
    with pytest.raises(CalibrationError, match=r"0\.19\.0, 0\.21\.0"):
        calibrated([first, replace(second, point=other)])
    with pytest.raises(CalibrationError, match="of: none"):
        calibrated([])


def test_a_start_that_logs_no_memory_is_refused() -> None:
    start = starts()[0]
    provenance = start.point.provenance
    with pytest.raises(CalibrationError, match="nothing to fit"):
        calibrated([replace(start, point=StartPoint(model="m", gpu="g", load_s=1.0, provenance=provenance))])


def test_a_pool_told_in_blocks_counts_as_one_in_bytes() -> None:
    start = next(start for start in starts() if start.architecture.name == "Qwen/Qwen3-8B")
    bare = replace(start.point, activation_mib=None, non_torch_mib=None, weights_mib=None, cuda_graphs_mib=None, init_free_mib=None)
    block_bytes = kv_bytes_per_block(start.architecture, replace(start.settings, block_size=32))
    in_blocks = replace(bare, kv_bytes=None, kv_blocks=(bare.kv_bytes or 0) // block_bytes, block_size=32)
    found, same = (calibrated([replace(start, point=point)]).constants.non_torch.single_mib for point in (bare, in_blocks))
    assert found == pytest.approx(same, abs=block_bytes / (1 << 20))
