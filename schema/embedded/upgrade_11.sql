-- From version 10 to 11 of store.sql: users of the dashboard's server.

CREATE TABLE users (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    buildings TEXT,
    token_sha256 TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    revoked_at INTEGER,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;
