"""Ports that stay free between their choice and their use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from executor import ports
from tests.ports import PortBlock


@pytest.mark.parametrize(
    ("given_unasked", "first", "last"),
    [("32768\t60999\n", 10_000, 65_499), ("9000 40000", 40_100, 65_499), ("1024 65535", 10_000, 65_499), ("none", 10_000, 65_499)],
)
def test_rows_leave_out_what_outgoing_connections_get(
    given_unasked: str, first: int, last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "range").write_text(given_unasked)
    monkeypatch.setattr(ports, "_GIVEN_UNASKED", tmp_path / "range")
    rows = ports.lasting_rows(100)
    assert (rows[0][0], rows[-1][-1]) == (first, last)
    assert all(len(row) == 100 for row in rows)


def test_two_test_runs_never_get_the_same_ports() -> None:
    code = "from tests.ports import free_ports; print(free_ports(3)[0], flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        mine = PortBlock()
        assert theirs not in mine._block
        other.communicate("\n")
    os.close(mine.claim_descriptor)


def test_a_block_goes_round() -> None:
    block = PortBlock()
    rows = [block.row(200) for _ in range(4)]
    assert rows[0] == rows[2] != rows[1] == rows[3]
    os.close(block.claim_descriptor)
