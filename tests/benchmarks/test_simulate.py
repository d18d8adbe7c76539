"""The benchmark of the simulation prints its figures, and both of its ways agree."""

from __future__ import annotations

import json

import pytest

from benchmarks.simulate import RESIDENTS, main


def test_the_summary_line_has_every_load(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "0.1", "--loads", "clients,0.1", "--agreement-seconds", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert found["agreement"] == []
    assert [row["load"] for row in found["loads"]] == ["clients", "0.1"]
    assert [json.loads(line) for line in lines[:-1]] == found["loads"]
    for row in found["loads"]:
        assert row["replicas"] == sum(RESIDENTS) == 20
        assert row["requests"] > 0
        assert row["largest_difference_s"] <= 1e-9


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--loads", "0.1,x"], "'x' is no number"), (["--minutes", "0"], "must be more than 0")]
)
def test_arguments_that_are_not_what_they_should_be(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
