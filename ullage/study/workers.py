"""Scenarios on all cores: a process per core, each with its own stretch of neighbours, and rows as they come."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ullage.study.question import StudyQuestion
from ullage.study.rows import StudyRow, problem_row
from ullage.study.scenarios import Scenario

# Stretches per process: enough that none waits long for the last one, few enough that neighbours stay together.
_STRETCHES = 4

# How long a process may take to end that has closed its output.
_END_S = 10.0


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stretches(scenarios: Sequence[Scenario], processes: int) -> list[Sequence[Scenario]]:
    """Neighbours in a row, several stretches for each process."""
    size = max(1, -(-len(scenarios) // (processes * _STRETCHES)))
    return [scenarios[start : start + size] for start in range(0, len(scenarios), size)]


@dataclass(slots=True)
class Workers:
    """Processes that solve the scenarios of a question. Use it in a with statement: processes end with it, whatever happens."""

    question: StudyQuestion
    count: int
    _running: list[subprocess.Popen[str]] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Workers:
        """Nothing runs before rows() is asked."""
        return self

    def __exit__(self, *raised: object) -> None:
        """End every process, at once."""
        self._ended.set()
        with self._lock:
            for process in self._running:
                process.kill()
        for thread in self._threads:
            thread.join()
        for process in self._running:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                # what it was not told any more is lost with it
                with suppress(OSError):
                    assert pipe is not None
                    pipe.close()

    def rows(self, scenarios: Sequence[Scenario]) -> Iterator[tuple[Scenario, StudyRow]]:
        """Each scenario with its row, in the order in which they are solved."""
        waiting: queue.SimpleQueue[Sequence[Scenario]] = queue.SimpleQueue()
        solved: queue.SimpleQueue[tuple[Scenario, StudyRow] | BaseException] = queue.SimpleQueue()
        for stretch in stretches(scenarios, self.count):
            waiting.put(stretch)
        for number in range(min(self.count, len(scenarios))):
            thread = threading.Thread(target=self._work, args=(waiting, solved), name=f"study-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in scenarios:
            found = _next(solved)
            if isinstance(found, BaseException):
                raise found
            yield found

    def _work(
        self,
        waiting: queue.SimpleQueue[Sequence[Scenario]],
        solved: queue.SimpleQueue[tuple[Scenario, StudyRow] | BaseException],
    ) -> None:
        """Solve stretches in a process until there are none left."""
        try:
            process = self._start()
            while not self._ended.is_set():
                try:
                    stretch = waiting.get_nowait()
                except queue.Empty:
                    break
                for scenario in stretch:
                    row = _asked(process, scenario)
                    if self._ended.is_set():
                        return
                    if row is None:
                        row = problem_row(scenario, _loss(process))
                        process = self._start()
                    solved.put((scenario, row))
        except BaseException as error:  # noqa: BLE001 -- raised again where somebody waits
            solved.put(error)

    def _start(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._ended.is_set():
                raise InterruptedError("the study has ended")
            process = subprocess.Popen(
                [sys.executable, "-m", "ullage.study.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
            self._running.append(process)
        assert process.stdin is not None
        # where it is gone already, whoever asks it will see
        with suppress(OSError):
            process.stdin.write(f"{json.dumps(self.question.document())}\n")
            process.stdin.flush()
        return process


def _next(solved: queue.SimpleQueue[tuple[Scenario, StudyRow] | BaseException]) -> tuple[Scenario, StudyRow] | BaseException:
    """The next answer; waits in short steps, so that Ctrl-C is heard on every system."""
    while True:
        try:
            return solved.get(timeout=1.0)
        except queue.Empty:
            continue


def _asked(process: subprocess.Popen[str], scenario: Scenario) -> StudyRow | None:
    """The row that a process answers with; None when it has died over it."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"{json.dumps(scenario.document())}\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except OSError:
        return None
    return StudyRow.model_validate_json(line) if line else None


def _loss(process: subprocess.Popen[str]) -> str:
    """Why there is no row: how the process ended."""
    try:
        code = process.wait(timeout=_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    return f"the process that planned it {how}; it may have run out of memory: try fewer --workers"
