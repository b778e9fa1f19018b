"""Reproducible randomness: seeds that name what they are for, and smooth bounded noise as a function of time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

_KNOTS_PER_BLOCK = 64


def entropy(seed: int, *names: str) -> int:
    """128-bit seed for one purpose, the same in every process (unlike ``hash``).

    >>> entropy(7, "RTU-001", "load") == entropy(7, "RTU-001", "load") != entropy(7, "RTU-001", "noise")
    True
    """
    text = "\x1f".join((str(seed), *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def generator(seed: int, *names: str) -> np.random.Generator:
    """Random generator for one purpose, e.g. ``generator(seed, device_id, "measurement")``."""
    return np.random.default_rng(entropy(seed, *names))


class LatticeNoise:
    """Smooth aperiodic noise in [-1, 1] for n independent sources, as a pure function of absolute time.

    Values at knots ``knot_seconds`` apart are uniform and independent; between knots they are blended by the smoothstep
    polynomial 3f² - 2f³ (one-dimensional value noise; Perlin, An Image Synthesizer, 1985). As a function of time and
    not a recursion it gives the same values whatever span is asked for first. Only additions and multiplications act on
    whole arrays, so a source's values do not depend, to the last bit, on how many sources stand beside it.

    Args:
        entropies: n seeds, one a source.
        knot_seconds: time between knots; variation is slower than about twice this.

    >>> noise = LatticeNoise([entropy(1, "a"), entropy(1, "b")], knot_seconds=600)
    >>> noise.sample(np.arange(0.0, 3600.0, 60.0)).shape
    (60, 2)
    """

    def __init__(self, entropies: Sequence[int], knot_seconds: float) -> None:
        self._entropies = tuple(entropies)
        self._knot_seconds = knot_seconds
        self._blocks: dict[int, Float64] = {}

    def sample(self, times_s: Float64) -> Float64:
        """Noise at ascending ``times_s`` [t], seconds since the epoch: float64 [t, n]."""
        position = times_s / self._knot_seconds
        knot = np.floor(position).astype(np.int64)
        first, last = int(knot[0]) // _KNOTS_PER_BLOCK, int(knot[-1] + 1) // _KNOTS_PER_BLOCK
        # Spans are asked for in order: what lies before this one is not needed again, so memory stays bounded.
        self._blocks = {b: self._blocks[b] if b in self._blocks else self._knots(b) for b in range(first, last + 1)}
        knots = np.concatenate(list(self._blocks.values()))
        index = knot - first * _KNOTS_PER_BLOCK
        fraction = position - knot
        weight = (fraction * fraction * (3.0 - 2.0 * fraction))[:, None]
        return knots[index] * (1.0 - weight) + knots[index + 1] * weight

    def _knots(self, block: int) -> Float64:
        # Before 1970 blocks are negative, which seeds may not be.
        columns = [
            np.random.default_rng([e, block % 2**32]).uniform(-1.0, 1.0, _KNOTS_PER_BLOCK) for e in self._entropies
        ]
        return np.stack(columns, axis=1)


class LoadNoise:
    """How a load wanders: hours-long swings and quicker ones of 10-30 minutes, together in [-1, 1]; n sources."""

    def __init__(self, entropies: Sequence[int]) -> None:
        self._slow = LatticeNoise(entropies, knot_seconds=3 * 3600.0)
        self._quick = LatticeNoise([e + 1 for e in entropies], knot_seconds=1200.0)

    def sample(self, times_s: Float64) -> Float64:
        """Noise at ascending ``times_s`` [t]: float64 [t, n]."""
        return 0.65 * self._slow.sample(times_s) + 0.35 * self._quick.sample(times_s)
