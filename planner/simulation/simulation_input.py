"""What a simulation is given: engines, GPUs, requests and routes, without any plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from planner.simulation.engine_requests import EngineConfig
from profiles.latency.steptime import StepTime

Routes = Mapping[str, tuple[tuple[str, int], ...]]
"""Served name -> (engine name, weight) pairs; weights are whole numbers of any sum."""

Longer = Mapping[str, tuple[int, str]]
"""Served name -> (tokens, served name): requests for the first with prompts of more tokens take the route of the second."""


@dataclass(frozen=True, slots=True)
class SimulatedEngine:
    """One engine. Engines with the same gpu_key share that compute in equal slices; an exclusive GPU, a MIG slice or a tensor-parallel
    block is a key of its own. kv_mib is the memory of its KV pool on one GPU and only weighs means over a GPU's engines. own_threads: it
    and its neighbours share by MPS, each with threads of its own, so that all work at once; its step time is that of its threads.
    """

    name: str
    config: EngineConfig
    step_time: StepTime
    gpu_key: str
    kv_mib: int
    own_threads: bool = False


@dataclass(frozen=True, slots=True)
class SimulatedGpu:
    """A GPU to report on: the keys its compute consists of, each with its share of the GPU's compute (whole GPU: 1.0).

    A key named by several GPUs is a tensor-parallel block.
    """

    name: str
    parts: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """One request of a workload, for the model name it asks for; a smaller priority goes first where its engine looks at it."""

    workload: str
    served_name: str
    arrival_s: float
    input_tokens: int
    output_tokens: int
    cached_prefix_tokens: int = 0
    priority: int = 0
