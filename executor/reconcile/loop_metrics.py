"""What the loop tells about itself on /metrics, in the text format of Prometheus."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from executor.errors import ExecutorError
from executor.reconcile.memory import PassReport

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_HOST = "127.0.0.1"


class LoopMetrics:
    """Counts over the passes of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Clock gives seconds and never goes back."""
        self._clock = clock
        self._passes: dict[str, int] = dict.fromkeys(("steady", "changed", "failed", "busy"), 0)
        self._seconds = 0.0
        self._actions = 0
        self._failures = 0
        self._drift = 0
        self._drift_since_s: float | None = None
        self._last_s: float | None = None

    def add(self, report: PassReport) -> None:
        """Count a pass."""
        self._passes[report.outcome] += 1
        self._seconds += report.duration_s
        self._actions += len(report.actions)
        self._failures += len(report.failures)
        self._last_s = self._clock()
        if report.outcome == "busy":
            # nothing was looked at
            return
        self._drift = len(report.drift)
        if not report.drift and not report.failures:
            self._drift_since_s = None
        elif self._drift_since_s is None:
            self._drift_since_s = self._clock()

    def text(self) -> str:
        """The page. drift_age is 0 while all is as planned."""
        now_s = self._clock()
        drift_age_s = 0.0 if self._drift_since_s is None else now_s - self._drift_since_s
        since_s = 0.0 if self._last_s is None else now_s - self._last_s
        lines = ["# HELP ullage_reconcile_passes_total Passes by outcome.", "# TYPE ullage_reconcile_passes_total counter"]
        lines += [f'ullage_reconcile_passes_total{{outcome="{outcome}"}} {count}' for outcome, count in self._passes.items()]
        lines += _series("passes_seconds_total", "counter", "Time spent in passes.", f"{self._seconds:.6f}")
        lines += _series("actions_total", "counter", "Actions that were done.", str(self._actions))
        lines += _series("failures_total", "counter", "Actions and passes that failed.", str(self._failures))
        lines += _series("drift", "gauge", "Differences to the plan that the last pass left.", str(self._drift))
        lines += _series("drift_age_seconds", "gauge", "How long something has not been as planned.", f"{drift_age_s:.3f}")
        lines += _series("last_pass_age_seconds", "gauge", "Time since the last pass ended.", f"{since_s:.3f}")
        return "\n".join(lines) + "\n"


def _series(name: str, kind: str, words: str, value: str) -> list[str]:
    full = f"ullage_reconcile_{name}"
    return [f"# HELP {full} {words}", f"# TYPE {full} {kind}", f"{full} {value}"]


@asynccontextmanager
async def serving(port: int | None) -> AsyncIterator[LoopMetrics]:
    """Metrics, served on a port of 127.0.0.1 meanwhile; None serves nothing. Raises ExecutorError when the port is taken."""
    metrics = LoopMetrics()
    if port is None:
        yield metrics
        return

    async def answer(request: web.Request) -> web.Response:
        del request
        return web.Response(text=metrics.text(), headers={"Content-Type": _TEXT})

    application = web.Application()
    application.router.add_get("/metrics", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, _HOST, port).start()
        except OSError as error:
            raise ExecutorError(f"--metrics-port {port}: cannot be listened on: {error.strerror or error}; give another one") from error
        yield metrics
    finally:
        await runner.cleanup()
