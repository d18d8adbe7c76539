"""A replica that fails for days."""

from __future__ import annotations

from executor.reconcile.attempts import Attempts, BackOff


def test_waits_do_not_grow_beyond_the_longest_however_often_it_fails() -> None:
    attempts = Attempts(BackOff(), lambda: 0.0)
    now_s = 0.0
    for _ in range(3000):
        attempts.failed("llama-0", "hash", "no luck", now_s)
        [attempt] = attempts.all
        assert now_s < attempt.retry_at_s <= now_s + 300.0
        now_s = attempt.retry_at_s
    assert attempts.refusal("llama-0", "hash", now_s) is None
