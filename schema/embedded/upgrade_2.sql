-- From version 1 to 2 of store.sql: snapshots may wait for their embedding.

CREATE TABLE embedding_backlog (
    device_id TEXT NOT NULL,
    date TEXT NOT NULL,
    since INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (device_id, date)
) WITHOUT ROWID;

CREATE TRIGGER device_state_embedding_withdrawn
AFTER UPDATE OF embedding_method ON device_state_snapshots
WHEN new.embedding_method IS NULL AND old.embedding_method IS NOT NULL
BEGIN
    DELETE FROM device_state_embedding_idx WHERE rowid = new.id;
END;
