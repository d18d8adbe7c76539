"""A plan in which engines share GPUs by MPS."""

from __future__ import annotations

from planner.plan import Plan
from tests.plans import plan_of, replica


def mps_plan() -> Plan:
    """Two GPUs: Llama and Qwen divide the threads of GPU 0, and a Mistral that may get neighbours has a part of those of GPU 1."""
    llama = replica("llama-8b-0", mode="mps", args={"active_thread_percentage": 60})
    qwen = replica("qwen3-8b-0", "qwen3-8b", "Qwen/Qwen3-8B", mode="mps", args={"port": 8101, "active_thread_percentage": 40})
    mistral = replica(
        "mistral-7b-0",
        "mistral-7b",
        "mistralai/Mistral-7B-v0.3",
        gpus=(1,),
        mode="mps",
        args={"port": 8102, "active_thread_percentage": 50},
    )
    return plan_of((llama, qwen, mistral), gpu_count=2)
