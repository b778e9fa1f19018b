"""Servers from Debian packages: found, named when they are missing, and run by a user who may run them."""

from __future__ import annotations

import os
import subprocess

import pytest

from devtools.services.base import ServiceError
from devtools.services.debian import as_user, give_to, require_program


@pytest.fixture(autouse=True)
def _not_in_continuous_integration(monkeypatch):
    monkeypatch.delenv("CI", raising=False)  # there a missing package would be installed


def test_the_highest_version_is_taken(tmp_path):
    for version in ("9", "15", "14"):
        program = tmp_path / version / "bin" / "initdb"
        program.parent.mkdir(parents=True)
        program.touch()
    found = require_program("postgres", "postgresql", tmp_path / "*" / "bin" / "initdb")
    assert found == tmp_path / "15" / "bin" / "initdb"


def test_a_program_on_the_path_will_do(tmp_path, monkeypatch):
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert require_program("redis", "redis-server", tmp_path / "nowhere" / "*" / "redis", "redis-server") == program


def test_a_missing_program_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"redis needs redis-server \(Debian: apt-get install redis-server\)"):
        require_program("redis", "redis-server", "redis-server")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_becomes_another_user(tmp_path):
    done = subprocess.run(as_user("nobody", ["id", "-u", "-n"]), capture_output=True, text=True)
    assert done.stdout == "nobody\n"
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(ServiceError, match=rf"user nobody can't get to {closed}/data: others may not enter {closed}"):
        give_to("nobody", closed / "data")
