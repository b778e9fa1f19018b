"""A profile tried: on held-out normal windows, and on incidents that somebody has labelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.evaluation import score_faults
from hvac_platform.detection.promotion import Trial
from hvac_platform.monitoring.lasting import EXPECTED_LABEL, LASTING
from hvac_platform.monitoring.lifecycle import State
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident, IncidentHandling
from hvac_platform.stores.series import read_series

if TYPE_CHECKING:
    from hvac_platform.detection.detector import FittedDetector

MOST_LABELLED, MOST_WINDOWS = 10, 240
FOUND_SHARE = 0.25
"""An incident is found where so many of its windows are flagged: its begin alone is odd for whoever has learned the rest."""


def labelled_incidents(store: Store, device_id: str) -> list[Incident]:
    """The newest incidents of a device that somebody has said to be faults, oldest first; ten at most."""
    false = {
        handling.incident_id
        for handling in IncidentHandling.read(store, device_id, only=("incident_id", "state"))
        if handling.state == State.FALSE_ALARM
    }
    only = ("incident_id", "started_at", "ended_at", "label", "methods")
    found = [
        incident
        for incident in Incident.read(store, device_id, only=only)
        if incident.label
        and incident.label.lower() != EXPECTED_LABEL
        and incident.incident_id not in false
        and LASTING not in incident.methods
    ]
    return found[-MOST_LABELLED:]


def trial_of(
    store: Store,
    device: Device,
    series: SnapshotSeries,
    held: NDArray[np.bool_],
    detector: FittedDetector,
    labelled: list[Incident],
) -> Trial:
    """What a detector says of held-out normal windows and of labelled incidents.

    Args:
        store: where the windows of the incidents are.
        device: whose.
        series: n snapshots of the history.
        held: bool [n], normal ones that it was not fitted to.
        detector: the detector.
        labelled: incidents that are to be found; of a long one the first four hours are looked at.
    """
    from hvac_platform.detection.learned import context_start, examine_windows

    judged = examine_windows(series, held, detector)[0]
    alarms = score_faults(judged.times_ms, judged.anomalous, (), window_ms=series.window_ms).false_alarms
    found = 0
    for incident in labelled:
        begin = context_start(incident.started_at, series.window_ms)
        end = min(incident.ended_at, incident.started_at + MOST_WINDOWS * series.window_ms)
        windows = read_series(store, device.device_id, device.device_type, begin, end)
        wanted = windows.times_ms >= incident.started_at
        if wanted.any():
            found += float(examine_windows(windows, wanted, detector)[0].anomalous.mean()) >= FOUND_SHARE
    return Trial(alarms, float(judged.anomalous.mean()) if len(judged.anomalous) else 0.0, found)
