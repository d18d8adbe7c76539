"""Python that the documents show: it runs as shown, beside the small fleet of the tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT
from tests.ullage.commands import write_fleet

BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
WITH_PYTHON = [document for document in DOCUMENTS if BLOCK.search(document.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("document", WITH_PYTHON, ids=lambda document: str(document.relative_to(ROOT)))
def test_python_runs_as_shown(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_fleet(tmp_path / "fleet.yaml")
    names: dict[str, object] = {}
    for block in BLOCK.findall(document.read_text(encoding="utf-8")):
        exec(block, names)


def test_there_is_some() -> None:
    assert ROOT / "docs" / "notebook.md" in WITH_PYTHON
