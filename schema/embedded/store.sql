-- Embedded store (SQLite). Columns as in ../tables.yaml, but for the three tables of many rows, whose columns are packed
-- (hvac_platform/stores/packed says how). `date` is derived from the time column, so it costs no space; static attributes
-- live in devices.

-- Lists of names that many rows share: metrics of a device, methods, encoders.
CREATE TABLE vocabulary (
    id INTEGER PRIMARY KEY,
    names TEXT NOT NULL UNIQUE
);

-- One row a device and instant: layout is metric, unit, metric, unit, ... in the vocabulary, cells the values.
CREATE TABLE device_metrics_raw (
    device_id TEXT NOT NULL,
    date TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%d', timestamp / 1000, 'unixepoch')) VIRTUAL,
    timestamp INTEGER NOT NULL,
    layout INTEGER NOT NULL,
    cells BLOB NOT NULL,
    PRIMARY KEY (device_id, timestamp)
) WITHOUT ROWID;

CREATE TABLE metric_aggregation_buffer (
    device_id TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    metric_name TEXT NOT NULL,
    metric_value REAL NOT NULL,
    last_updated INTEGER NOT NULL,
    PRIMARY KEY (device_id, window_start, metric_name)
) WITHOUT ROWID;

-- layout is the list of metrics, state what the window says of each; encoder is the embedding method in the vocabulary, and
-- the embedding has no padding.
CREATE TABLE device_state_snapshots (
    device_id TEXT NOT NULL,
    date TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%d', snapshot_time / 1000, 'unixepoch')) VIRTUAL,
    snapshot_time INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    layout INTEGER NOT NULL,
    completeness REAL NOT NULL,
    revision INTEGER NOT NULL,
    judged_revision INTEGER,
    is_anomalous INTEGER,
    anomaly_score REAL,
    encoder INTEGER,
    state BLOB NOT NULL,
    embedding BLOB,
    PRIMARY KEY (device_id, snapshot_time)
) WITHOUT ROWID;

-- Windows whose content is not what was judged: what detection looks for, without a look at any other row.
CREATE INDEX device_state_unjudged ON device_state_snapshots (device_id, snapshot_time, window_ms, revision)
WHERE judged_revision IS NOT revision;

-- The live view is of the newest window: what is in a window before one that has its snapshot is of no use any more.
CREATE TRIGGER device_state_written
AFTER INSERT ON device_state_snapshots
BEGIN
    DELETE FROM metric_aggregation_buffer WHERE device_id = new.device_id AND window_start < new.snapshot_time;
END;

-- Small columns first, and a row number: whether a profile has changed is asked for every window, and is then found without a
-- look at the large columns, which lie on pages of their own.
CREATE TABLE device_profiles (
    device_id TEXT NOT NULL PRIMARY KEY,
    profile_version INTEGER NOT NULL,
    snapshot_count INTEGER NOT NULL,
    span_start INTEGER NOT NULL,
    span_end INTEGER NOT NULL,
    profile_created_at INTEGER NOT NULL,
    profile_updated_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    embedding_method TEXT NOT NULL,
    device_type TEXT NOT NULL,
    location TEXT NOT NULL,
    building_id TEXT NOT NULL,
    profile_embedding BLOB NOT NULL,
    metric_stats TEXT NOT NULL,
    calibration TEXT NOT NULL,
    detector BLOB,
    fit TEXT,
    energy TEXT,
    modes TEXT
);

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

CREATE TABLE anomaly_events (
    device_id TEXT NOT NULL,
    detected_at INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    anomaly_score REAL NOT NULL,
    anomaly_type TEXT NOT NULL,
    methods TEXT NOT NULL,
    level INTEGER NOT NULL,
    reasons TEXT NOT NULL,
    metrics TEXT NOT NULL,
    metrics_snapshot TEXT NOT NULL,
    device_type TEXT NOT NULL,
    location TEXT NOT NULL,
    building_id TEXT NOT NULL,
    PRIMARY KEY (device_id, detected_at)
);

