"""The blocks of KV cache that a running engine must have."""

from __future__ import annotations

from planner.plan import State
from profiles.catalogue import builtin
from profiles.gpu_types import settings_on
from profiles.memory.kv import kv_blocks
from tests.plans import plan_of, replica
from ullage.checking import architecture_of
from ullage.kv_blocks import least_kv_blocks

MODEL = "meta-llama/Meta-Llama-3.1-8B"
FLOOR_MIB = 4096


def state_on(gpu_type: str) -> State:
    desired = plan_of((replica("llama-0", kv_floor_mib=FLOOR_MIB),), gpu_count=1).desired
    return State(replicas=desired.replicas, gpus=tuple(gpu.model_copy(update={"gpu_type": gpu_type}) for gpu in desired.gpus))


def test_blocks_are_those_of_the_floor_in_the_size_that_the_device_has() -> None:
    find = least_kv_blocks(architecture_of)
    found = {}
    for gpu_type in ("H100-SXM-80GB", "CPU"):
        state = state_on(gpu_type)
        item = state.replicas[0]
        settings = settings_on(builtin().gpu(gpu_type), item.args.settings(item.engine_version))
        planned = kv_blocks(architecture_of(MODEL), settings, FLOOR_MIB << 20)
        found[gpu_type] = find(item, state)
        assert found[gpu_type] == int(planned * 0.98)
    # blocks of 16 tokens on a GPU, of 128 on a CPU
    assert found["H100-SXM-80GB"] is not None
    assert found["CPU"] is not None
    assert 7.9 < found["H100-SXM-80GB"] / found["CPU"] < 8.1


def test_what_cannot_be_known_is_not_asked_for() -> None:
    find = least_kv_blocks(architecture_of)
    known = state_on("H100-SXM-80GB")
    item = known.replicas[0]
    assert find(item.model_copy(update={"kv_floor_mib": None}), known) is None
    assert find(item, state_on("a type of my own")) is None
    stranger = item.model_copy(update={"args": item.args.model_copy(update={"model": "no/such-model"})})
    assert find(stranger, known) is None
