"""Scripts that were written for version 0.1 still run."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys

import pytest

from devtools import PROJECT_ROOT
from hvac_platform.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_is_the_same_module_as_the_new_one_and_says_so(old):
    new = importlib.import_module(f"hvac_platform.{MOVED[old]}")
    sys.modules.pop(f"hvac_platform.{old}", None)
    with pytest.warns(
        DeprecationWarning, match=rf"hvac_platform\.{old} is {new.__name__} now; the old name goes with 0\.3"
    ):
        found = importlib.import_module(f"hvac_platform.{old}")
    assert found is new
    assert found.__spec__.name == new.__name__


def test_a_script_of_the_earlier_version_puts_readings_into_the_log(home):
    script = """
from hvac_platform.config import load_settings
from hvac_platform.connections import open_log
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.streams.messages import encode_readings
import numpy as np
settings = load_settings()
log = open_log(settings)
device = FleetDevice("FAN-1", "fan", "roof", "A")
records = encode_readings(device, np.array([1_700_000_000_000]), ["speed"], ["%"], np.array([[50.0]]))
log.append(settings.kafka_topic, records)
print(sum(log.end_offsets(settings.kafka_topic).values()))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
    assert "hvac_platform.connections is hvac_platform.runtime.connections now" in done.stderr


def test_the_guarded_services_start_under_their_old_name(home):
    command = [sys.executable, "-m", "hvac_platform.guarded_dagster", "neither"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert "usage: python -m hvac_platform.runtime.guarded_dagster dev|webserver" in done.stderr


def test_what_was_pickled_under_a_new_name_is_the_same_under_the_old():
    from hvac_platform.ingestion.messages import Metric

    assert pickle.loads(pickle.dumps(Metric)) is Metric


def test_sensors_at_the_top_of_a_checkout_are_the_modules_of_the_package():
    code = "from sensors import kafka_ingestion as a; import hvac_platform.sensors.kafka_ingestion as b; print(a is b)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr
