"""Flags of `vllm serve` that a user may add to those of the plan: not those that the plan owns, nor those whose cost it cannot count."""

from __future__ import annotations

from planner.plan.bounds import PlanPart
from profiles.speculation import FLAG

# What the plan decides, or renders for every engine.
OWNED = frozenset(
    {
        *("dtype", "enable-lora", "enable-sleep-mode", "enforce-eager", "gpu-memory-utilization", "host", "kv-cache-dtype"),
        *("kv-cache-memory-bytes", "lora-modules", "max-lora-rank", "max-loras", "max-model-len", "max-num-batched-tokens", "max-num-seqs"),
        *(
            "model",
            "port",
            "quantization",
            "revision",
            "scheduling-policy",
            "served-model-name",
            "shutdown-timeout",
            "stream-interval",
            "tensor-parallel-size",
        ),
        *("grpc-port", "headless", "runner", "uds"),
    }
)
# What changes memory and step times, and is counted: speculative decoding (profiles.speculation).
COUNTED = frozenset({FLAG})
# Beginnings of flags that change memory, processes or step times, which the ledger and the forecasts do not count.
UNCOUNTED = (
    *("additional-config", "attention-config", "block-size", "compilation-config", "config", "cp-", "cpu-offload"),
    *("cudagraph", "data-parallel", "dcp-", "decode-context", "default-mm-loras", "device-memory", "disable-hybrid"),
    *("distributed-", "enable-dbo", "enable-eplb", "enable-expert-parallel", "eplb", "fully-sharded", "hf-overrides"),
    *("kv-cache-dtype-skip", "kv-offloading", "kv-sharing", "kv-transfer", "lora-", "mamba-", "max-cpu-loras"),
    *("max-parallel", "mm-ipc-gpu", "model-class", "model-impl", "nnodes", "node-rank", "num-gpu-blocks", "offload-"),
    *("optimization-level", "pipeline-parallel", "prefill-context", "quantization-config", "spec-", "speculative"),
    *("ubatch", "worker-"),
)
# Secrets never stand on a command line, where every user of the machine can read them.
SECRET = ("api-key", "hf-token")

# Words for a flag that takes no value.
YES, NO = frozenset({"true", "yes", "on"}), frozenset({"false", "no", "off"})


class ExtraArg(PlanPart):
    """One flag without its dashes, and its value; of a flag that takes none, a word of YES or NO."""

    flag: str
    value: str


def refusal(flag: str) -> str | None:
    """Why a flag (without its dashes) may not be added; None when it may.

    >>> refusal("tool-call-parser")
    >>> refusal("port")
    'is decided by the plan'
    >>> refusal("disable-sleep-mode")
    'is decided by the plan'
    """
    name = flag.removeprefix("no-")
    names = {name, _opposite(name)}
    if names & OWNED:
        return "is decided by the plan"
    if name in SECRET:
        return "is a secret, which never stands on a command line; set VLLM_API_KEY or HF_TOKEN in the environment"
    if flag not in COUNTED and any(each.startswith(UNCOUNTED) for each in names):
        return "changes memory, processes or step times, which the plan does not count for it"
    return None


def _opposite(name: str) -> str:
    """What the flag is called when it says the opposite, since vLLM 0.33: disable-x for enable-x."""
    verb, dash, rest = name.partition("-")
    return {"enable": "disable", "disable": "enable"}.get(verb, verb) + dash + rest
