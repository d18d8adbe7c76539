"""Every benchmark that needs nothing but shipped data, small: whether each still runs, and roughly what it says.

    python -m benchmarks.all_small

Each runs as its own command, one after the other. The last line of standard output is one JSON object: the benchmark's name -> its own
last line. memory, latency, fit_latency and forecast want a table of measurements, held_back a live engine, interference torch; they are
named under `left_out`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "benchmarks" / "fixtures"
SMALL = {
    "churn": ("--steps", "2", "--gpus", "4"),
    "consolidation": (str(ROOT / "examples" / "demo" / "arena27.csv.gz"),),
    "mig_published": (str(FIXTURES / "mig_published.json"),),
    "queueing": (),
    "race": (str(FIXTURES / "race_8.json"),),
    "scale": ("--gpus", "8", "--models", "6", "--seed", "1", "--time-limit", "5"),
    "simulate": ("--minutes", "1", "--loads", "clients,0.1", "--agreement-seconds", "5"),
    "sizing": ("--small",),
    "soak": ("--minutes", "0.3"),
    "whatif": ("--scenarios", "4"),
}
LEFT_OUT = ("fit_latency", "forecast", "held_back", "interference", "latency", "memory")


def main() -> int:
    """Run them all; 1 when one of them fails."""
    found: dict[str, object] = {"left_out": LEFT_OUT}
    failed = False
    for name, arguments in SMALL.items():
        print(f"== {name}", flush=True)
        run = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
        )
        print(run.stdout, end="", flush=True)
        failed = failed or run.returncode != 0
        found[name] = json.loads(run.stdout.splitlines()[-1]) if run.returncode == 0 else f"exit status {run.returncode}"
    print(json.dumps(found, sort_keys=True))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
