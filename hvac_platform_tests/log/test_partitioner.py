"""Keys go where Kafka's own clients would send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.log.partitioner import assign_partitions, murmur2, partition_for


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_the_vectors_of_kafkas_own_test(key, expected):
    # org.apache.kafka.common.utils.UtilsTest.testMurmur2
    assert murmur2(key) == expected


@given(st.binary(max_size=40), st.integers(1, 1000))
def test_partition_is_the_positive_hash_modulo_the_partitions(key, partitions):
    hashed = murmur2(key)
    assert -(2**31) <= hashed < 2**31
    assert partition_for(key, partitions) == (hashed % 2**31) % partitions


@given(st.lists(st.none() | st.binary(max_size=8), max_size=50), st.integers(1, 12), st.data())
def test_keys_are_placed_one_by_one_and_keyless_records_stay_together(keys, partitions, data):
    keyless = data.draw(st.integers(0, partitions - 1))
    assigned = assign_partitions(keys, partitions, keyless)
    assert assigned.tolist() == [keyless if key is None else partition_for(key, partitions) for key in keys]


def test_a_fleet_spreads_over_the_partitions():
    assigned = assign_partitions([f"RTU-{i:03d}".encode() for i in range(300)], 3, 0)
    assert min(assigned.tolist().count(partition) for partition in range(3)) > 80
