"""In what condition is a replica? Judged from several looks at it, so that one late answer changes nothing.

An engine hangs when requests run in it while its counters stand still, when it does not answer at all, or when an idle one makes no
token: `/health` of a hung vLLM still says 200.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from executor.backends.protocol import Answer, EngineLoad, Observed

HealthKind = Literal["ready", "suspect", "dead", "hung", "other_command", "few_kv_blocks", "denied"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long something may last before it counts, in seconds.

    silent_s: no answer at all; still_s: requests that run without progress; try_every_s, try_limit_s: how often an idle replica is
    tried with a request of one token, and how long that may take. Our choice: a step of a busy engine takes well below a second, a
    prefill in chunks a few of them.
    """

    silent_s: float = 30.0
    still_s: float = 30.0
    try_every_s: float = 60.0
    try_limit_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Health:
    """suspect: perhaps hung, to be looked at again; detail is for people, empty for a ready one."""

    kind: HealthKind
    detail: str = ""


@dataclass(slots=True)
class _Memory:
    """What is remembered of one process. Times are of the caller's clock, None while nothing is wrong."""

    pid: int
    progress: tuple[int | None, ...] = ()
    still_since_s: float | None = None
    silent_since_s: float | None = None
    bad_looks: int = 0
    tried_at_s: float | None = None
    failed_tries: int = 0


READY = Health("ready")
DEAD = Health("dead", "does not run")
# So many looks must agree, however far apart they are: one or two late answers are none too many on a busy machine.
_LOOKS = 3


class HealthWatch:
    """Remembers the replicas between two looks."""

    def __init__(self, patience: Patience) -> None:
        """Nothing was seen yet."""
        self.patience = patience
        self._seen: dict[str, _Memory] = {}

    def judge(self, name: str, seen: Observed | None, answer: Answer, now_s: float) -> Health:
        """The condition by process and counters; now_s is of a clock that never goes back."""
        if seen is None or not seen.alive:
            self._seen.pop(name, None)
            return DEAD
        memory = self._seen.get(name)
        if memory is None or memory.pid != seen.pid:
            memory = self._seen[name] = _Memory(seen.pid)
        if answer.denied:
            return Health("denied", "runs, but demands an API key that ours is not: set VLLM_API_KEY to the one it was started with")
        if not answer.names or answer.load is None:
            memory.bad_looks = 1 if memory.silent_since_s is None else memory.bad_looks + 1
            memory.silent_since_s = now_s if memory.silent_since_s is None else memory.silent_since_s
            return _lasting("does not answer", now_s - memory.silent_since_s, self.patience.silent_s, memory.bad_looks)
        memory.silent_since_s = None
        if answer.load.asleep:
            # it does what it is to do, also when requests wait in it
            memory.still_since_s, memory.failed_tries = None, 0
            return READY
        return self._by_progress(memory, answer.load, now_s)

    def _by_progress(self, memory: _Memory, load: EngineLoad, now_s: float) -> Health:
        progress = (load.generated_tokens, load.prompt_tokens, load.steps)
        if progress != memory.progress:
            memory.progress, memory.still_since_s, memory.failed_tries = progress, None, 0
            memory.tried_at_s = now_s
            return READY
        if not load.running + load.waiting:
            memory.still_since_s = None
            return READY if not memory.failed_tries else Health("suspect", "an idle engine did not answer a request of one token")
        memory.bad_looks = 1 if memory.still_since_s is None else memory.bad_looks + 1
        memory.still_since_s = now_s if memory.still_since_s is None else memory.still_since_s
        what = f"{load.running} requests run and {load.waiting} wait, and no step is made"
        return _lasting(what, now_s - memory.still_since_s, self.patience.still_s, memory.bad_looks)

    def to_try(self, name: str, answer: Answer, now_s: float) -> bool:
        """Whether an idle replica, judged before, is to be tried with a request now."""
        memory = self._seen.get(name)
        if memory is None or answer.load is None or answer.load.asleep or answer.load.running + answer.load.waiting:
            return False
        due_s = 0.0 if memory.failed_tries else self.patience.try_every_s
        return memory.tried_at_s is None or now_s - memory.tried_at_s >= due_s

    def tried(self, name: str, trouble: str | None, now_s: float) -> Health:
        """The condition after a try: trouble is what went wrong, None when the token came."""
        memory = self._seen[name]
        memory.tried_at_s = now_s
        if trouble is None:
            memory.failed_tries = 0
            return READY
        memory.failed_tries += 1
        kind: HealthKind = "hung" if memory.failed_tries >= _LOOKS else "suspect"
        return Health(kind, f"does not make a token: {trouble}")


def _lasting(what: str, lasted_s: float, limit_s: float, looks: int) -> Health:
    return Health("hung" if lasted_s >= limit_s and looks >= _LOOKS else "suspect", f"{what} for {lasted_s:.0f} s")
