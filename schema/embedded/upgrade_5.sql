-- From version 4 to 5 of store.sql: leases and the log's identity in the ledger, bounded dead letters, remembered settings.

ALTER TABLE ingestion_ledger ADD COLUMN log_id TEXT;
ALTER TABLE ingestion_ledger ADD COLUMN log_since INTEGER;
ALTER TABLE ingestion_ledger ADD COLUMN holder TEXT;
ALTER TABLE ingestion_ledger ADD COLUMN held_until INTEGER;
ALTER TABLE ingestion_ledger ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ingestion_ledger ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ingestion_ledger ADD COLUMN failed_at INTEGER;
ALTER TABLE ingestion_ledger ADD COLUMN error TEXT;
ALTER TABLE ingestion_ledger ADD COLUMN range_limit INTEGER;

ALTER TABLE dead_letters ADD COLUMN record_length INTEGER;
ALTER TABLE dead_letters ADD COLUMN record_sha256 TEXT;

CREATE TABLE store_settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    set_at INTEGER NOT NULL
) WITHOUT ROWID;
