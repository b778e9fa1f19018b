"""Learn a device's profile from its stored normal snapshots."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.neighbours import AVERAGED, mean_distance
from hvac_platform.detection.profile import (
    Profile,
    TooFewSnapshotsError,
    build_profile,
    exclusion_ms,
    profile_from_row,
    provisional_profile,
)
from hvac_platform.detection.rules import evaluate_rules
from hvac_platform.devices.registry import device_type
from hvac_platform.embedding.base import Encoder, EncoderUnavailableError
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import EMBEDDING_DIMENSION, Device, Store, TableSlice
from hvac_platform.stores.series import read_series, select
from hvac_platform.stores.vectors import NearestSearch
from hvac_platform.timestamps import DAY_MS, now_ms

CALIBRATION_SAMPLE = 3000  # distances of so many snapshots calibrate a limit as well as those of all
LEAST_COMPLETE = 0.5
URGENT = 3


def normal_snapshots(
    store: Store, device: Device, encoder: Encoder, start_ms: int, end_ms: int
) -> tuple[SnapshotSeries, int]:
    """Snapshots fit to learn from, and how many were left out.

    Left out are flagged ones, those that a rule of level 3 or above speaks against, those that hold less than half of the
    expected readings, and those that another encoder (or none) has embedded.
    """
    series, extra = read_series(
        store,
        device.device_id,
        device.device_type,
        start_ms,
        end_ms,
        embeddings=True,
        embedding_method=encoder.method,
        extra=("is_anomalous", "completeness"),
    )
    if not len(series) or series.embeddings is None:
        return series, 0
    rules = evaluate_rules(series, device_type(device.device_type))
    fit = (
        np.isfinite(series.embeddings).all(axis=1)
        & ~np.array([bool(flag) for flag in extra["is_anomalous"]])
        & (np.array(extra["completeness"]) >= LEAST_COMPLETE)
        & ~(rules.anomalous & (rules.level <= URGENT))
    )
    return select(series, fit), int((~fit).sum())


def learn_profile(
    store: Store,
    device: Device,
    encoder: Encoder,
    settings: Settings,
    *,
    days_back: float | None = None,
    min_snapshots: int | None = None,
    until_ms: int | None = None,
) -> tuple[Profile, SnapshotSeries, int]:
    """Learn a profile from the days before an instant (by default the end of the device's data).

    Returns:
        The profile, the snapshots it rests on, and how many were left out.

    Raises:
        TooFewSnapshotsError: not enough normal snapshots; the message says what to do.
    """
    end_ms = device.last_seen + 1 if until_ms is None else until_ms
    span_days = settings.hvac_profile_days_back if days_back is None else days_back
    series, left_out = normal_snapshots(store, device, encoder, end_ms - round(span_days * DAY_MS), end_ms)
    least = settings.hvac_profile_min_snapshots if min_snapshots is None else min_snapshots
    if len(series) < least or series.embeddings is None:
        raise TooFewSnapshotsError(
            f"{device.device_id}: {len(series)} normal snapshots in the last {span_days:g} days, {least} are needed "
            f"({left_out} were left out as flagged or incomplete); wait for more data or look further back"
        )
    sample = np.unique(np.linspace(0, len(series) - 1, min(len(series), CALIBRATION_SAMPLE)).astype(np.int64))
    exclude_ms = exclusion_ms(len(series), series.window_ms)
    search = NearestSearch(
        series.embeddings[sample],
        AVERAGED,
        query_times_ms=series.times_ms[sample],
        exclude_ms=exclude_ms,
    )
    distances = mean_distance(
        search.add(series.times_ms, series.embeddings, np.zeros(len(series), dtype=bool)).result()
    )
    profile = build_profile(
        series,
        distances,
        embedding_method=encoder.method,
        device_type=device_type(device.device_type),
        min_snapshots=least,
        false_alarms_per_day=settings.hvac_false_alarms_per_day,
        exclude_ms=exclude_ms,
    )
    return profile, series, left_out


def profile_columns(store: Store, device: Device, profile: Profile) -> dict[str, list[Any]]:
    """Row of ``device_profiles``; the time of creation is kept from an earlier build."""
    earlier = load_profile_row(store, device.device_id)
    now = now_ms()
    return {
        "device_id": [device.device_id],
        "device_type": [device.device_type],
        "location": [device.location],
        "building_id": [device.building_id],
        "profile_embedding": [profile.centroid],
        "embedding_method": [profile.embedding_method],
        "metric_stats": [profile.statistics_json()],
        "calibration": [asdict(profile.calibration)],
        "profile_version": [profile.version],
        "snapshot_count": [profile.snapshot_count],
        "span_start": [profile.span_start],
        "span_end": [profile.span_end],
        "profile_created_at": [earlier["profile_created_at"] if earlier else now],
        "profile_updated_at": [now],
        "last_seen": [device.last_seen],
    }


def load_profile_row(store: Store, device_id: str) -> dict[str, Any] | None:
    """Row of ``device_profiles`` of a device, or None."""
    for batch in store.scan(TableSlice("device_profiles", device_id=device_id)):
        return {name: values[0] for name, values in batch.items()}
    return None


def current_profile(store: Store, device: Device, encoder: Encoder) -> Profile | None:
    """The device's profile; a provisional one from declared ranges while there is none; None for an unknown type."""
    row = load_profile_row(store, device.device_id)
    if row is not None and row["embedding_method"] == encoder.method:
        return profile_from_row(row)
    declared = device_type(device.device_type)
    if declared is None:
        return None

    def encode(state: SnapshotSeries) -> NDArray[np.float32]:
        try:
            return encoder.encode(state)
        except (
            EncoderUnavailableError
        ):  # a provisional profile sets no limit on similarity: rules and ranges still judge
            return np.full((len(state), EMBEDDING_DIMENSION), np.nan, dtype=np.float32)

    return provisional_profile(device.device_id, declared, encoder.method, encode)


def history_coverage(profile: Profile, window_ms: int, days_back: float) -> float:
    """Share of the days asked for that a profile's snapshots cover; low where history is short or patchy."""
    return min(1.0, profile.snapshot_count * window_ms / (days_back * DAY_MS))
