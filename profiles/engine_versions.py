"""What a version of vLLM can do that plans rely on: one table, asked by whoever declares, sizes, fits or renders."""

from __future__ import annotations

from dataclasses import dataclass

from profiles.store.versions import version_key


@dataclass(frozen=True, slots=True)
class Ability:
    """Something engines can do from a version on; without says what older ones do instead."""

    first_version: str
    without: str


# vLLM's own history of vllm/engine/arg_utils.py; the exact first release was not re-checked here.
KV_BYTES = Ability("0.11", "cannot be given the size of its KV cache in bytes (--kv-cache-memory-bytes)")
# The V0 engine, the default before 0.8, takes all that is not free on the GPU for its own (vllm/worker/worker.py of 0.6).
OWN_BUDGET = Ability("0.8", "counts what its neighbours hold of the GPU's memory as its own")
# CUDA_VISIBLE_DEVICES=MIG-... ends in an error in versions up to 0.20 (reports to the vLLM project).
MIG_BY_UUID = Ability("0.21", "crashes when its MIG instance is named by UUID, as the one way to give it one is")

# The version whose every flag is known: renderers/vllm/options.
KNOWN_FLAGS = "0.32.0"


def has(version: str, ability: Ability) -> bool:
    """Whether a version of vLLM has an ability; pre-releases of the first one do."""
    return _numbers(version) >= _numbers(ability.first_version)


def _numbers(version: str) -> tuple[int, ...]:
    return version_key(version)[0]


def lacking(version: str, *abilities: Ability) -> str | None:
    """A sentence for those of these that a version has not, and what to do; None when it has all."""
    missing = [ability for ability in abilities if not has(version, ability)]
    if not missing:
        return None
    newest = max((ability.first_version for ability in missing), key=version_key)
    what = " and ".join(f"{ability.without} (right since {ability.first_version})" for ability in missing)
    return f"vLLM {version} {what}; write {newest}.0 or newer"


def plan_reason(version: str) -> str | None:
    """Why engines of a version cannot be planned; None when they can."""
    if has(version, KV_BYTES):
        return None
    return f"{lacking(version, KV_BYTES, OWN_BUDGET)}: plans give every engine its bytes"


def flags_caveat(version: str) -> str | None:
    """That the flags of a version were not read out of it; None where they were."""
    if _numbers(version) == _numbers(KNOWN_FLAGS):
        return None
    return f"flags of vLLM {version} are not known here and taken to be those of {KNOWN_FLAGS}: compare with `vllm serve --help=all`"
