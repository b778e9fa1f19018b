"""Readings, states and events leave the platform: as DataFrames, and as files that any reader of Parquet takes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet
import pytest

from devtools import PROJECT_ROOT
from hvac_platform.exporting import SCHEMAS, export
from hvac_platform.frames import UnknownDeviceError, read
from hvac_platform.stores.base import Device
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import DAY, MINUTE_MS, NEXT_DAY
from hvac_platform_tests.stores.store_contract import T0, raw, snapshots

TIMES = [T0 + i * 10 * MINUTE_MS for i in range(288)]  # two days
DEVICES = [
    Device(name, kind, "roof", "b", TIMES[0], TIMES[-1], 0) for name, kind in (("A", "chiller"), ("B", "rooftop_unit"))
]


@pytest.fixture
def full(store):
    """Two days of two devices of different metrics; one event."""
    store.register_devices(DEVICES)
    for number, device in enumerate(("A", "B")):
        metric = f"m{number}"
        store.upsert("device_metrics_raw", raw(device, TIMES, np.arange(288) / 10, metric))
        states = [{metric: i / 3} | ({"x": 1.0} if i % 2 else {}) for i in range(288)]
        summary = [{name: [6.0, value - 1, value + 1, value] for name, value in state.items()} for state in states]
        store.upsert("device_state_snapshots", snapshots(device, TIMES, metrics=states, metric_summary=summary))
    event = {"device_id": ["A"], "detected_at": [TIMES[7]], "event_id": ["A/7"], "anomaly_score": [2.5]}
    event |= {"anomaly_type": ["rules"], "methods": [["rules"]], "level": [1], "reasons": [["too hot", "too long"]]}
    event |= {
        "metrics": [["m0"]],
        "metrics_snapshot": [{"m0": 1.0}],
        "device_type": [""],
        "location": [""],
        "building_id": [""],
    }
    store.upsert("anomaly_events", event)
    flagged = {"device_id": ["A"], "snapshot_time": [TIMES[7]], "is_anomalous": [True], "anomaly_score": [2.5]}
    store.update("device_state_snapshots", flagged)
    return store


def test_a_day_is_a_file_with_exactly_its_rows(full, tmp_path):
    files = list(export(full, tmp_path, DEVICES, T0, T0 + 2 * DAY_MS))
    assert [(file.table, file.day, file.rows) for file in files] == [
        *(("readings", DAY, 288), ("states", DAY, 432), ("events", DAY, 1)),
        *(("readings", NEXT_DAY, 288), ("states", NEXT_DAY, 432)),
    ]
    for file in files:
        table = pyarrow.parquet.read_table(file.path)
        assert table.num_rows == file.rows
        assert table.schema.equals(SCHEMAS[file.table])
        times = table.column(1).to_pylist()
        assert {time.date().isoformat() for time in times} == {file.day}
    states = pyarrow.dataset.dataset(tmp_path / "states").to_table().to_pandas()
    of_x = states[(states.device_id == "B") & (states.metric_name == "x")]
    assert of_x["mean"].tolist() == [1.0] * 144
    assert of_x["count"].tolist() == [6] * 144
    flagged = states[states.is_anomalous.eq(other=True)]
    assert sorted(flagged.metric_name) == ["m0", "x"]
    assert set(zip(flagged.device_id, flagged.anomaly_score, strict=True)) == {("A", 2.5)}
    assert not list(tmp_path.rglob(".*"))


def test_part_of_a_day_is_exported_as_far_as_it_was_asked_for_and_what_is_empty_makes_no_file(full, tmp_path):
    files = list(
        export(full, tmp_path, DEVICES[:1], T0 + DAY_MS - 20 * MINUTE_MS, T0 + DAY_MS + 1, names=("readings", "events"))
    )
    assert [(file.day, file.rows) for file in files] == [(DAY, 2), (NEXT_DAY, 1)]
    assert list(export(full, tmp_path, DEVICES, T0 + 9 * DAY_MS, T0 + 10 * DAY_MS)) == []


def test_a_file_is_whole_or_not_there(full, tmp_path, monkeypatch):
    (first, *_) = export(full, tmp_path, DEVICES, T0, T0 + DAY_MS, names=("readings",))
    before = first.path.read_bytes()

    def broken(*_args, **_options):
        yield {"device_id": ["A"], "timestamp": [T0], "metric_name": ["t"], "metric_value": [1.0], "unit": [""]}
        raise OSError("the cable")

    monkeypatch.setattr("hvac_platform.exporting._batches", broken)
    with pytest.raises(OSError, match="the cable"):
        list(export(full, tmp_path, DEVICES, T0, T0 + DAY_MS, names=("readings",)))
    assert first.path.read_bytes() == before
    assert not list(tmp_path.rglob(".*"))


def test_an_archive_keeps_the_rows_that_the_store_has_no_longer_and_those_of_other_devices(full, tmp_path):
    (whole,) = export(full, tmp_path, DEVICES, T0, T0 + DAY_MS, names=("readings",))
    before = whole.path.read_bytes()
    for form in ("parquet", "csv"):
        list(export(full, tmp_path, DEVICES, T0, T0 + DAY_MS, names=("readings",), form=form))
        (kept,) = export(full, tmp_path, DEVICES[:1], T0, T0 + DAY_MS, names=("readings",), form=form)
        assert (kept.rows, kept.kept) == (288, True)
    assert len(pyarrow.parquet.read_table(whole.path)) == len(pd.read_csv(whole.path.with_suffix(".csv"))) == 288
    (fewer,) = export(full, tmp_path, DEVICES[:1], T0, T0 + DAY_MS, names=("readings",), overwrite=True)
    assert (fewer.rows, fewer.kept) == (144, False)
    assert whole.path.read_bytes() != before


def test_comma_separated_values_have_the_same_rows(full, tmp_path):
    files = list(export(full, tmp_path, DEVICES, T0, T0 + DAY_MS, form="csv"))
    assert [len(pd.read_csv(file.path)) for file in files] == [288, 432, 1]
    assert pd.read_csv(files[2].path).reasons.tolist() == ["too hot; too long"]


def test_states_of_a_device_are_a_frame_of_its_metrics(full):
    frame = read("A", DAY, "2025-03-11T00:00:00Z", store=full)
    assert frame.index[0] == pd.Timestamp(T0, unit="ms", tz="UTC")
    assert frame.columns.tolist() == ["m0", "x", "is_anomalous", "anomaly_score"]
    np.testing.assert_allclose(frame["m0"], np.arange(144) / 3)
    assert frame["x"].isna().sum() == 72
    assert frame[frame.is_anomalous.fillna(value=False)].anomaly_score.tolist() == [2.5]
    lowest = read("A", T0, T0 + DAY_MS, statistic="minimum", store=full)
    np.testing.assert_allclose(lowest["m0"], np.arange(144) / 3 - 1)


def test_readings_and_events_are_frames_too(full):
    readings = read("B", datetime(2025, 3, 11, tzinfo=UTC), table="readings", store=full)
    assert readings.shape == (144, 1)
    assert readings["m1"].iloc[0] == 14.4
    assert read("A", table="events", store=full).reasons.tolist() == [["too hot", "too long"]]
    assert read("B", table="events", store=full).empty
    assert read("A", T0 + 9 * DAY_MS, table="readings", store=full).empty
    assert read("A", T0 + 9 * DAY_MS, store=full).empty


def test_what_can_not_be_read_is_told(full):
    with pytest.raises(UnknownDeviceError, match=r"'C' is not registered; devices are A, B"):
        read("C", store=full)
    with pytest.raises(ValueError, match="has no time zone"):
        read("A", datetime(2025, 3, 11), store=full)  # noqa: DTZ001
    with pytest.raises(ValueError, match="tables are states, readings, events"):
        read("A", table="raw", store=full)


TOLD = """
import json
from pathlib import Path

print(json.dumps([len(states), len(readings), Path("exported/readings").is_dir(), daily.num_rows > 0]))
"""


def test_the_notebook_of_the_documentation_runs(tmp_path, home):
    notebook = json.loads((PROJECT_ROOT / "docs" / "examples" / "first-look.ipynb").read_text(encoding="utf-8"))
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join([*code, TOLD]), encoding="utf-8")
    said = tmp_path / "said.txt"
    with said.open("w") as output:  # no pipe: commands that it started could hold it open for longer than it lives
        done = subprocess.run([sys.executable, str(script)], stdout=output, stderr=output, cwd=tmp_path, timeout=400)
    assert done.returncode == 0, said.read_text()
    assert json.loads(said.read_text().splitlines()[-1]) == [1_440, 1_440, True, True]
