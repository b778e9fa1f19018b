-- From version 8 to 9 of store.sql: what people and the platform make of incidents, the outbox of alerts,
-- and what is learned when.

ALTER TABLE incidents ADD COLUMN parent_id TEXT;
ALTER TABLE incidents ADD COLUMN urgency REAL;

CREATE TABLE incident_handling (
    device_id TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    state TEXT NOT NULL,
    since INTEGER NOT NULL,
    actor TEXT NOT NULL,
    assignee TEXT,
    snoozed_until INTEGER,
    openings INTEGER NOT NULL,
    reopened_at INTEGER,
    labels TEXT NOT NULL,
    severity TEXT NOT NULL,
    faults TEXT NOT NULL,
    parent_id TEXT,
    continues TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (device_id, incident_id)
) WITHOUT ROWID;

CREATE TABLE incident_transitions (
    device_id TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    transition_key TEXT NOT NULL,
    transition TEXT NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    note TEXT NOT NULL,
    details TEXT NOT NULL,
    PRIMARY KEY (device_id, incident_id, transition_key)
) WITHOUT ROWID;

CREATE TABLE alert_outbox (
    date TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%d', queued_at / 1000, 'unixepoch')) VIRTUAL,
    queued_at INTEGER NOT NULL,
    message_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    transition TEXT NOT NULL,
    route TEXT,
    receiver TEXT,
    incidents TEXT NOT NULL,
    details TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at INTEGER,
    sent_at INTEGER,
    error TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (message_key)
) WITHOUT ROWID;

-- What waits is found without a look at what was sent.
CREATE INDEX alert_outbox_by_state ON alert_outbox (state, queued_at);

CREATE TABLE alert_suppressions (
    scope TEXT NOT NULL,
    suppression_id TEXT NOT NULL,
    matches TEXT NOT NULL,
    calendar TEXT NOT NULL,
    note TEXT NOT NULL,
    added_by TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    PRIMARY KEY (scope, suppression_id)
) WITHOUT ROWID;

-- At which pace each point of a device reports.
CREATE TABLE device_points (
    device_id TEXT NOT NULL,
    metric TEXT NOT NULL,
    interval_ms INTEGER NOT NULL,
    longest_ms INTEGER NOT NULL,
    regular INTEGER NOT NULL,
    learned_from INTEGER NOT NULL,
    learned_until INTEGER NOT NULL,
    grade TEXT,
    retired_at INTEGER,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (device_id, metric)
) WITHOUT ROWID;

-- The versions of a device's profile; what they hold comes last, for lists do without it.
CREATE TABLE profile_versions (
    device_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    embedding_method TEXT NOT NULL,
    snapshot_count INTEGER NOT NULL,
    span_start INTEGER NOT NULL,
    span_end INTEGER NOT NULL,
    built_at INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    decided_by TEXT NOT NULL,
    gate TEXT,
    content BLOB,
    PRIMARY KEY (device_id, number)
);

-- What is new on a device and lasts.
CREATE TABLE lasting_changes (
    device_id TEXT NOT NULL,
    since INTEGER NOT NULL,
    seen_until INTEGER NOT NULL,
    state TEXT NOT NULL,
    windows INTEGER NOT NULL,
    share REAL NOT NULL,
    metrics TEXT NOT NULL,
    signature TEXT NOT NULL,
    evidence TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    told_at INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    decided_by TEXT NOT NULL,
    PRIMARY KEY (device_id, since)
) WITHOUT ROWID;
