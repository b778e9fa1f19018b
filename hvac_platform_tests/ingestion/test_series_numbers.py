"""Messages of one series have one number, whatever order they come in and however many threads decode."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.coding import coded_as, renumbered
from hvac_platform.ingestion import messages, series_numbers
from hvac_platform.ingestion.messages import decode_batch
from hvac_platform.ingestion.series_numbers import UNUSABLE, Series, SeriesTable
from hvac_platform.log.base import RecordBatch

fields = st.tuples(*[st.sampled_from(["", "a", "b"])] * 3, *[st.sampled_from([None, "", "x"])] * 3)


def checked(said):
    return None if not said[0] else Series(*(field or "" for field in said))


@given(st.lists(fields, max_size=40), st.lists(fields, max_size=40))
def test_columns_of_the_numbers_are_what_the_messages_say(before, said):
    table = SeriesTable(checked)
    table.codes(before)
    codes = np.array(table.codes(said), dtype=np.int64)
    assert (codes == UNUSABLE).tolist() == [not one[0] for one in said]
    expected = [checked(one) for one in said if one[0]]
    columns = table.columns(codes[codes != UNUSABLE])
    assert list(zip(*columns, strict=True)) == [tuple(one) for one in expected]
    for column, values in zip(columns, zip(*expected, strict=True) if expected else [()] * 6, strict=True):
        assert column.names == list(dict.fromkeys(values))


@given(st.lists(st.integers(0, 9), max_size=30))
def test_numbers_are_renumbered_in_the_order_of_their_first_rows(codes):
    there, places = renumbered(np.array(codes, dtype=np.int64), 10)
    assert there.tolist() == list(dict.fromkeys(codes))
    assert [there.tolist()[place] for place in places.tolist()] == codes


@given(st.lists(st.sampled_from("abc"), max_size=20), st.data())
def test_a_numbered_column_is_a_sequence_of_its_values(values, data):
    column = coded_as(values)
    rows = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=10)) if values else []
    some = column.rows(np.array(rows, dtype=np.int64))
    assert (column, len(column), column[1:3], coded_as(column) is column) == (values, len(values), values[1:3], True)
    assert (list(some), some.names) == ([values[row] for row in rows], list(dict.fromkeys(values[row] for row in rows)))


def test_many_threads_give_a_series_one_number():
    table = SeriesTable(checked)
    said = [("device", "kind", f"metric {i % 50}", None, None, "") for i in range(2_000)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda shift: table.codes(said[shift:] + said[:shift]), range(0, 400, 50)))
    for codes in found:
        assert [column[0] for column in table.columns(np.array(codes[:1]))] == list(checked(said[0]))
        assert sorted(set(codes)) == list(range(50))


def test_a_producer_that_makes_up_names_fills_no_memory(monkeypatch):
    monkeypatch.setattr(series_numbers, "MOST_SERIES", 100)
    monkeypatch.setattr(messages, "_tables", [SeriesTable(messages._checked_series)])
    for first in range(0, 1_000, 50):
        values = [
            b'{"device_id":"d%d","device_type":"t","timestamp":"2026-01-01T00:00:00Z","metric_name":"m","metric_value":%d}'
            % (i, i)
            for i in range(first, first + 50)
        ]
        batch = RecordBatch("t", 0, np.arange(50), np.zeros(50, dtype=np.int64), [None] * 50, values)
        decoded, rejected = decode_batch(batch, now_ms=2**45)
        assert (list(decoded.device_id), rejected) == ([f"d{i}" for i in range(first, first + 50)], [])
        assert len(messages._tables[0]._said) <= 150
