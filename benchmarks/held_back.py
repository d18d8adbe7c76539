"""How well do measured loads of a live engine predict a load that was held back?

    python -m benchmarks.held_back --url http://127.0.0.1:8000 --model FOLDER_OR_NAME --served-name NAME --gpu cpu

Every load is measured once per pass, as `ullage profile measure` does it. Of each load the least disturbed pass counts (the smallest
TPOT): whoever else uses the machine only ever makes answers later. The band that the other loads predict is compared with what the
held-back one took.
"""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from executor.measure.stops import Stops
from profiles.catalogue import architecture_from_path, builtin
from profiles.latency.closed_loop import ClosedLoop
from profiles.latency.prediction import PredictedEngine, predict_latency
from profiles.models import Architecture
from profiles.settings import EngineSettings
from profiles.store.measurements import LatencyPoint, Measurements
from ullage.profiling.measure import EngineAsked, SweepAsked, measure

INPUT_TOKENS, OUTPUT_TOKENS = 64, 128
CONCURRENCY, HELD_BACK = (1, 2, 4, 8), 4


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True, help="folder of the checkpoint, or a catalogue name")
    parser.add_argument("--served-name", required=True)
    parser.add_argument("--gpu", required=True)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--load-seconds", type=float, default=10.0, help="most time for one load")
    asked = parser.parse_args()
    points = [point for _ in range(asked.passes) for point in _pass(asked)]
    print(json.dumps(compared(points, _architecture(asked), asked.gpu), sort_keys=True))


def _architecture(asked: argparse.Namespace) -> Architecture:
    folder = Path(asked.model)
    found = architecture_from_path(folder) if folder.is_dir() else builtin().model(asked.model)
    return replace(found, name=asked.served_name)


def _pass(asked: argparse.Namespace) -> Sequence[LatencyPoint]:
    engine = EngineAsked(asked.url, asked.served_name, asked.gpu, "2000-01-01")
    # an engine that gets no faster with more clients would end a sweep early: each load is a sweep of its own
    points: list[LatencyPoint] = []
    for clients in CONCURRENCY:
        loads = SweepAsked(
            Stops(asked.load_seconds, 0.02), 600.0, secrets.randbits(64), (INPUT_TOKENS,), (OUTPUT_TOKENS,), (clients,), again=True
        )
        with TemporaryDirectory() as store:
            points += measure(engine, loads, Path(store) / "store", lambda _: None).points
    return points


def compared(points: Sequence[LatencyPoint], architecture: Architecture, gpu: str) -> dict[str, object]:
    """What the other loads predict for the held-back one, beside what it took; TPOT in ms."""
    best = {load: min((p for p in points if p.concurrency == load), key=lambda p: p.tpot_s or 0.0) for load in CONCURRENCY}
    known = Measurements(latency=tuple(point for load, point in best.items() if load != HELD_BACK))
    engine = PredictedEngine(architecture, builtin().gpu(gpu), EngineSettings(dtype="bfloat16", max_model_len=2048, max_num_seqs=16))
    predicted = predict_latency(engine, ClosedLoop(INPUT_TOKENS, OUTPUT_TOKENS, HELD_BACK), known)
    seen_s = best[HELD_BACK].tpot_s or 0.0
    return {
        "held_back_concurrency": HELD_BACK,
        "tpot_ms": {str(load): round((point.tpot_s or 0.0) * 1000, 4) for load, point in best.items()},
        "predicted_p50_ms": round(predicted.tpot.p50_s * 1000, 4),
        "predicted_p10_ms": round(predicted.tpot.p10_s * 1000, 4),
        "predicted_p90_ms": round(predicted.tpot.p90_s * 1000, 4),
        "error_fraction": round(predicted.tpot.p50_s / seen_s - 1, 4),
        "inside_band": predicted.tpot.holds(seen_s),
        "provenance": predicted.provenance,
    }


if __name__ == "__main__":
    main()
