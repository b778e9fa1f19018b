"""What pip installs runs: one package, everything it needs in it, in an empty folder without a checkout."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from hvac_platform.config import Settings
from hvac_platform.stores.tables import tables
from hvac_platform_tests.live.conftest import free_port

UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, cwd: Path, seconds: float = 120, **environment: str) -> str:
    """Standard output of a command that must succeed; nothing of this process's settings reaches it."""
    own = {name.upper() for name in Settings.model_fields} | {"PYTHONPATH", "DAGSTER_HOME", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # By way of a source distribution: straight from the checkout, leftovers of an earlier build could get in.
    build = [UV, "build", "--no-build-isolation", "--python", sys.executable]
    run(*build, "--out-dir", folder, PROJECT_ROOT, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_is_one_package_with_all_that_it_needs(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hvac_platform"}
    for folder in ("sensors", "schema"):
        at_the_top = {
            path.relative_to(PROJECT_ROOT).as_posix()
            for path in (PROJECT_ROOT / folder).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        assert at_the_top
        assert {f"hvac_platform/{name}" for name in at_the_top} <= set(names)
    assert {
        "hvac_platform/py.typed",
        "hvac_platform/instance/dagster.yaml",
        "hvac_platform/instance/workspace.yaml",
    } <= {*names}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Folder of the programs of an environment that has the wheel and its base dependencies, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    pinned = re.sub(r" *\\\n( *--hash=.*\n?)+", "\n", (PROJECT_ROOT / "requirements.lock").read_text())
    (folder / "pinned.txt").write_text(
        "\n".join(line for line in pinned.splitlines() if not line.lstrip().startswith("#"))
    )
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    install = [UV, "pip", "install", "--quiet", "--python", folder / "venv" / "bin" / "python"]
    run(*install, "--constraint", folder / "pinned.txt", wheel, cwd=folder, seconds=600)
    return folder / "venv" / "bin"


def test_what_pip_installs_shows_its_schema_and_checks_itself(installed, tmp_path):
    assert re.fullmatch(r"hvac \d+\.\d+\.\d+\n", run(installed / "hvac", "--version", cwd=tmp_path))
    assert "--help" in run(installed / "python", "-m", "hvac_platform", "--help", cwd=tmp_path)
    assert "device_state_snapshots" in run(installed / "hvac", "schema", "show", cwd=tmp_path)
    run(installed / "hvac", "simulate", "--duration", "0", cwd=tmp_path)
    assert f"{len(tables())} tables" in run(installed / "hvac", "check", "--wait", "0", cwd=tmp_path)


def test_what_pip_installs_runs_the_demonstration(installed, tmp_path):
    said = run(installed / "hvac", "demo", "--once", cwd=tmp_path, seconds=900)
    assert re.search(r"demo: messages=\d{6,} rejected=\d+ snapshots=\d{4,} profiles=5 anomalies=\d+ ", said), said
    assert (tmp_path / ".hvac" / "demo" / "store.db").is_file()


def test_what_pip_installs_comes_up(installed, tmp_path):
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HVAC", "PYTHONPATH", "DAGSTER"))}
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [installed / "hvac", "up", "--port", str(port)], cwd=tmp_path, env=environment, stdout=said, stderr=said
        )
        try:
            deadline = time.monotonic() + 180
            while "Ctrl-C stops" not in (tmp_path / "said").read_text():
                assert process.poll() is None, (tmp_path / "said").read_text()
                assert time.monotonic() < deadline, (tmp_path / "said").read_text()
                time.sleep(0.5)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=30) as answer:
                assert b"dagster_version" in answer.read()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert (tmp_path / ".hvac" / "dagster.yaml").is_file()
    assert not (tmp_path / ".dagster").exists()
