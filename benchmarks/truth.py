"""Points that stop: how many are told, how soon, and how often a sound point is called stopped.

Devices of 4 to 15 points, each at its own pace (10 s to 15 min, some sent on change), are learned from for four days. Then
one to all but one of their points are removed, for at least twice the silence that their pace allows, at most two days. The
clean devices run for thirty days, with one reading in fifty lost. Prints counts; judges nothing.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.pace import Pace, learn_paces, stops, with_longest_rests
from hvac_platform.snapshots import SnapshotSeries, select

Int64 = NDArray[np.int64]
MINUTE_MS, DAY_MS = 60_000, 86_400_000
START_MS = 1_783_296_000_000
INTERVALS_MS = (10_000, 30_000, 60_000, 120_000, 300_000, 900_000)
LEARNED_DAYS, TRIED_DAYS = 4, 3
LOST = 0.02


def regular(rng: np.random.Generator, days: int, interval_ms: int) -> Int64:
    """Readings of each window of a point that is read at an interval, with its own phase; some are lost."""
    times = np.arange(int(rng.integers(interval_ms)), days * DAY_MS, interval_ms, dtype=np.int64)
    return np.bincount(times[rng.random(len(times)) >= LOST] // MINUTE_MS, minlength=days * 1440)


def on_change(rng: np.random.Generator, days: int) -> Int64:
    """Readings of a point that is sent when it has moved: often by day, seldom by night."""
    usual, time, times = float(rng.uniform(30_000, 600_000)), 0.0, []
    while time < days * DAY_MS:
        times.append(int(time))
        resting = time % DAY_MS < 7 * 3_600_000
        time += rng.exponential(usual * (10 if resting else 1)) + 1_000
    return np.bincount(np.array(times, dtype=np.int64) // MINUTE_MS, minlength=days * 1440)[: days * 1440]


def device(rng: np.random.Generator, days: int, *, changing: bool) -> tuple[Int64, list[bool]]:
    """Readings of each window of the points of a device, int64 [n, m], and which are sent on change."""
    points = int(rng.integers(4, 16))
    by_change = [changing and bool(rng.random() < 0.3) for _ in range(points)]
    by_change[0] = False
    columns = [
        on_change(rng, days) if moved else regular(rng, days, int(rng.choice(INTERVALS_MS))) for moved in by_change
    ]
    return np.stack(columns, axis=1), by_change


def windows(count: Int64) -> SnapshotSeries:
    """The windows in which anything was read."""
    heard = count.any(axis=1)
    times = (START_MS + np.arange(len(count)) * MINUTE_MS)[heard]
    kept = count[heard]
    grid = np.where(kept > 0, 1.0, np.nan)
    names = tuple(f"p{j:02d}" for j in range(count.shape[1]))
    return SnapshotSeries("device", "", times, names, grid, kept, grid, grid, grid, MINUTE_MS)


def first_told(series: SnapshotSeries, paces: dict[str, Pace], name: str, begin_ms: int, end_ms: int) -> int | None:
    """Milliseconds from the removal to the first window after which the point is called stopped; None: it never is."""
    low, high = begin_ms // MINUTE_MS, end_ms // MINUTE_MS
    if not _is_told(series, paces, name, begin_ms, end_ms):
        return None
    while low < high:  # once told it stays told until readings come again
        middle = (low + high) // 2
        if _is_told(series, paces, name, begin_ms, middle * MINUTE_MS):
            high = middle
        else:
            low = middle + 1
    return low * MINUTE_MS - begin_ms


def _is_told(series: SnapshotSeries, paces: dict[str, Pace], name: str, begin_ms: int, until_ms: int) -> bool:
    seen = select(series, series.times_ms < until_ms)
    found = stops(seen.times_ms, seen.count, seen.metric_names, paces, MINUTE_MS, until_ms=until_ms)
    return any(name in stop.metrics and stop.end_ms > begin_ms for stop in found)


def removals(rng: np.random.Generator, tries: int, *, changing: bool) -> None:
    days = LEARNED_DAYS + TRIED_DAYS
    removed, missed, delays, ratios = 0, 0, [], []
    for _ in range(tries):
        count, by_change = device(rng, days, changing=changing)
        paces = learn_paces(windows(count[: LEARNED_DAYS * 1440]))
        kinds = [j for j in range(count.shape[1]) if by_change[j] == changing and f"p{j:02d}" in paces]
        most = min(len(kinds), count.shape[1] - 1)
        if not most:
            continue
        chosen = rng.choice(kinds, size=int(rng.integers(1, most + 1)), replace=False).tolist()
        patience = max(paces[f"p{j:02d}"].patience_ms(MINUTE_MS) for j in chosen)
        if 2 * patience > 2 * DAY_MS:
            continue
        length = int(rng.integers(2 * patience // MINUTE_MS, 2 * 1440 + 1))
        begin = int(rng.integers(LEARNED_DAYS * 1440, days * 1440 - length + 1))
        count[begin : begin + length, chosen] = 0
        series = windows(count)
        begin_ms, end_ms = START_MS + begin * MINUTE_MS, START_MS + (begin + length) * MINUTE_MS
        for j in chosen:
            removed += 1
            name = f"p{j:02d}"
            delay = first_told(series, paces, name, begin_ms, end_ms)
            if delay is None:
                missed += 1
            else:
                delays.append(delay / 60_000)
                ratios.append(delay / paces[name].patience_ms(MINUTE_MS))
    kind = "sent on change" if changing else "read regularly"
    print(
        f"points {kind}: {removed} removed in {tries} removals, {missed} not told; told after "
        f"{np.median(delays):.0f} min (median), {np.quantile(delays, 0.95):.0f} min (95 %), "
        f"{np.median(ratios):.2f} (median) and {np.max(ratios):.2f} (most) times the silence that the pace allows"
    )


def clean(rng: np.random.Generator, devices: int, days: int) -> None:
    told = 0
    for _ in range(devices):
        count, _ = device(rng, days + LEARNED_DAYS, changing=True)
        paces: dict[str, Pace] = {}
        for day in range(LEARNED_DAYS, days + LEARNED_DAYS):
            # Paces are learned anew each night, from the days before.
            paces = with_longest_rests(learn_paces(windows(count[max(0, day - 7) * 1440 : day * 1440])), paces)
            series = windows(count[(day - 1) * 1440 : (day + 1) * 1440])
            until = START_MS + 2 * DAY_MS
            found = stops(series.times_ms, series.count, series.metric_names, paces, MINUTE_MS, until_ms=until)
            told += sum(stop.end_ms > START_MS + DAY_MS for stop in found)
    per_hundred = 100 * told / (devices * days)
    print(f"clean: {told} stops on {devices} devices in {days} days, {per_hundred:.2f} in 100 device-days")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--removals", type=int, default=1000)
    parser.add_argument("--devices", type=int, default=12)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    removals(rng, arguments.removals, changing=False)
    removals(rng, arguments.removals // 4, changing=True)
    clean(rng, arguments.devices, arguments.days)


if __name__ == "__main__":
    main()
