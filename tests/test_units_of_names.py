"""Every numeric field of the public models ends in its unit; what has none is in the lists below, each with its reason."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

from pydantic import BaseModel

UNITS = (
    *("bytes", "bytes_per_token", "mib", "mib_per_gpu"),
    *("s", "ms"),
    *("tokens", "tokens_per_s"),
    *("rps", "microrps"),
    *("usd", "usd_per_h", "microusd_per_h"),
    *("fraction", "permille", "quantile"),
    *("gb_per_s", "tflops", "flops"),
)

# vLLM's own names of its flags, and fields of the fleet file that are called like them.
FLAGS = {
    *("largest_max_model_len", "largest_max_num_seqs", "lowered_max_num_seqs", "max_lora_rank", "max_loras"),
    *("block_size", "gpu_memory_utilization", "max_model_len", "max_num_queued_reqs", "max_num_seqs", "port", "stream_interval"),
    *("pipeline_parallel_size", "tensor_parallel", "tensor_parallel_size"),
    # the part of a GPU that MPS lets an engine use, as NVIDIA calls it
    "active_thread_percentage",
}

# How many of something.
COUNTS = {
    *(
        "attained",
        "block_sizes",
        "chunks",
        "count",
        "error_causes",
        "errors",
        "fewest_replicas",
        "least_replicas",
        "gpu_count",
        "gpus",
        "gpus_per_node",
        "gpus_used",
        "host_cores",
        "joined",
        "replaced",
    ),
    *("host_cores_per_gpu", "kv_blocks", "max_active_residents", "max_count", "max_nodes", "max_replicas", "min_nodes"),
    *("min_replicas", "nodes", "preemptions", "repeat_rate", "requests", "residents", "size", "sm_count", "tolerate_nodes"),
    # GPUs or groups of them
    *("attention_data_parallel_size", "data_parallel_size", "expert_parallel_size"),
    # requests in a step
    "sequences",
    # of a machine
    "numa_nodes",
    # rows of an encoder's embeddings
    *("learned_positions", "segments"),
    # nodes by pool, and what a schedule counts: replicas, actions, and its changes
    *("rented", "single_gpus", "starts", "wakes", "sleeps", "stops", "changes"),
    # replicas that are taken elsewhere, and GPUs that nobody could use
    *("moves", "unusable_gpus"),
    # requests at once that an engine is asked for
    "asked_sequences",
    # replicas, also by workload
    *("max_concurrent", "min_available"),
    # requests
    *("kept", "missed_requests"),
    # clients, or requests that a KV pool holds
    *("concurrency", "max_concurrency"),
    # models and starts that constants rest on, GPUs that sharing saves
    *("models", "measured_gpus", "assumed_gpus"),
    # mean numbers of requests
    *("decoding", "present", "running_requests"),
    # windows
    "stands_for",
    # residents, and means of how many are active
    *("active_at_worst", "active_fractions", "active_limit", "max_residents", "mean_active"),
    # factors of step times by served name
    "slower",
    # numbers of days of the week
    *("day", "days"),
    # slices of a GPU
    *("compute_slices", "memory_slices", "mig_compute_slices", "mig_memory_slices"),
    # widths, ranks and numbers of a model's layers, under the names of its config.json
    *("head_dim", "heads", "hidden", "intermediate", "kv_heads", "kv_lora_rank", "layers", "max_position"),
    *("per_token", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "shared_intermediate", "sliding_layers", "v_head_dim"),
    *(
        "conv_kernel",
        "image_values",
        "key_dim",
        "key_heads",
        "mlp_only_layers",
        "value_dim",
        "value_heads",
        "attention_parameters",
        "expert_parameters",
        "mlp_parameters",
        "vision_parameters",
        "vocab",
    ),
    # layers of a pipeline stage's model, elements of a tensor, multiples that widths are rounded up to
    *("all_layers", "elements", "expert_hidden_multiple", "expert_inner_multiple"),
    # blocks of a KV pool, and groups of layers that draw them
    *("expected_blocks", "full", "most_blocks", "start_blocks", "state_blocks", "window_slack", "windowed"),
    # replicas of one way of running a model
    "replicas",
    # starts that constants were fitted on, rows that coefficients were
    *("rows", "starts"),
    # all-reduces of a step, pairs of a query and a key that attention multiplies
    *("all_reduces", "pairs"),
    # steps in a row
    "alike",
    # replicas that leave at once
    "most_leaving",
    # entries of a playbook, and the multiples of a load that it is made for
    "bursts",
    # what a judgement costs
    *("most_requests", "most_trials", "rarest_requests", "trials"),
    # rows of a LoRA adapter's matrices
    "rank",
}

# Which one: indices, start slots, ports and places in a file.
PLACES = {
    *(
        "admin_port",
        "column",
        "demand",
        "end",
        "gpu",
        "index",
        "key_places",
        "line",
        "machines",
        "mig_layout",
        "mig_start",
        "node",
        "not_with",
        # Member, Serving: demands, and nodes with candidates
        "other",
        "seats",
        "places",
        # OrderPuzzle: bits of replicas
        "waits",
        # Pouring: indices of stretches of time
        "spans",
    ),
    *("placement_starts", "pool", "serial", "shape", "start"),
}

# Pure numbers: ratios, ranks of an order, and values whose unit another field names.
PLAIN = {
    # RangeAnswer: in the unit of what was asked for
    "series",
    # TierResult: in the unit that its goal names
    *("bound", "value"),
    # routes: thousandths of a route's traffic; SimulatedGpu.parts: shares of a GPU by engine group
    *("parts", "routes", "weight"),
    # variance over mean; the spread of a log-normal; load over capacity; multiplier per quantile; time together over time alone
    *("burstiness", "residual_quantiles", "rho", "slowdown", "slowdown_p90", "spread", "tpot_quantiles", "ttft_quantiles"),
    # Pouring: GPU seconds per second
    "below",
    # Site: multiple of a step beside neighbours
    "interference_factor",
    "interference_factors",
    # multiples of a load, and how such a multiple is searched for
    *(
        "burst_factor",
        "demand_factor",
        "factor",
        "highest_factor",
        "kept_load_factor",
        "load_factor",
        "lowest_factor",
        "spare_load_factor",
        "step_factor",
    ),
    # RoomSearch: multiples of a model's step times
    *("factors", "enough_factors", "denied_factors"),
    # Effort: seconds of a simulation over those of a goal
    "goals_per_horizon",
    # CoefficientPrior: bounds of a coefficient, in the coefficient's unit
    *("high", "low"),
    # Length.mean is in tokens, as its docstring says
    "mean",
    *("bytes_per_parameter", "compute_capability", "product_capability", "preemption_probability", "priority"),
    # EngineConstants: multiples of a model's dimensions
    *("expert_workspaces", "forward_hidden_widths", "forward_mlp_widths", "pipeline_hidden_copies", "sampled_hidden_copies"),
    *("sampler_bytes_per_logit", "sampler_rows_per_sm"),
}

EXEMPT = FLAGS | COUNTS | PLACES | PLAIN


def public_models() -> Iterator[type]:
    """Dataclasses and pydantic models of planner and profiles whose names are public."""
    for root in ("planner", "profiles"):
        for found in walk_packages(import_module(root).__path__, f"{root}."):
            module = import_module(found.name)
            for name, value in sorted(vars(module).items()):
                if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_"):
                    yield value


def numeric_fields(model: type) -> Iterator[str]:
    """Names of the fields that hold numbers, alone or in a container."""
    if dataclasses.is_dataclass(model):
        names = [field.name for field in dataclasses.fields(model)]
    elif issubclass(model, BaseModel):
        names = list(model.model_fields)
    else:
        return
    hints = typing.get_type_hints(model)
    yield from (name for name in names if is_numeric(hints[name]))


def is_numeric(hint: object) -> bool:
    """Whether a type holds numbers: itself, as an alternative, as an element or as a mapping's value."""
    if hint in (int, float):
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal or not arguments:
        return False
    if origin in (typing.Union, types.UnionType, tuple, list, frozenset):
        return any(is_numeric(argument) for argument in arguments)
    return is_numeric(arguments[-1])


def has_unit(name: str) -> bool:
    """A unit at the end; a quantile may follow it, as in kv_tokens_p99."""
    base = re.sub(r"_p\d\d$", "", name)
    return any(base == unit or base.endswith(f"_{unit}") for unit in UNITS)


def test_every_numeric_field_ends_in_its_unit() -> None:
    wrong = [
        f"{model.__module__}.{model.__name__}.{name}"
        for model in public_models()
        for name in numeric_fields(model)
        if not has_unit(name) and name not in EXEMPT
    ]
    assert wrong == []


def test_no_exemption_is_left_over_or_given_twice() -> None:
    used = {name for model in public_models() for name in numeric_fields(model)}
    assert sorted(EXEMPT - used) == []
    assert sum(map(len, (FLAGS, COUNTS, PLACES, PLAIN))) == len(EXEMPT)
    assert not [name for name in EXEMPT if has_unit(name)]


def test_the_walk_sees_the_models() -> None:
    names = {model.__name__ for model in public_models()}
    assert names >= {
        "Fleet",
        "FleetPool",
        "Pool",
        "Plan",
        "Ledger",
        "Problem",
        "Shape",
        "MemoryLedger",
        "Architecture",
        "GpuType",
        "StepTime",
        "WorkloadRow",
    }
