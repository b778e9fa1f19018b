-- Embedded message log (SQLite in WAL mode). Offsets have Kafka's semantics.
-- One row of record_batches holds up to ~2,000 consecutive records of one partition.

CREATE TABLE topics (
    topic_id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL UNIQUE,
    partitions INTEGER NOT NULL CHECK (partitions >= 1),
    retention_ms INTEGER NOT NULL,  -- -1 keeps records for ever
    identity TEXT NOT NULL DEFAULT ''  -- tells a topic from one of the same name in a file made earlier or later
) STRICT;

-- [begin_offset, end_offset) is stored. Kept apart from the batches, so that a partition that retention has emptied
-- still knows its next offset.
CREATE TABLE topic_partitions (
    topic_id INTEGER NOT NULL REFERENCES topics,
    partition INTEGER NOT NULL,
    begin_offset INTEGER NOT NULL DEFAULT 0,
    end_offset INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic_id, partition),
    CHECK (0 <= begin_offset AND begin_offset <= end_offset)
) STRICT, WITHOUT ROWID;

-- payload: zlib of the MessagePack array [timestamps as int64 little endian, keys, values].
CREATE TABLE record_batches (
    batch_id INTEGER PRIMARY KEY,
    topic_id INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    base_offset INTEGER NOT NULL,
    record_count INTEGER NOT NULL CHECK (record_count >= 1),
    max_timestamp_ms INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;

-- Finds a batch by offset and, without touching payloads, the first batch that reaches a timestamp.
CREATE UNIQUE INDEX record_batches_by_offset
ON record_batches (topic_id, partition, base_offset, max_timestamp_ms);

CREATE TABLE committed_offsets (
    consumer_group TEXT NOT NULL,
    topic_id INTEGER NOT NULL REFERENCES topics,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (consumer_group, topic_id, partition)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 2;
