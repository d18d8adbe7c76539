"""Constants of measured starts: what few say only raises, what many say replaces, and nothing that was logged is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.memory.calibration import LoggedStart
from profiles.memory.engine_constants import EngineConstants, constants_for
from profiles.memory.ledger import MemoryLedger, memory_ledger
from profiles.memory.measured import LEAST_MODELS, LEAST_STARTS, MeasuredConstants, measured_constants
from profiles.settings import EngineSettings
from profiles.store.measurements import Measurements, StartPoint
from tests.profiles.test_calibration import H100, starts

ASKED = EngineSettings(engine_version="0.19.0")
SHIPPED = constants_for("0.19.0")


def logged() -> list[LoggedStart]:
    """Starts on one GPU, under the catalogue's names."""
    own = [replace(start, point=replace(start.point, gpu=H100.name, model=start.architecture.name)) for start in starts()]
    return [start for start in own if start.settings.tensor_parallel_size == start.settings.pipeline_parallel_size == 1]


def shifted(start: LoggedStart, by_mib: float) -> LoggedStart:
    point = start.point
    assert point.non_torch_mib is not None
    assert point.cuda_graphs_mib is not None
    assert point.init_free_mib is not None
    graphs_mib, free_mib = point.cuda_graphs_mib + by_mib, point.init_free_mib - by_mib
    more = replace(point, non_torch_mib=point.non_torch_mib + by_mib, cuda_graphs_mib=graphs_mib, init_free_mib=free_mib)
    return replace(start, point=more)


def found(of: list[LoggedStart], asked: EngineSettings = ASKED) -> MeasuredConstants | None:
    return measured_constants(Measurements(starts=tuple(start.point for start in of)), H100, asked)


def ledger(start: LoggedStart, constants: EngineConstants) -> MemoryLedger:
    return memory_ledger(start.architecture, H100, start.settings, 0, constants)


def test_without_starts_of_this_engine_there_are_none() -> None:
    own = logged()
    assert found([]) is None
    assert found(own, replace(ASKED, engine_version="0.32.0")) is None
    assert found(own, replace(ASKED, tensor_parallel_size=2)) is None
    sliced = [replace(start, point=replace(start.point, mig_profile="3g.40gb")) for start in own]
    estimated = [replace(start, point=replace(start.point, provenance=replace(start.point.provenance, kind="estimated"))) for start in own]
    assert found(sliced) is None
    assert found(estimated) is None
    assert measured_constants(Measurements(starts=tuple(start.point for start in own)), replace(H100, name="other"), ASKED) is None


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_ledger_is_below_what_was_measured(data: st.DataObject) -> None:
    """Invariant 16."""
    chosen = data.draw(st.lists(st.sampled_from(logged()), min_size=1, max_size=9, unique_by=repr))
    of = [shifted(start, data.draw(st.floats(-40.0, 400.0))) for start in chosen]
    measured = found(of)
    constants = measured.constants if measured else SHIPPED
    for start in of:
        lines, point = ledger(start, constants), start.point
        assert lines.activation_mib >= (point.activation_mib or 0) + (point.non_torch_mib or 0)
        assert lines.cuda_graphs_mib >= (point.cuda_graphs_mib or 0)
        assert lines.context_mib >= (start.context_mib or 0)
    if len(of) < LEAST_STARTS or len({start.architecture.name for start in of}) < LEAST_MODELS:
        for start in logged():
            few, shipped = ledger(start, constants), ledger(start, SHIPPED)
            assert few.activation_mib >= shipped.activation_mib
            assert few.context_mib >= shipped.context_mib
            assert few.cuda_graphs_mib >= shipped.cuda_graphs_mib


def test_enough_starts_of_enough_models_lower_what_is_shipped() -> None:
    lower = [shifted(start, -60.0) for start in logged()]
    measured = found(lower)
    assert measured is not None
    assert measured.constants.context.single_mib == pytest.approx(SHIPPED.context.single_mib - 60, abs=2)
    assert measured.constants.non_torch.single_mib < SHIPPED.non_torch.single_mib - 50
    assert measured.constants.non_torch_spread.single_mib >= SHIPPED.non_torch_spread.single_mib
    assert (measured.starts, measured.models) == (len(lower), len({start.architecture.name for start in lower}))
    one_model = [start for start in lower if start.architecture.name == "meta-llama/Llama-3.1-8B"]
    assert len(one_model) >= LEAST_STARTS
    kept = found(one_model)
    assert kept is None or kept.constants.context.single_mib == SHIPPED.context.single_mib


def test_memory_of_neighbours_is_not_taken_for_the_engines_own_context() -> None:
    crowded = [shifted(start, 20_000.0) for start in logged()[:1]]
    only = [replace(start, point=replace(start.point, non_torch_mib=256.0, cuda_graphs_mib=None)) for start in crowded]
    measured = found(only)
    assert measured is None or measured.constants.context == SHIPPED.context


def test_a_start_of_unknown_limits_tells_nothing_of_what_depends_on_them() -> None:
    start = logged()[0]
    vague = replace(start.point, max_num_seqs=None, activation_mib=90_000.0, non_torch_mib=900.0)
    measured = measured_constants(Measurements(starts=(vague,)), H100, ASKED)
    assert measured is not None
    assert measured.constants.fixed_activation_mib == SHIPPED.fixed_activation_mib
    assert measured.constants.non_torch.single_mib + measured.constants.non_torch_spread.single_mib == pytest.approx(900, abs=0.1)
    nothing = StartPoint(model=start.point.model, gpu=H100.name, kv_blocks=1000, provenance=start.point.provenance)
    assert measured_constants(Measurements(starts=(nothing,)), H100, ASKED) is None
