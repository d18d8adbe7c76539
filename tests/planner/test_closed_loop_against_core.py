"""The closed loop in closed form against clients that drive the step core, step by step."""

import random
from dataclasses import dataclass, field, replace
from statistics import fmean, median

import pytest

from planner.simulation.configuration import engine_config
from planner.simulation.core import EngineCore
from planner.simulation.engine_requests import EngineRequest
from planner.simulation.engine_steps import seconds
from profiles.catalogue import builtin
from profiles.latency.closed_loop import ClosedLoop, closed_loop_latency
from profiles.latency.fits import fit_for
from profiles.latency.steptime import StepTime, step_time
from profiles.settings import EngineSettings

SETTINGS = EngineSettings(max_model_len=16_384, max_num_batched_tokens=8192, max_num_seqs=1024)
# Requests per client; the first ones of all arrive together, as in the runs the model was fitted on.
PER_CLIENT = 10


@dataclass(slots=True)
class Clients:
    """Clients that ask again as soon as they are answered; lengths are drawn evenly from 80 - 100 % of the given ones."""

    core: EngineCore
    step_time: StepTime
    inputs: int
    outputs: int
    count: int
    draw: random.Random = field(default_factory=lambda: random.Random(1))
    now_s: float = 0.0
    arrived_s: dict[str, float] = field(default_factory=dict)
    first_s: dict[str, float] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)

    def ask(self) -> None:
        name = str(len(self.arrived_s))
        outputs = round(self.outputs * self.draw.uniform(0.8, 1.0))
        self.core.add(EngineRequest(name, round(self.inputs * self.draw.uniform(0.8, 1.0)), outputs))
        self.arrived_s[name], self.lengths[name] = self.now_s, outputs

    def run(self) -> tuple[float, float]:
        """Mean TTFT and TPOT, without what passes outside the engine."""
        for _ in range(self.count):
            self.ask()
        ttft_s: list[float] = []
        tpot_s: list[float] = []
        while (step := self.core.schedule()) is not None:
            self.now_s += seconds(self.step_time, step)
            result = self.core.finish(step)
            for name in result.first:
                self.first_s[name] = self.now_s
                ttft_s.append(self.now_s - self.arrived_s[name])
            for name in result.ended:
                tpot_s.append((self.now_s - self.first_s[name]) / (self.lengths[name] - 1))
                if len(self.arrived_s) < PER_CLIENT * self.count:
                    self.ask()
        return fmean(ttft_s), fmean(tpot_s)


CASES = [
    (model, size, inputs, outputs, clients)
    for model, size in (("meta-llama/Llama-3.1-8B", 1), ("Qwen/Qwen3-30B-A3B", 1), ("Qwen/Qwen3-32B", 2))
    for inputs, outputs in ((1000, 128), (4000, 256), (200, 300))
    for clients in (2, 16, 64)
]


def error_fractions(model: str, size: int, inputs: int, outputs: int, clients: int) -> tuple[float, float]:
    """Closed form over simulation, less one, of TTFT and TPOT."""
    architecture = builtin().model(model)
    settings = replace(SETTINGS, tensor_parallel_size=size)
    step = step_time(architecture, builtin().gpu("H200"), settings)
    core = EngineCore(engine_config(architecture, settings, 60 << 30))
    ttft_s, tpot_s = Clients(core, step, inputs, outputs, clients).run()
    load = ClosedLoop(0.9 * inputs, 0.9 * outputs, clients, constant_lengths=False)
    found = closed_loop_latency(step, load, fit_for().coefficients, settings.max_num_batched_tokens)
    return (found.ttft_s - step.frontend_s) / ttft_s - 1, found.tpot_s / tpot_s - 1


def test_the_closed_form_agrees_with_the_step_core() -> None:
    errors = [error_fractions(*case) for case in CASES]
    tpot = [abs(error) for _, error in errors]
    assert median(tpot) < 0.03
    assert max(tpot) < 0.10


@pytest.mark.parametrize("clients", [4, 64])
def test_time_to_first_token_is_of_the_right_size(clients: int) -> None:
    """The fitted part of it describes real clients, which the core does not have: they miss a step on their way."""
    ttft_error, _ = error_fractions("Qwen/Qwen3-32B", 2, 4000, 256, clients)
    assert -0.4 < ttft_error < 0.6
