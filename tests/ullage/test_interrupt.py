"""Ctrl-C at any moment is a word and an exit code, never a traceback or silence."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from executor.events import Event
from tests.ullage.commands import ullage
from ullage.cli import main, run
from ullage.inputs import write_text


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(130)])
def test_an_interrupt_is_told(raised: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: list[str], prog_name: str) -> None:
        raise raised

    monkeypatch.setattr(main, "app", interrupted)
    result = ullage("replay", "plan.json")
    assert (result.code, result.out, result.err) == (130, "", "interrupted\n")


def test_a_reader_that_went_away_does_not_stop_an_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(line: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(typer, "echo", broken)
    run.print_event(Event("done", 1, 2, "stop", "small-0"))


def test_a_read_only_file_system_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ValueError, match=r"plan\.json: cannot be written: Read-only file system"):
        write_text(tmp_path / "plan.json", "text")
