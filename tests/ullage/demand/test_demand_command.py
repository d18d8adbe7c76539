"""ullage demand: a history from a recorded server, a forecast from it, and a plan from that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleets import workload
from tests.ports import free_port
from tests.ullage.commands import ullage, write_fleet
from tests.ullage.demand.recorded_server import TOKEN, UNKNOWN, RecordedServer, recorded_server
from ullage.fleet_spec import load

UNTIL = "2026-11-30T00:00:00Z"


@pytest.fixture
def server() -> Iterator[RecordedServer]:
    with recorded_server() as known:
        yield known


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_fleet(tmp_path / "fleet.yaml")
    return tmp_path


def pull(server: RecordedServer, *more: str) -> tuple[str, ...]:
    return ("demand", "pull", "fleet.yaml", "--prometheus", server.url, "--until", UNTIL, *more)


def test_from_a_server_to_a_plan(server: RecordedServer, folder: Path) -> None:
    result = ullage(*pull(server))
    assert (result.code, result.err) == (0, "")
    assert "small" in result.out
    assert "wrote demand.json; next: ullage demand forecast demand.json" in result.out
    first = (folder / "demand.json").read_bytes()
    assert ullage(*pull(server)).code == 0
    assert (folder / "demand.json").read_bytes() == first
    history = json.loads(first)
    assert (history["start"], history["step_s"], len(history["workloads"]["small"]["rate_rps"])) == ("2026-11-16T00:00:00Z", 3600, 336)

    result = ullage("demand", "forecast", "demand.json", "--holdout", "2d", "-o", "forecast.json")
    assert (result.code, result.err) == (0, "")
    # the weekend that was held out is like last week's, as a forecast by the hour of the week finds too
    assert "seasonal, by hour of the week" in result.out or "as last week, by hour of the week" in result.out
    forecast = json.loads((folder / "forecast.json").read_bytes())["workloads"]["small"]
    assert len(forecast["upper_rps"]) == 168
    assert min(forecast["back_test"]["seasonal_error_fraction"], forecast["back_test"]["compared_error_fraction"]) < 0.2
    assert forecast["back_test"]["inside_fraction"] > 0.8

    workloads = {name: workload(name, demand={"forecast": "./forecast.json"}) for name in ("small", "middle")}
    workloads["large"] = workload("large", demand={"forecast": "./forecast.json", "workload": "small"})
    write_fleet(folder / "fleet.yaml", workloads=workloads)
    result = ullage("plan", "fleet.yaml", "-o", "plan.json")
    assert result.code == 0, result.err
    plan = json.loads((folder / "plan.json").read_bytes())
    assert "./forecast.json" in plan["desired"]["input_hashes"]


def test_a_forecast_is_multiplied_in_what_if_questions(server: RecordedServer, folder: Path) -> None:
    assert ullage(*pull(server)).code == 0
    assert ullage("demand", "forecast").code == 0
    write_fleet(folder / "fleet.yaml", workloads={"small": workload("small", demand={"forecast": "forecast.json"})})
    declared = load("fleet.yaml")
    twice = declared.set("workloads.small.demand.rate", "x2")
    before, after = (spec.resolved().workloads[0].demand.peak_rps for spec in (declared, twice))
    assert after == pytest.approx(2 * before)
    assert twice.set("workloads.small.demand.forecast", "./forecast.json").resolved().workloads[0].demand.peak_rps == before


def test_the_forecast_as_json(server: RecordedServer, folder: Path) -> None:
    assert ullage(*pull(server, "--lookback", "5d", "--step", "15min")).code == 0
    result = ullage("demand", "forecast", "--json", "--band", "0.95")
    assert result.code == 0
    assert json.loads(result.out) == json.loads((folder / "forecast.json").read_bytes())
    assert json.loads(result.out)["band_quantile"] == 0.95


def test_a_token_is_sent_and_kept_nowhere(server: RecordedServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.token = TOKEN
    result = ullage(*pull(server))
    assert (result.code, result.err) == (
        1,
        f"error: {server.url}: HTTP 401: the server wants a token; name its variable with --token-env\n",
    )
    monkeypatch.setenv("PROM_TOKEN", "wrong")
    assert "HTTP 401: the server refuses the token" in ullage(*pull(server, "--token-env", "PROM_TOKEN")).err
    monkeypatch.setenv("PROM_TOKEN", TOKEN)
    result = ullage(*pull(server, "--token-env", "PROM_TOKEN"))
    assert result.code == 0
    assert TOKEN not in result.out + (folder / "demand.json").read_text(encoding="utf-8")


def test_models_without_samples(server: RecordedServer, folder: Path) -> None:
    result = ullage(*pull(server, "--map", f"small={UNKNOWN}", "--map", "middle="))
    assert result.code == 0
    assert (
        f'no sample of vllm:request_success_total in 336 h for small ({{model_name="{UNKNOWN}"}}); the server has requests of '
        in result.err
    )
    assert "qwen3-8b, small; name the right ones with --map; left out" in result.err
    assert list(json.loads((folder / "demand.json").read_bytes())["workloads"]) == ["large"]
    result = ullage(*pull(server, *(word for name in ("small", "middle", "large") for word in ("--map", f"{name}={UNKNOWN}-{name}"))))
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "for large (" in result.err


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"<html>hello</html>", "HTTP 200, and not the answer of a Prometheus; give the address that stands before /api/v1"),
        (502, b"", "HTTP 502, and not the answer"),
        (200, b"[]", "not the answer of a Prometheus"),
        (400, b'{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution"}', "refuses the question: exceeded maximum"),
        (200, b'{"status":"success","data":{"resultType":"vector","result":[]}}', "the answer is no range of values but vector"),
        (200, b'{"status":"success","data":{"resultType":"matrix","result":[]}}', "the server has no series of vLLM's requests"),
    ],
)
def test_answers_that_are_none(server: RecordedServer, folder: Path, status: int, body: bytes, expected: str) -> None:
    server.reply = status, body
    result = ullage(*pull(server))
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert expected in result.err
    assert not (folder / "demand.json").exists()


def test_nobody_listens(folder: Path) -> None:
    result = ullage(*pull(RecordedServer(f"http://127.0.0.1:{free_port()}")))
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "cannot be asked: " in result.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--prometheus", "localhost:9090"), "write an address such as http://127.0.0.1:9090"),
        (("--prometheus", "http://me:secret@127.0.0.1"), "give a token by --token-env"),
        (("--token-env", "NOT_SET_ANYWHERE"), "--token-env NOT_SET_ANYWHERE: this variable is not set, or empty"),
        (("--lookback", "90min"), "--lookback 5400s: must be whole hours"),
        (("--lookback", "two weeks"), "--lookback: 'two weeks' is not a duration"),
        (("--lookback", "99999d"), "is 2.39998e+06 steps; Prometheus answers 11000: take a longer --step"),
        (("--step", "7min"), "--step 420s: must divide an hour"),
        (("--step", "1min"), "in steps of 60 s is 20160 steps; Prometheus answers 11000"),
        (("--until", "yesterday"), "--until: 'yesterday' is no time; write it in UTC, as 2026-11-16T00:00:00Z"),
        (("--map", "smal=x"), "--map smal: the fleet file has no such workload; did you mean 'small'?"),
        (("--map", "small"), "--map small: write WORKLOAD=SELECTOR"),
        (("--map", 'small={tenant="a"} or up'), "are no label matchers"),
        (("--map", "small=middle"), "workloads middle and small have the same series"),
        (("-o", "fleet.yaml"), "would replace the file that is read"),
    ],
)
def test_wrong_options(server: RecordedServer, folder: Path, options: tuple[str, ...], expected: str) -> None:
    result = ullage(*pull(server, *options))
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert expected in result.err
    assert server.questions == []


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("{", (), "demand.json: is no demand history: not JSON"),
        ('{"kind": "demand forecast"}', (), "demand.json: is no demand history: kind is 'demand forecast'"),
        ('{"kind": "demand history", "schema_version": 2}', (), "schema_version is 2, this ullage reads 1"),
        ('{"kind": "demand history", "schema_version": 1, "start": "x", "step_s": 3600}', (), "demand.json: workloads: Field required"),
        ("{}", ("--holdout", "90min"), "--holdout 90min: must be whole hours"),
        ("{}", ("--holdout", "2"), "--holdout: '2' has no unit"),
        ("{}", ("-o", "demand.json"), "would replace the file that is read"),
    ],
)
def test_wrong_histories(folder: Path, text: str, options: tuple[str, ...], expected: str) -> None:
    (folder / "demand.json").write_text(text, encoding="utf-8")
    result = ullage("demand", "forecast", *options)
    assert result.code == 1
    assert expected in result.err
    assert not (folder / "forecast.json").exists()


def test_no_history(folder: Path) -> None:
    assert "there is no such file; `ullage demand pull` writes it" in ullage("demand", "forecast").err
