"""When may a replica be started again? At once after a first death, later and later after failed starts, not at all after three that
would fail for the same reason every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

_MOST_DOUBLINGS = 60


@dataclass(frozen=True, slots=True)
class BackOff:
    """Waits after failures: base_s after the first, twice as long after each further one, at most longest_s; jitter on top.

    A replica that ran stable_s without failing has no past. After `held_after` failures that would happen again with the same command,
    nothing is tried any more.
    """

    base_s: float = 5.0
    longest_s: float = 300.0
    jitter_fraction: float = 0.2
    stable_s: float = 600.0
    held_after: int = 3


@dataclass(frozen=True, slots=True)
class Attempt:
    """The failures of a replica since it last ran well. Times are of a clock that never goes back, in seconds.

    command_hash is of the command that failed: another one begins anew. pid is of the last process whose end was counted.
    """

    name: str
    command_hash: str
    failures: int
    permanent: bool
    reason: str
    failed_at_s: float
    retry_at_s: float
    pid: int = 0


class Attempts:
    """What has failed, by replica."""

    def __init__(self, back_off: BackOff, draw: Callable[[], float], known: Iterable[Attempt] = ()) -> None:
        """Draw gives random numbers from 0 to below 1; known is what an earlier process remembers."""
        self._back_off = back_off
        self._draw = draw
        self._attempts = {attempt.name: attempt for attempt in known}

    @property
    def all(self) -> tuple[Attempt, ...]:
        """By name, to be kept over a restart."""
        return tuple(attempt for _, attempt in sorted(self._attempts.items()))

    def failed(self, name: str, command_hash: str, reason: str, now_s: float, *, permanent: bool = False) -> None:
        """It failed to start, or did not last."""
        before = self._attempts.get(name)
        same = before is not None and before.command_hash == command_hash
        failures = 1 + (before.failures if same and before is not None else 0)
        # more doublings than that are longer than anybody waits, and in the end more than a number can hold
        doublings = min(failures - 1, _MOST_DOUBLINGS)
        wait_s = min(self._back_off.base_s * 2.0**doublings, self._back_off.longest_s)
        wait_s *= 1 + self._back_off.jitter_fraction * self._draw()
        pid = before.pid if before is not None else 0
        self._attempts[name] = Attempt(name, command_hash, failures, permanent, reason, now_s, now_s + wait_s, pid)

    def died(self, name: str, command_hash: str, pid: int, reason: str, now_s: float, *, permanent: bool = False) -> None:
        """The process with this pid ran and is at its end; each counts once, also where it is seen again after a restart of the loop.

        The first time it may start again at once: what ran well dies of something else.
        """
        before = self.before(name, command_hash)
        if before is not None and before.pid == pid:
            return
        self.failed(name, command_hash, reason, now_s, permanent=permanent)
        retry_at_s = now_s if before is None else self._attempts[name].retry_at_s
        self._attempts[name] = replace(self._attempts[name], pid=pid, retry_at_s=retry_at_s)

    def ready(self, name: str, now_s: float) -> None:
        """It runs; what failed long enough ago is forgotten."""
        attempt = self._attempts.get(name)
        if attempt is not None and now_s - attempt.failed_at_s >= self._back_off.stable_s:
            del self._attempts[name]

    def before(self, name: str, command_hash: str) -> Attempt | None:
        """What is remembered of it with this command."""
        attempt = self._attempts.get(name)
        return attempt if attempt is not None and attempt.command_hash == command_hash else None

    def refusal(self, name: str, command_hash: str, now_s: float) -> str | None:
        """Why it may not be started now; None when it may."""
        attempt = self.before(name, command_hash)
        if attempt is None:
            return None
        times = f"failed {attempt.failures} times" if attempt.failures > 1 else "failed"
        if attempt.permanent and attempt.failures >= self._back_off.held_after:
            return (
                f"is held: it {times}, and the same command will fail again; change the plan, or mend the cause and run "
                f"`ullage reconcile --retry`: {attempt.reason}"
            )
        if now_s < attempt.retry_at_s:
            return f"{times}, is tried again in {attempt.retry_at_s - now_s:.0f} s: {attempt.reason}"
        return None

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget replicas that nobody wants any more."""
        wanted = set(names)
        self._attempts = {name: attempt for name, attempt in self._attempts.items() if name in wanted}
