from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from renderers.yaml_document import yaml_text
from tests.tools import program

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        "on",
        "No",
        "~",
        "null",
        "1e3",
        "0x1F",
        "012",
        "1_000",
        "=",
        "<<",
        "2024-01-01",
        "- a",
        "a: b",
        "#",
        "a #b",
        "---",
        "...",
        "a\nb\n",
        "\n",
        " a",
    ]
)
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers(-(10**9), 10**9),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXTS, children, max_size=4),
    max_leaves=12,
)


@given(document=st.dictionaries(TEXTS, VALUES, max_size=5))
def test_what_is_written_is_read_again(document: dict[str, Any]) -> None:
    """Invariant 32: no value of a plan can change the structure of a YAML file."""
    assert (yaml.safe_load(yaml_text(document)) or {}) == document


def test_readers_of_other_versions_of_yaml_read_the_same_texts(tmp_path: Path) -> None:
    kubectl = program("kubectl", "kubectl 1.21 or newer")
    texts = [
        "on",
        "No",
        "~",
        "null",
        "1e3",
        "0x1F",
        "0o17",
        "012",
        "1_000",
        "2024-01-01",
        ".5",
        "+1",
        "0b1",
        "1:30",
        "y",
        "a\nb\n",
        "😀\x07",
    ]
    values = {f"key-{index}": text for index, text in enumerate(texts)}
    (tmp_path / "kustomization.yaml").write_text(yaml_text({"resources": ["a.yaml"]}))
    (tmp_path / "a.yaml").write_text(yaml_text({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": values}))
    done = subprocess.run([kubectl, "kustomize", tmp_path], capture_output=True, text=True, check=True)
    assert yaml.safe_load(done.stdout)["data"] == values


@pytest.mark.parametrize("text", ["a\n b\nc\n", "a\n\nb\n", "#!/bin/sh\nexit 0\n"])
def test_texts_of_lines_stand_as_they_are(text: str) -> None:
    written = yaml_text({"a": {"b": text}})
    assert "|\n" in written
    assert yaml.safe_load(written) == {"a": {"b": text}}
