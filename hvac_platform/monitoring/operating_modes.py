"""In which operating mode a device was in each window, under the names that its profile gives its modes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.modes import mode_codes
from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import StoredProfile

UNKNOWN_MODE = "mode not known"


def mode_names(store: Store, device_id: str) -> dict[int, str]:
    """Names of a device's modes by number."""
    stored = StoredProfile.first(store, device_id, only=("modes",))
    return {mode["number"]: mode["name"].replace("_", " ") for mode in (stored.modes if stored else None) or []}


def windows_by_mode(store: Store, series: SnapshotSeries) -> dict[str, NDArray[np.bool_]]:
    """Which windows of a series were in each mode, bool [n] by name, the most usual first; nothing where there is one mode.

    Args:
        store: has the profile of the device.
        series: n windows.
    """
    profile = load_profile(store, series.device_id)
    switches = profile.detector.switches if profile is not None and profile.detector is not None else ()
    if not switches or not len(series):
        return {}
    known = set(series.metric_names)
    metrics = [switch.metric for switch in switches]
    nothing = np.full(len(series), np.nan)
    values = np.column_stack([series.column(metric) if metric in known else nothing for metric in metrics])
    codes, names = mode_codes(switches, values, metrics), mode_names(store, series.device_id)
    found: dict[str, NDArray[np.bool_]] = {}
    for code in np.unique(codes).tolist():
        name = names.get(code, UNKNOWN_MODE)
        found[name] = found.get(name, np.zeros(len(series), dtype=np.bool_)) | (codes == code)
    return dict(sorted(found.items(), key=lambda one: (-int(one[1].sum()), one[0])))
