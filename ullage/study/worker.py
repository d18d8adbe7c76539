"""A process that solves scenarios: a question in the first line of its input, then a scenario per line; a row per line of its output.

Text instead of pickled objects, and a process of our own instead of multiprocessing: a notebook or script is never imported again by it.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from ullage.study.question import solver_of_document
from ullage.study.scenarios import scenario_of_document


def main() -> None:
    """Answer until the input ends. Ctrl-C is for whoever started the process, who then closes the input or ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # libraries that print do it into the standard output: what belongs there goes by a copy of it
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    solver = solver_of_document(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        row = solver.row(scenario_of_document(json.loads(line)))
        answers.write(f"{row.model_dump_json()}\n")
        answers.flush()


if __name__ == "__main__":
    main()
