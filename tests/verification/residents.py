"""Residents of one GPU that several tests share."""

from __future__ import annotations

from dataclasses import replace

from planner.simulation.engine_requests import EngineConfig
from planner.simulation.offered_load import OfferedLoad
from planner.simulation.simulation_input import SimulatedEngine
from planner.verification import JudgedResident, JudgeEffort
from profiles.latency.mix import RequestMix
from profiles.latency.steptime import StepTime

CONSTANT = StepTime(base_s=0.02, per_token_s=1e-4, per_kv_token_s=2e-8, residual_quantiles=(), provenance="test")
SPREAD = replace(CONSTANT, residual_quantiles=((0.1, 0.9), (0.5, 1.0), (0.9, 1.25)))
SMALL = JudgeEffort(rarest_requests=100, most_requests=600)


def resident(name: str, rate_rps: float = 1.0, step: StepTime = CONSTANT, gpu_key: str = "gpu", burstiness: float = 1.0) -> JudgedResident:
    """A workload of short chats with an engine of its own: 1 s to the first token, 0.1 s for each further one."""
    config = EngineConfig(kv_blocks=4000, block_size=16, max_num_seqs=64, max_num_batched_tokens=2048, max_model_len=2048)
    load = OfferedLoad(name, name, rate_rps, RequestMix(200, 30, 600, 90, burstiness=burstiness), 2048)
    return JudgedResident(SimulatedEngine(f"{name}-0", config, step, gpu_key, 1000), load, 1.0, 0.1)
