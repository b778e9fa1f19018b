-- From version 3 to 4 of store.sql: operating modes, slow wear.

ALTER TABLE device_profiles ADD COLUMN modes TEXT;

CREATE TABLE metric_trends (
    device_id TEXT NOT NULL,
    metric TEXT NOT NULL,
    unit TEXT NOT NULL,
    reading REAL,
    deviation REAL NOT NULL,
    sigmas REAL NOT NULL,
    per_day REAL NOT NULL,
    cusum REAL NOT NULL,
    since INTEGER,
    days_to_limit REAL,
    span_start INTEGER NOT NULL,
    span_end INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (device_id, metric)
) WITHOUT ROWID;
