"""Causes of failed starts that we see ourselves, where the engine's log shows none."""

from __future__ import annotations

from profiles.sources.failure_causes import CAUSE_BY_NAME, FailureCause

TIMEOUT = FailureCause(
    "timeout", False, "see in the log what it waits for: a slow disk or network makes a start long, a neighbour on its GPU makes it longer"
)
EXITED = FailureCause("exited", False, "see the log for why it ended; its last lines often name the setting")
FOREIGN = FailureCause(
    "foreign", False, "another program took the port meanwhile: stop it, or change `ports` of the fleet file and plan again"
)
DEVICE = FailureCause("device", False, "look at the GPU with nvidia-smi; the message says what its driver answered")
MPS_DAEMON = FailureCause(
    "mps_daemon",
    False,
    "see its log: the GPU may have another MPS daemon, or be in a compute mode that refuses one; or take `mps` out of the pool's `sharing`",
)
API_KEY = FailureCause("api_key", True, "set VLLM_API_KEY to the key that the engine was started with, or destroy it and apply again")
PORT = CAUSE_BY_NAME["port"]
