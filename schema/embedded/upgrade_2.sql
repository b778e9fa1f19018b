-- From version 1 to 2 of store.sql: snapshots may wait for their embedding.

CREATE TABLE embedding_backlog (
    device_id TEXT NOT NULL,
    date TEXT NOT NULL,
    since INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (device_id, date)
) WITHOUT ROWID;
