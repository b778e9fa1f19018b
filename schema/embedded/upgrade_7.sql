-- From version 6 to 7 of store.sql: the ledger says which readings wait for their window to be complete, and when all was in.

ALTER TABLE ingestion_ledger ADD COLUMN open_since INTEGER;
ALTER TABLE ingestion_ledger ADD COLUMN caught_up_at INTEGER;
