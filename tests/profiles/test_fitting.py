"""The fitter: finds what made the rows, is not pulled by single ones, stays where nothing is known, repeats itself."""

from dataclasses import replace

import pytest

from profiles.catalogue import builtin
from profiles.latency.closed_loop import ClosedLoop
from profiles.latency.fits import COEFFICIENT_NAMES, Coefficients
from profiles.latency.fitting import PRIORS, Observation, bare_fit, fitted, left_out, predicted, prior_coefficients
from profiles.latency.linear import solve
from profiles.latency.prediction import PredictedEngine
from profiles.latency.residuals import held_out, quantiles_of, residuals_by_distance, residuals_by_generation, widened
from profiles.settings import EngineSettings

LIKELY = prior_coefficients(PRIORS)
# Off the likely values in what many rows determine.
TRUE = replace(LIKELY, bandwidth_fraction=0.9, compute_fraction=0.6, fixed_s=3e-3, sequence_s=4e-5, frontend_s=0.06)


def rows(found: Coefficients) -> list[Observation]:
    made: list[Observation] = []
    for model, gpu in (("meta-llama/Llama-3.1-8B", "H100"), ("Qwen/Qwen3-32B", "H100"), ("meta-llama/Llama-3.1-8B", "H200")):
        for size in (1, 4):
            settings = EngineSettings(tensor_parallel_size=size, max_num_batched_tokens=8192)
            engine = PredictedEngine(builtin().model(model), builtin().gpu(gpu), settings)
            for clients in (1, 8, 64):
                for inputs, outputs in ((100, 1000), (1000, 100), (4000, 400)):
                    label = f"{model} {gpu} {size} {clients} {inputs}"
                    row = Observation(label, model, engine, ClosedLoop(inputs, outputs, clients), float("inf"), 1.0, 1.0)
                    latency = predicted(row, bare_fit(found))
                    made.append(replace(row, ttft_s=latency.ttft_s, tpot_s=latency.tpot_s))
    return made


def errors(rows: list[Observation], found: Coefficients) -> list[float]:
    return [abs(predicted(row, bare_fit(found)).tpot_s / row.tpot_s - 1) for row in rows]


def test_rows_of_a_known_engine_are_explained() -> None:
    made = rows(TRUE)
    found = fitted(made)
    assert max(errors(made, found)) < 0.02
    assert max(errors(made, LIKELY)) > 0.2
    assert found.fixed_s == pytest.approx(TRUE.fixed_s, rel=0.25)
    assert found.frontend_s == pytest.approx(TRUE.frontend_s, rel=0.2)
    # no row has experts: nothing is learned of them
    assert found.expert_layer_s == pytest.approx(LIKELY.expert_layer_s)


def test_a_wild_row_pulls_little() -> None:
    made = rows(TRUE)
    wild = [replace(made[0], tpot_s=made[0].tpot_s * 30), *made[1:]]
    assert max(errors(made, fitted(wild))) < 0.05


def test_the_same_rows_give_the_same_numbers_and_none_give_the_likely_ones() -> None:
    made = rows(TRUE)[::6]
    assert fitted(made) == fitted(made)
    empty = fitted([])
    assert all(getattr(empty, name) == pytest.approx(getattr(LIKELY, name)) for name in COEFFICIENT_NAMES)


def test_a_better_start_leads_to_the_same_place() -> None:
    made = rows(TRUE)[::3]
    cold, warm = fitted(made), fitted(made, start=TRUE)
    assert max(errors(made, cold)) == pytest.approx(max(errors(made, warm)), abs=0.01)


def test_no_coefficient_leaves_its_bounds() -> None:
    made = [replace(row, tpot_s=row.tpot_s / 10, ttft_s=row.ttft_s / 10) for row in rows(TRUE)[::6]]
    found = fitted(made)
    for name in COEFFICIENT_NAMES:
        assert PRIORS[name].low * 0.999999 <= getattr(found, name) <= PRIORS[name].high * 1.000001


def test_left_out_rows_are_not_seen() -> None:
    made = rows(TRUE)[::3]
    broken = [replace(row, tpot_s=row.tpot_s * 3) if row.fold.startswith("Qwen") else row for row in made]
    judged = left_out(broken, lambda row: row.fold, PRIORS, LIKELY)
    assert {row.label for row, _ in judged} == {row.label for row in made}
    for row, fit in judged:
        if row.fold.startswith("Qwen"):
            assert row.tpot_s / predicted(row, fit).tpot_s == pytest.approx(3, rel=0.2)


def test_bands_widen_with_the_distance() -> None:
    made = [replace(row, tpot_s=row.tpot_s * (0.9 + 0.02 * (place % 11))) for place, row in enumerate(rows(TRUE)[::2])]
    apart = [(far, row, fit) for _, far, row, fit in held_out(made, PRIORS, fitted(made))]
    found = residuals_by_distance(apart)
    widths = [
        dict(found[name].tpot_quantiles)[0.9] / dict(found[name].tpot_quantiles)[0.1]
        for name in ("other_gpu", "other_generation", "roofline")
    ]
    assert widths == sorted(widths)
    # one generation has no bands beside those of all rows
    assert residuals_by_generation(apart) == {}


def test_quantiles_of_a_sample() -> None:
    found = dict(quantiles_of([float(value) for value in range(101)]))
    assert (found[0.1], found[0.5], found[0.99]) == (10.0, 50.0, 99.0)
    assert dict(quantiles_of([2.0]))[0.9] == 2.0


def test_widening_keeps_the_median_and_is_bounded() -> None:
    wide = dict(widened(((0.1, 0.8), (0.5, 1.1), (0.9, 100.0)), 2.0))
    assert wide[0.5] == 1.1
    assert wide[0.1] == pytest.approx(1.1 * (0.8 / 1.1) ** 2, abs=1e-4)
    assert wide[0.9] == pytest.approx(22.0)


def test_linear_systems() -> None:
    assert solve([[0.0, 2.0], [4.0, 1.0]], [2.0, 9.0]) == pytest.approx([2.0, 1.0])
    assert solve([], []) == []
    with pytest.raises(ValueError, match="singular"):
        solve([[1.0, 2.0], [2.0, 4.0]], [1.0, 1.0])
