"""Examples in docstrings say what happens."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

from devtools import PROJECT_ROOT

MODULES = sorted(
    ".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts)
    for path in (PROJECT_ROOT / "hvac_platform").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_there_are_examples():
    assert len(MODULES) > 10


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_come_out_as_written(name):
    module = import_module(name)
    # Examples may use what their module imports under its usual name.
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert tried > 0
    assert failed == 0
