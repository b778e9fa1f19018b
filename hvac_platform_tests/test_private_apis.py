"""What is used of a library beyond its public API stands in one module, which names the versions that it was checked on."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT

FENCES = {
    "hvac_platform.runtime.dagster_private": (("dagster", "dagster-webserver"), ("dagster._", "dagster_webserver")),
    "hvac_platform.log.kafka.kafka_private": (
        ("kafka-python",),
        ("kafka.consumer.", "kafka.protocol", "kafka.record", "kafka.net", "kafka.producer."),
    ),
    "hvac_platform.stores.cassandra_private": (
        ("cassandra-driver",),
        ("cassandra.protocol", "cassandra.cqltypes", "cassandra.connection", "cassandra.marshal"),
    ),
}
"""Module → the distributions whose insides it uses, and where those insides are."""
ATTRIBUTES = {
    "_fetcher",
    "_coordinator",
    "_statements_and_parameters",
    "_base_dir",
    "_conn_string",
    "_db_lock",
    "_initdb",
    "_initialized_dbs",
    "_get_grpc_client_for_termination",
    "_decompressed",
}
"""Attributes of the libraries' own objects that a fence uses."""


def file_of(module):
    return PROJECT_ROOT / (module.replace(".", "/") + ".py")


def inside(name, inner):
    """Whether a module is one of some inner ones, given as beginnings of names."""
    return any(name.startswith(begin) if begin[-1] in "._" else f"{name}.".startswith(f"{begin}.") for begin in inner)


def imported(path):
    """Names of modules that a file imports, also by a string."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module":
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def attributes(path):
    """Names of attributes that a file reads or sets."""
    return {
        node.attr for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Attribute)
    }


def sources():
    """Files of the package; parts of it are links to folders beside it."""
    fences = {file_of(module) for module in FENCES}
    found = {path for folder in ("hvac_platform", "sensors") for path in (PROJECT_ROOT / folder).rglob("*.py")}
    return sorted(found - fences)


def unchecked(module, distribution, installed):
    """What is to be done where another version is installed than a fence was checked on; None where it was."""
    checked = import_module(module).CHECKED_ON
    if installed in checked:
        return None
    return (
        f"{distribution} {installed} is installed, but {module} uses its insides as they are in {', '.join(checked)}: "
        f"compare them, run make test and make integration, and then add {installed} to CHECKED_ON there"
    )


@pytest.mark.parametrize(
    ("module", "distribution"),
    [(module, distribution) for module, (distributions, _) in FENCES.items() for distribution in distributions],
)
def test_the_installed_version_is_one_that_the_fence_was_checked_on(module, distribution):
    said = unchecked(module, distribution, version(distribution))
    assert said is None, said


def test_another_version_is_told_in_one_sentence_with_what_to_do():
    said = unchecked("hvac_platform.log.kafka.kafka_private", "kafka-python", "99.1")
    assert said.startswith("kafka-python 99.1 is installed, but hvac_platform.log.kafka.kafka_private uses its insides")
    assert "add 99.1 to CHECKED_ON there" in said


@pytest.mark.parametrize("module", FENCES)
def test_the_fence_is_where_the_insides_are_used(module):
    _, inner = FENCES[module]
    assert any(inside(name, inner) for name in imported(file_of(module)))


def test_no_other_module_imports_the_insides_of_a_library():
    inner = [begin for _, begins in FENCES.values() for begin in begins]
    files = sources()
    assert len(files) > 150
    found = {
        f"{path.relative_to(PROJECT_ROOT)}: {name}" for path in files for name in imported(path) if inside(name, inner)
    }
    assert found == set()


def test_no_other_module_touches_private_attributes_of_a_librarys_objects():
    assert set().union(*(attributes(file_of(module)) for module in FENCES)) >= ATTRIBUTES - {"_coordinator"}
    found = {
        f"{path.relative_to(PROJECT_ROOT)}: {name}" for path in sources() for name in attributes(path) & ATTRIBUTES
    }
    assert found == set()


def test_a_use_of_the_insides_would_be_found(tmp_path: Path):
    path = tmp_path / "module.py"
    path.write_text(
        "import kafka.record.util\nfrom dagster import _core\nfrom cassandra.protocol import BatchMessage\n"
        "dev = import_module('dagster._cli.dev')\nconsumer._fetcher.close()\n"
    )
    inner = [begin for _, begins in FENCES.values() for begin in begins]
    found = {name for name in imported(path) if inside(name, inner)}
    assert found >= {"kafka.record.util", "dagster._core", "cassandra.protocol", "dagster._cli.dev"}
    assert attributes(path) & ATTRIBUTES == {"_fetcher"}
    path.write_text("from kafka import KafkaConsumer\nimport dagster as dg\nfrom cassandra.cluster import Cluster\n")
    assert not [name for name in imported(path) if inside(name, inner)]
