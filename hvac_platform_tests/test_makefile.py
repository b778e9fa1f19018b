"""What make would do: nothing here is carried out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from devtools import PROJECT_ROOT

pytestmark = pytest.mark.skipif(
    not (PROJECT_ROOT / ".venv" / ".installed").exists(), reason="the checkout has no .venv of make setup"
)


def make(*arguments: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=PROJECT_ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def other_python(tmp_path):
    """An interpreter that says that it is another one."""
    path = tmp_path / "python9"
    path.write_text(f'#!/bin/sh\ncase "$2" in *base_prefix*) echo other;; *) exec {sys.executable} "$@";; esac\n')
    path.chmod(0o755)
    return str(path)


def test_another_python_makes_the_environment_anew(other_python):
    for said in (make("setup", f"PYTHON={other_python}"), make("setup", PYTHON=other_python)):
        assert f"rm -rf {PROJECT_ROOT}/.venv" in said
        assert "-m venv" in said


def test_the_same_python_or_none_named_keeps_it():
    assert "rm -rf" not in make("setup", f"PYTHON={PROJECT_ROOT}/.venv/bin/python")
    assert "rm -rf" not in make("setup")


def test_setup_is_what_make_alone_does():
    assert make() == make("setup")
