"""The service that the documents show is one that systemd takes."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path

from tests.docs.documents import ROOT
from tests.tools import program

UNIT = re.compile(r"^    # /etc/systemd/system/ullage\.service\n(?:    .*\n|\n)+", re.MULTILINE)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    found = UNIT.search((ROOT / "docs" / "reconcile.md").read_text(encoding="utf-8"))
    assert found is not None
    path = tmp_path / "ullage.service"
    path.write_text(textwrap.dedent(found[0]), encoding="utf-8")
    verified = subprocess.run(
        [program("systemd-analyze", "the package systemd"), "verify", str(path)], check=False, capture_output=True, text=True, timeout=60
    )
    # unknown keys are only warned of
    assert (verified.returncode, verified.stderr) == (0, "")
