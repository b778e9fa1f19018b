-- From version 2 to 3 of store.sql: encoders of devices' own, incidents, maintenance, energy.

ALTER TABLE device_profiles ADD COLUMN detector BLOB;
ALTER TABLE device_profiles ADD COLUMN fit TEXT;
ALTER TABLE device_profiles ADD COLUMN energy TEXT;

ALTER TABLE detection_reports ADD COLUMN incidents INTEGER;
ALTER TABLE detection_reports ADD COLUMN energy_kwh REAL;
ALTER TABLE detection_reports ADD COLUMN expected_kwh REAL;
ALTER TABLE detection_reports ADD COLUMN excess_kwh REAL;

CREATE TABLE incidents (
    device_id TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    incident_id TEXT NOT NULL,
    status TEXT NOT NULL,
    severity TEXT NOT NULL,
    level INTEGER NOT NULL,
    windows INTEGER NOT NULL,
    peak_score REAL NOT NULL,
    methods TEXT NOT NULL,
    rules TEXT NOT NULL,
    metrics TEXT NOT NULL,
    reasons TEXT NOT NULL,
    signature TEXT NOT NULL,
    kinds TEXT NOT NULL,
    similar TEXT NOT NULL,
    scope TEXT NOT NULL,
    cause TEXT NOT NULL,
    excess_kwh REAL,
    device_type TEXT NOT NULL,
    location TEXT NOT NULL,
    building_id TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    label TEXT,
    PRIMARY KEY (device_id, started_at)
) WITHOUT ROWID;

CREATE TABLE maintenance_spans (
    device_id TEXT NOT NULL,
    starts_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    note TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    PRIMARY KEY (device_id, starts_at)
) WITHOUT ROWID;