-- One row a device and window: layout is the list of methods in the vocabulary, cells their verdicts.
CREATE TABLE snapshot_verdicts (
    device_id TEXT NOT NULL,
    date TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%d', snapshot_time / 1000, 'unixepoch')) VIRTUAL,
    snapshot_time INTEGER NOT NULL,
    layout INTEGER NOT NULL,
    cells BLOB NOT NULL,
    PRIMARY KEY (device_id, snapshot_time)
) WITHOUT ROWID;

CREATE TABLE devices (
    device_id TEXT PRIMARY KEY,
    device_type TEXT NOT NULL,
    location TEXT NOT NULL,
    building_id TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    kafka_partition INTEGER NOT NULL,
    window_ms INTEGER
) WITHOUT ROWID;

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

CREATE TABLE device_days (
    device_id TEXT NOT NULL,
    date TEXT NOT NULL,
    raw_written_at INTEGER,
    snapshots_written_at INTEGER,
    judged_at INTEGER,
    PRIMARY KEY (device_id, date)
) WITHOUT ROWID;

CREATE INDEX device_days_by_date ON device_days (date, device_id);

CREATE TABLE ingestion_ledger (
    topic TEXT NOT NULL,
    kafka_partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    watermark INTEGER,
    skipped_offsets INTEGER NOT NULL DEFAULT 0,
    log_id TEXT,
    log_since INTEGER,
    holder TEXT,
    held_until INTEGER,
    fence INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    failed_at INTEGER,
    error TEXT,
    range_limit INTEGER,
    open_since INTEGER,
    caught_up_at INTEGER,
    PRIMARY KEY (topic, kafka_partition)
) WITHOUT ROWID;

CREATE TABLE dead_letters (
    topic TEXT NOT NULL,
    date TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%d', record_time / 1000, 'unixepoch')) VIRTUAL,
    kafka_partition INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    record_time INTEGER NOT NULL,
    record_key BLOB,
    record_value BLOB,
    record_length INTEGER,
    record_sha256 TEXT,
    reason TEXT NOT NULL,
    rejected_at INTEGER NOT NULL,
    PRIMARY KEY (topic, kafka_partition, record_offset)
) WITHOUT ROWID;

CREATE TABLE touched_windows (
    run_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    device_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    kafka_partition INTEGER NOT NULL,
    window_starts BLOB NOT NULL,
    latest INTEGER NOT NULL,
    written_at INTEGER NOT NULL,
    PRIMARY KEY (run_id, kafka_partition, sequence, device_id)
) WITHOUT ROWID;

CREATE TABLE embedding_backlog (
    device_id TEXT NOT NULL,
    date TEXT NOT NULL,
    since INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (device_id, date)
) WITHOUT ROWID;

CREATE TABLE detection_reports (
    date TEXT NOT NULL,
    device_id TEXT NOT NULL,
    windows INTEGER NOT NULL,
    consensus INTEGER NOT NULL,
    any_method INTEGER NOT NULL,
    incidents INTEGER,
    energy_kwh REAL,
    expected_kwh REAL,
    excess_kwh REAL,
    PRIMARY KEY (date, device_id)
) WITHOUT ROWID;

CREATE TABLE method_reports (
    date TEXT NOT NULL,
    device_id TEXT NOT NULL,
    method TEXT NOT NULL,
    windows INTEGER NOT NULL,
    anomalous INTEGER NOT NULL,
    alone INTEGER,
    PRIMARY KEY (date, device_id, method)
) WITHOUT ROWID;

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
    parent_id TEXT,
    urgency REAL,
    PRIMARY KEY (device_id, started_at)
) WITHOUT ROWID;

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

CREATE TABLE maintenance_spans (
    device_id TEXT NOT NULL,
    starts_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    note TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    PRIMARY KEY (device_id, starts_at)
) WITHOUT ROWID;

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

CREATE TABLE store_settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    set_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE users (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    buildings TEXT,
    token_sha256 TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    revoked_at INTEGER,
    password_argon2 TEXT,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;
