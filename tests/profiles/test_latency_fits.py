"""Reading of fits, and what every shipped one holds."""

from dataclasses import fields

import pytest
import yaml

from profiles.fields import FieldError
from profiles.latency.fits import COEFFICIENT_NAMES, DISTANCES, NEAR_DISTANCES, Coefficients, fit_for, fit_text, read_fit
from profiles.latency.fitting import PRIORS
from profiles.latency.steptime import multiplier

ENGINES = ("sglang", "trtllm", "vllm")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shipped_fit_survives_its_own_text_and_keeps_within_its_bounds(engine: str) -> None:
    fit = fit_for(engine)
    assert read_fit("again", fit_text(fit)) == fit
    assert fit.engine == engine
    assert set(fit.residuals) == set(DISTANCES)
    for name in COEFFICIENT_NAMES:
        prior = PRIORS[name]
        assert prior.low * 0.999 <= getattr(fit.coefficients, name) <= prior.high * 1.001
    assert all(tuple(found) == NEAR_DISTANCES for found in fit.generation_residuals.values())
    for found in (*fit.residuals.values(), *(found for held in fit.generation_residuals.values() for found in held.values())):
        assert multiplier(found.tpot_quantiles, 0.1) < 1.0 < multiplier(found.tpot_quantiles, 0.9)


def test_every_coefficient_has_a_prior() -> None:
    assert set(PRIORS) == {field.name for field in fields(Coefficients)}


def test_an_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no latency fit for engine 'tgi' \\(known: sglang, trtllm, vllm\\)"):
        fit_for("tgi")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("rows",), 0, "bad.yaml: rows: must be at least 1"),
        (("coefficients", "fixed_s"), -1.0, "bad.yaml: coefficients.fixed_s: must be a finite number above 0"),
        (("coefficients", "fixed_s"), float("nan"), "bad.yaml: coefficients.fixed_s"),
        (("coefficients", "speed"), 1.0, "speed"),
        (
            ("generation_residuals", "9.0", "known", "ttft"),
            [],
            "bad.yaml: generation_residuals.9.0.known.ttft: must have at least one pair",
        ),
        (("generation_residuals", "9.0", "roofline"), {}, "roofline"),
        (("residuals", "known", "tpot"), [], "bad.yaml: residuals.known.tpot: must have at least one pair"),
        (("residuals", "known", "tpot"), [[0.1, 1.0], [0.1, 1.1]], r"bad.yaml: residuals.known.tpot\[1\]"),
        (("residuals", "known", "tpot"), [[0.1, 1.1], [0.9, 1.0]], "multipliers must not fall"),
        (("residuals", "known", "ttft"), [[0.5, "one"]], "must be a pair of a quantile and a multiplier"),
    ],
)
def test_what_is_wrong_is_named(path: tuple[str, ...], value: object, message: str) -> None:
    content = yaml.safe_load(fit_text(fit_for()))
    target = content
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(FieldError, match=message):
        read_fit("bad.yaml", yaml.safe_dump(content))


@pytest.mark.parametrize("text", ["", "[]", "a: [", "just text"])
def test_texts_that_are_no_fit_are_refused(text: str) -> None:
    with pytest.raises(FieldError, match=r"^bad\.yaml: "):
        read_fit("bad.yaml", text)
