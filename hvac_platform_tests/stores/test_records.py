"""Records against the catalogue of tables, and there and back through the embedded store."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hvac_platform.stores import records
from hvac_platform.stores.base import TableSlice
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.packed import PACKED
from hvac_platform.stores.records import Incident, Record, Snapshot, StoredProfile, stored_detector
from hvac_platform.stores.tables import Table, tables
from hvac_platform.timestamps import DAY_MS, day_of

RECORDS = [r for r in vars(records).values() if isinstance(r, type) and issubclass(r, Record) and r is not Record]
TYPES = {
    "text": str,
    "bigint": int,
    "double": float,
    "boolean": bool,
    "timestamp": int,
    "blob": bytes,
    "map": dict[str, float],
    "vector": NDArray[np.float32],
}
PRESENT_MS = 20_000 * DAY_MS


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = EmbeddedStore(tmp_path_factory.mktemp("records") / "store.db")
    yield made
    made.close()


def without_none(hint: Any) -> tuple[Any, bool]:
    """A field's type where it has a value, and whether it may have none."""
    parts = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    (kind,) = (part for part in parts if part is not NoneType)
    return kind, NoneType in parts


def test_every_table_has_one_record():
    assert sorted(record.TABLE for record in RECORDS) == sorted(tables())


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_has_the_columns_of_its_table_with_their_types(record, store):
    table, hints = tables()[record.TABLE], get_type_hints(record)
    fields = {name: without_none(hints[name]) for name in record.all_but()}
    assert list(fields) == list(table.columns)
    for name, (kind, _) in fields.items():
        written = table.columns[name].type
        assert kind == TYPES[written] if written in TYPES else get_origin(kind) in (list, dict) or is_typeddict(kind), (
            name
        )
    stored = store.connection.execute(f"SELECT name, \"notnull\" FROM pragma_table_xinfo('{record.TABLE}')")
    required = {name for name, not_null in stored if not_null} | {"date"}
    for name, held in PACKED.get(record.TABLE, {}).items():
        required |= {name} if set(held.split(", ")) <= required else set()
    assert {name for name, (_, may_lack) in fields.items() if not may_lack} == required & set(fields)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any values of a type that the store takes: 53 bits of an integer, for JSON has no more; text without NUL."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return st.one_of(st.none() if part is NoneType else values(part) for part in parts)
    if kind == NDArray[np.float32]:
        return st.integers(0, 383).map(lambda axis: np.eye(384, dtype=np.float32)[axis])
    if origin is list:
        return st.lists(values(parts[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(values(str), values(parts[1]), max_size=3)
    if is_typeddict(kind):
        hints = {name: values(hint) for name, hint in get_type_hints(kind).items()}
        optional = {name: hints.pop(name) for name in sorted(kind.__optional_keys__)}
        return st.fixed_dictionaries(hints, optional=optional)
    return {
        str: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
        int: st.integers(-(2**53) + 1, 2**53 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        bytes: st.binary(max_size=8),
        object: st.text(max_size=8),
    }[kind]


def one_of(record: type[Record], table: Table) -> st.SearchStrategy[Record]:
    hints = get_type_hints(record)
    known = {name: values(hints[name]) for name in table.columns}
    if table.time_column is not None:
        known[table.time_column] = st.integers(0, PRESENT_MS)

    def made(**fields: Any) -> Record:
        if "date" in fields and table.time_column is not None:
            fields["date"] = day_of(fields[table.time_column])
        if fields.get("embedding") is not None:  # a vector is never without the method that made it
            fields["embedding_method"] = fields["embedding_method"] or ""
        return record(**fields)

    return st.builds(made, **known)


@pytest.mark.parametrize("record", RECORDS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_record_comes_back_as_it_was_written(record, store, data):
    table = tables()[record.TABLE]
    written = data.draw(one_of(record, table))
    with store._write():  # one short transaction an example
        for batch in store.scan(TableSlice(record.TABLE)):
            store.delete(record.TABLE, batch)
        store.upsert(record.TABLE, record.columns([written]))
        (found,) = record.read(store)
        keys = {name: getattr(written, name) for name in table.key}
        assert record.read(store, equals=keys) == [found]
        (again,) = record.read(store, only=list(table.key))
    assert found == written
    for name in table.columns:
        assert np.array_equal(getattr(found, name), getattr(written, name)), name
        if name not in table.key:
            with pytest.raises(AttributeError, match=f"{record.__name__}.{name} was not read"):
                getattr(again, name)


def snapshot(time_ms: int, embedding: NDArray[np.float32] | None = None) -> Snapshot:
    state = {"metrics": {"t": 1.0}, "metric_summary": {"t": [1, 1.0, 1.0, 1.0]}, "completeness": 1.0, "revision": 7}
    judged = {"judged_revision": None, "is_anomalous": None, "anomaly_score": None}
    method = None if embedding is None else "state-1"
    fields = {"window_ms": 60_000, "embedding": embedding, "embedding_method": method, **state, **judged}
    return Snapshot(device_id="d", date=day_of(time_ms), snapshot_time=time_ms, **fields)


def test_records_are_read_in_batches_by_device_and_span_and_no_more_than_asked_for(tmp_path):
    store = EmbeddedStore(tmp_path / "store.db")
    store.upsert("device_state_snapshots", Snapshot.columns([snapshot(t * 60_000) for t in range(10)]))
    span = (120_000, 420_000)
    batches = list(Snapshot.batches(store, "d", span, only=("snapshot_time",), batch_rows=2))
    assert [[s.snapshot_time // 60_000 for s in batch] for batch in batches] == [[2, 3], [4, 5], [6]]
    assert [s.snapshot_time for s in Snapshot.read(store, "d", span, most=2)] == [120_000, 180_000]
    assert Snapshot.first(store, "d", (600_000, None)) is None
    assert Snapshot.read(store, "other") == []


def test_vectors_are_arrays_and_rows_without_one_are_written_apart(tmp_path):
    store = EmbeddedStore(tmp_path / "store.db")
    axis = np.eye(384, dtype=np.float32)[3]
    store.upsert("device_state_snapshots", Snapshot.columns([snapshot(0, axis)]))
    store.upsert("device_state_snapshots", Snapshot.columns([snapshot(60_000)]))
    first, second = Snapshot.read(store)
    assert first.embedding.dtype == np.float32
    assert first.embedding.tolist() == axis.tolist()
    assert second.embedding is None
    with pytest.raises(ValueError, match="1 of 2 records have no embedding: write them apart"):
        Snapshot.columns([first, second])


def test_columns_that_are_to_stay_are_left_out_of_what_is_written():
    only = Incident.all_but("label")
    assert set(Incident.all_but()) - set(only) == {"label"}
    assert tuple(Incident.columns([], only=only)) == only


def test_a_column_that_there_is_not_is_refused(store):
    with pytest.raises(AttributeError, match="Snapshot has no temperature"):
        snapshot(0).temperature  # noqa: B018
    assert stored_detector(store, "nobody") is None
    assert StoredProfile.first(store, "nobody") is None
