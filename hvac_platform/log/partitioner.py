"""Which partition a record goes to: Kafka's default partitioner, so that both logs place a device alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from hvac_platform.log.base import Int64

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """32-bit murmur2 hash of Kafka's Java client (``org.apache.kafka.common.utils.Utils.murmur2``), as a signed int.

    >>> murmur2(b"foobar")
    -790332482
    """
    length = len(data)
    h = _SEED ^ length
    aligned = length & ~3
    for i in range(0, aligned, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _MULTIPLIER & _MASK
        k = (k ^ k >> 24) * _MULTIPLIER & _MASK
        h = (h * _MULTIPLIER & _MASK) ^ k
    if aligned < length:
        h = (h ^ int.from_bytes(data[aligned:], "little")) * _MULTIPLIER & _MASK
    h = (h ^ h >> 13) * _MULTIPLIER & _MASK
    h ^= h >> 15
    return h - (1 << 32) if h & 0x80000000 else h


@lru_cache(maxsize=1 << 17)
def partition_for(key: bytes, partitions: int) -> int:
    """Partition of a key as Kafka's default partitioner has it: ``toPositive(murmur2(key)) % partitions``.

    >>> partition_for(b"RTU-001", 3)
    2
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def assign_partitions(keys: Sequence[bytes | None], partitions: int, keyless_partition: int) -> Int64:
    """Partition of each record of one append, int64 [n].

    Like Kafka's sticky partitioner, the records without a key of one append stay together: all go to
    ``keyless_partition``, and the caller moves on to another partition for its next append.
    """
    partition_of = {
        key: keyless_partition if key is None else partition_for(key, partitions) for key in dict.fromkeys(keys)
    }
    return np.fromiter(map(partition_of.__getitem__, keys), np.int64, len(keys))
