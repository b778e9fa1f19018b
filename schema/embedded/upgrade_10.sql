-- From version 9 to 10 of store.sql: a device may have windows of a length of its own.

ALTER TABLE devices ADD COLUMN window_ms INTEGER;
