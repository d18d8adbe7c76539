"""profile measure: a live engine under rising load."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ullage.measuring import EngineAsked, SweepAsked

STORE_OPTION = typer.Option("--store", help="The folder that holds the measurements.", show_default=True)
JSON_OPTION = typer.Option("--json", help="Print one JSON object instead of text.")
URL_OPTION = typer.Option("--url", help="The live vLLM server: http://HOST:PORT.")
MODEL_OPTION = typer.Option("--model", help="Model it serves: a catalogue name or alias, or its own name.")
GPU_OPTION = typer.Option("--gpu", help="GPU type it runs on: a catalogue name or alias.")
SERVED_OPTION = typer.Option("--served-name", help="Name in the server's API, where it tells nothing of the model.")
MIG_OPTION = typer.Option("--mig-profile", help="MIG profile it runs on.")
TP_OPTION = typer.Option("--tensor-parallel-size", min=1, help="GPUs per layer.")
QUANTIZATION_OPTION = typer.Option("--quantization", help="Weight quantisation; default the checkpoint's own.")
CONCURRENCY_OPTION = typer.Option("--concurrency", help="Clients: 1,2,4; default 1,2,4 and so on to 128.")
INPUT_OPTION = typer.Option("--input-tokens", help="Prompt lengths; default 128,1024.")
OUTPUT_OPTION = typer.Option("--output-tokens", help="Answer lengths; default 128.")
SECONDS_OPTION = typer.Option("--seconds", min=1.0, help="Most time for everything.")
LOAD_SECONDS_OPTION = typer.Option("--load-seconds", min=0.1, help="Most time for one load, without its warm-up.")
CONFIDENCE_OPTION = typer.Option("--confidence", min=0.001, max=1.0, help="A load is known when the mean TPOT is, to this part of it.")
TTFT_OPTION = typer.Option("--ttft-ms", min=0.1, help="TTFT goal: loads far beyond it are left out.")
TPOT_OPTION = typer.Option("--tpot-ms", min=0.1, help="TPOT goal: loads far beyond it are left out.")
REQUEST_OPTION = typer.Option("--request-seconds", min=0.1, help="A request that takes longer has failed.")
AGAIN_OPTION = typer.Option("--again", help="Measure also what the store has.")


def measure(
    url: Annotated[str | None, URL_OPTION] = None,
    model: Annotated[str | None, MODEL_OPTION] = None,
    gpu: Annotated[str | None, GPU_OPTION] = None,
    store: Annotated[Path, STORE_OPTION] = Path("measurements"),
    served_name: Annotated[str | None, SERVED_OPTION] = None,
    mig_profile: Annotated[str | None, MIG_OPTION] = None,
    tensor_parallel_size: Annotated[int, TP_OPTION] = 1,
    quantization: Annotated[str | None, QUANTIZATION_OPTION] = None,
    concurrency: Annotated[str | None, CONCURRENCY_OPTION] = None,
    input_tokens: Annotated[str | None, INPUT_OPTION] = None,
    output_tokens: Annotated[str | None, OUTPUT_OPTION] = None,
    seconds: Annotated[float, SECONDS_OPTION] = 1800.0,
    load_seconds: Annotated[float, LOAD_SECONDS_OPTION] = 60.0,
    confidence: Annotated[float, CONFIDENCE_OPTION] = 0.05,
    ttft_ms: Annotated[float | None, TTFT_OPTION] = None,
    tpot_ms: Annotated[float | None, TPOT_OPTION] = None,
    request_seconds: Annotated[float, REQUEST_OPTION] = 300.0,
    again: Annotated[bool, AGAIN_OPTION] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Measure a live vLLM server under rising load. Each point is kept as it ends: the same command goes on where one stopped.

    Example: ullage profile measure --url http://127.0.0.1:8000 --model llama-3.1-8b --gpu h100
    """
    from executor.measure_rules import Stops
    from ullage.measuring import EngineAsked, SweepAsked

    if url is None or model is None or gpu is None:
        missing = [name for name, value in (("--url", url), ("--model", model), ("--gpu", gpu)) if value is None]
        raise ValueError(f"give {' and '.join(missing)}; `ullage profile measure --help` shows an example")
    stops = Stops(load_seconds, confidence, _s(ttft_ms), _s(tpot_ms))
    loads = (counts("--input-tokens", input_tokens), counts("--output-tokens", output_tokens), counts("--concurrency", concurrency))
    engine = EngineAsked(url, model, gpu, today(), served_name, mig_profile, tensor_parallel_size, quantization)
    _sweep(engine, SweepAsked(stops, seconds, new_seed(), *loads, request_seconds, again), store, as_json)


def counts(option: str, text: str | None) -> tuple[int, ...]:
    """Whole numbers separated by commas, at least 1 each; none for None."""
    if text is None:
        return ()
    numbers = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 10**7 for part in numbers):
        raise ValueError(f"{option} {text}: write whole numbers of at least 1 with commas between them, like 1,2,4")
    return tuple(map(int, numbers))


def today() -> str:
    """The day that points are dated with."""
    return datetime.now(tz=UTC).date().isoformat()


def new_seed() -> int:
    """For prompts that no engine has seen."""
    return secrets.randbits(64)


def _s(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000


def _sweep(engine: EngineAsked, asked: SweepAsked, store: Path, as_json: bool) -> None:
    from ullage.measuring import measure as measured
    from ullage.views.measure_text import measured_text
    from ullage.views.progress import measure_progress

    with measure_progress() as on_progress:
        found = measured(engine, asked, store, on_progress)
    typer.echo(json.dumps(asdict(found), sort_keys=True) if as_json else measured_text(found, store), nl=as_json)
