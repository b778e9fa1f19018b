"""The sentence of a state, which a text model can embed."""

from __future__ import annotations

from hvac_platform.devices.registry import device_type
from hvac_platform.snapshots import SnapshotSeries

_COMPACT_UNITS = {"%", ""}


def state_sentences(series: SnapshotSeries) -> list[str]:
    """One sentence a snapshot: device, type, then each metric by its title with value and unit.

    ``RTU-001 rooftop unit: supply air temperature 72.5 °F, return air temperature 68.3 °F, …``. Absent metrics are left
    out; a metric that the device type doesn't declare goes by its own name.
    """
    declared = device_type(series.device_type)
    type_title = declared.title.lower() if declared else series.device_type.replace("_", " ")
    labels: list[tuple[str, str]] = []
    for name in series.metric_names:
        known = declared is not None and name in declared.metric_names
        title = declared.point(name).title if declared is not None and known else name.replace("_", " ")
        unit = declared.point(name).unit if declared is not None and known else ""
        labels.append((title, unit if unit in _COMPACT_UNITS else f" {unit}"))
    return [
        f"{series.device_id} {type_title}: "
        + ", ".join(
            f"{title} {value:.1f}{unit}" for (title, unit), value in zip(labels, row, strict=True) if value == value
        )
        for row in series.mean.tolist()
    ]
