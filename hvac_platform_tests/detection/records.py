"""Records of a made-up machine whose metrics hang together, for the detector's tests."""

from __future__ import annotations

import numpy as np
import pandas as pd

START = pd.Timestamp("2026-03-02", tz="UTC")
NAMES = ("supply_temp", "return_temp", "flow", "power", "vibration")


def machine(
    rows: int, *, seed: int = 0, start: pd.Timestamp = START, interval: str = "60s", phase: int = 0
) -> pd.DataFrame:
    """Five metrics driven by one slowly wandering load, each with noise of its own; ``phase`` continues a record."""
    generator = np.random.default_rng([seed, phase])
    t = np.arange(phase, phase + rows)
    load = 0.6 + 0.2 * np.sin(2 * np.pi * t / 240) + 0.05 * np.sin(2 * np.pi * t / 37)
    noise = generator.normal(size=(rows, 5))
    values = np.column_stack(
        [
            44 + 1.5 * load + 0.1 * noise[:, 0],
            50 + 9 * load + 0.1 * noise[:, 1],
            300 + 400 * load + 4 * noise[:, 2],
            20 + 180 * load**1.2 + 1.5 * noise[:, 3],
            2 + 0.5 * load + 0.05 * noise[:, 4],
        ]
    )
    index = pd.date_range(start, periods=rows, freq=interval)
    return pd.DataFrame(values, index=index, columns=list(NAMES))


def train_and_test(train_rows: int = 1500, test_rows: int = 600, **options) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One record, cut in two."""
    whole = machine(train_rows + test_rows, **options)
    return whole.iloc[:train_rows], whole.iloc[train_rows:]
