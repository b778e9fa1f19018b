"""Imports between the rooms of the package go downwards only; what CONTRIBUTING says no room imports, none does."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "hvac_platform"
SCIENCE = ("detection", "embedding", "simulation")
FEEDING = ("simulation/streaming.py", "simulation/fleet_seed.py")
"""Modules of simulation that put its readings into the log, for people and benchmarks."""
WITHOUT_DAGSTER = (*SCIENCE, "monitoring", "ingestion", "log", "stores", "dashboard", "alerts", "access")


def room(path: Path) -> str:
    """A folder of the package, or a module beside the folders."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(node: ast.AST) -> Iterator[str]:
    """Modules that code imports, also within functions; not those that only the type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            # "from hvac_platform import x" names a module by its second half.
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from imported(child)


@cache
def imports() -> dict[str, dict[str, str]]:
    """By room, what it imports, each with one file that does: other rooms, and libraries by their first name."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in imported(ast.parse(path.read_text())):
            first, _, rest = name.partition(".")
            other = rest.split(".")[0] if first == "hvac_platform" else first
            if other != room(path):
                found.setdefault(room(path), {}).setdefault(other, path.relative_to(PROJECT_ROOT).as_posix())
    return found


def test_no_rooms_import_each_other_in_a_circle():
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        circle = error.args[1]
        ties = [f"{a} imports {b} in {imports()[a][b]}" for b, a in itertools.pairwise(circle)]
        pytest.fail("; ".join(ties))


@pytest.mark.parametrize("name", WITHOUT_DAGSTER)
def test_a_room_without_dagster_imports_none(name):
    assert {"dagster", "assets", "jobs", "definitions", "resources"} & imports()[name].keys() == set()


@pytest.mark.parametrize("name", SCIENCE)
def test_science_knows_no_store_and_no_log(name):
    for path in (PACKAGE / name).rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix() not in FEEDING:
            rooms = {
                module.split(".")[1] for module in imported(ast.parse(path.read_text())) if "hvac_platform." in module
            }
            assert rooms & {"stores", "log", "ingestion", "monitoring"} == set(), path
