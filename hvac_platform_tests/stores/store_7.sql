-- Embedded store (SQLite with the sqlite-vec extension). Columns as in ../tables.yaml.
-- `date` is derived from the time column, so it costs no space; static attributes live in devices.

CREATE TABLE device_metrics_raw (
    device_id TEXT NOT NULL,
    date TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%d', timestamp / 1000, 'unixepoch')) VIRTUAL,
    timestamp INTEGER NOT NULL,
    metric_name TEXT NOT NULL,
    metric_value REAL NOT NULL,
    unit TEXT NOT NULL,
    PRIMARY KEY (device_id, timestamp, metric_name)
) WITHOUT ROWID;

CREATE TABLE metric_aggregation_buffer (
    device_id TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    metric_name TEXT NOT NULL,
    metric_value REAL NOT NULL,
    last_updated INTEGER NOT NULL,
    PRIMARY KEY (device_id, window_start, metric_name)
) WITHOUT ROWID;

CREATE TABLE device_state_snapshots (
    id INTEGER PRIMARY KEY,
    device_id TEXT NOT NULL,
    date TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%d', snapshot_time / 1000, 'unixepoch')) VIRTUAL,
    snapshot_time INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    metric_summary TEXT NOT NULL,
    completeness REAL NOT NULL,
    revision INTEGER NOT NULL,
    judged_revision INTEGER,
    is_anomalous INTEGER,
    anomaly_score REAL,
    embedding_method TEXT,
    embedding BLOB,
    UNIQUE (device_id, snapshot_time)
);

-- Windows whose content is not what was judged: what detection looks for, without a look at any other row.
CREATE INDEX device_state_unjudged ON device_state_snapshots (device_id, snapshot_time, window_ms, revision)
WHERE judged_revision IS NOT revision;

-- Nearest-neighbour index, one partition per device. Triggers keep it in step with the table.
CREATE VIRTUAL TABLE device_state_embedding_idx USING vec0 (
    device_id TEXT PARTITION KEY,
    snapshot_time INTEGER,
    embedding_method TEXT,
    is_anomalous BOOLEAN,
    embedding FLOAT[384] DISTANCE_METRIC=cosine,
    chunk_size=256
);

CREATE TRIGGER device_state_inserted
AFTER INSERT ON device_state_snapshots
WHEN new.embedding IS NOT NULL
BEGIN
    INSERT INTO device_state_embedding_idx (rowid, device_id, snapshot_time, embedding_method, is_anomalous, embedding)
    VALUES (new.id, new.device_id, new.snapshot_time, new.embedding_method, coalesce(new.is_anomalous, 0), new.embedding);
END;

CREATE TRIGGER device_state_embedding_set
AFTER UPDATE OF embedding ON device_state_snapshots
WHEN new.embedding IS NOT NULL
    AND (old.embedding IS NOT new.embedding OR old.embedding_method IS NOT new.embedding_method)
BEGIN
    DELETE FROM device_state_embedding_idx WHERE rowid = new.id;
    INSERT INTO device_state_embedding_idx (rowid, device_id, snapshot_time, embedding_method, is_anomalous, embedding)
    VALUES (new.id, new.device_id, new.snapshot_time, new.embedding_method, coalesce(new.is_anomalous, 0), new.embedding);
END;

-- A vector whose method is taken away no longer counts.
CREATE TRIGGER device_state_embedding_withdrawn
AFTER UPDATE OF embedding_method ON device_state_snapshots
WHEN new.embedding_method IS NULL AND old.embedding_method IS NOT NULL
BEGIN
    DELETE FROM device_state_embedding_idx WHERE rowid = new.id;
END;

CREATE TRIGGER device_state_flag_set
AFTER UPDATE OF is_anomalous ON device_state_snapshots
WHEN new.embedding IS NOT NULL AND coalesce(old.is_anomalous, 0) IS NOT coalesce(new.is_anomalous, 0)
BEGIN
    UPDATE device_state_embedding_idx SET is_anomalous = coalesce(new.is_anomalous, 0) WHERE rowid = new.id;
END;

CREATE TRIGGER device_state_deleted
AFTER DELETE ON device_state_snapshots
WHEN old.embedding IS NOT NULL
BEGIN
    DELETE FROM device_state_embedding_idx WHERE rowid = old.id;
END;

CREATE TABLE device_profiles (
    device_id TEXT PRIMARY KEY,
    device_type TEXT NOT NULL,
    location TEXT NOT NULL,
    building_id TEXT NOT NULL,
    profile_embedding BLOB NOT NULL,
    embedding_method TEXT NOT NULL,
    metric_stats TEXT NOT NULL,
    calibration TEXT NOT NULL,
    profile_version INTEGER NOT NULL,
    snapshot_count INTEGER NOT NULL,
    span_start INTEGER NOT NULL,
    span_end INTEGER NOT NULL,
    profile_created_at INTEGER NOT NULL,
    profile_updated_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    detector BLOB,
    fit TEXT,
    energy TEXT,
    modes TEXT
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
) WITHOUT ROWID;

CREATE TABLE snapshot_verdicts (
    device_id TEXT NOT NULL,
    date TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%d', snapshot_time / 1000, 'unixepoch')) VIRTUAL,
    snapshot_time INTEGER NOT NULL,
    method TEXT NOT NULL,
    score REAL NOT NULL,
    anomalous INTEGER NOT NULL,
    level INTEGER NOT NULL,
    reasons TEXT NOT NULL,
    metrics TEXT NOT NULL,
    profile_version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (device_id, snapshot_time, method)
) WITHOUT ROWID;

CREATE TABLE devices (
    device_id TEXT PRIMARY KEY,
    device_type TEXT NOT NULL,
    location TEXT NOT NULL,
    building_id TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    kafka_partition INTEGER NOT NULL
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
