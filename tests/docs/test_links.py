"""Links between documents lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, anchors, links


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(document: Path) -> None:
    for target in links(document):
        name, _, anchor = target.partition("#")
        file = document if not name else document.parent / name
        assert file.exists(), f"{document.relative_to(ROOT)} links to {target}"
        assert not anchor or anchor in anchors(file), f"{document.relative_to(ROOT)}: {target} has no such heading"


def test_the_readme_leads_to_every_document() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop().resolve()
        if document not in seen:
            seen.add(document)
            waiting += [
                document.parent / target.partition("#")[0] for target in links(document) if target.partition("#")[0].endswith(".md")
            ]
    lost = [str(document.relative_to(ROOT)) for document in DOCUMENTS if document.parent == ROOT / "docs" and document not in seen]
    assert lost == []
