"""The examples in the docstrings of what makes names and YAML."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderers import names, yaml_document
from renderers.kubernetes import kube_names


@pytest.mark.parametrize("module", [names, yaml_document, kube_names], ids=lambda module: str(module.__name__))
def test_examples_hold(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert failed == 0
    assert tried > 0


@given(name=st.text(max_size=80))
def test_every_name_becomes_one_that_services_may_have(name: str) -> None:
    label = kube_names.dns_label(name)
    assert label.isascii()
    assert label[0].isalpha()
    assert label[-1] != "-"
    assert set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(label) <= kube_names.LONGEST
