-- From version 5 to 6 of store.sql: reports hold a row a method; a window says which of its revisions was judged.

CREATE TABLE method_reports (
    date TEXT NOT NULL,
    device_id TEXT NOT NULL,
    method TEXT NOT NULL,
    windows INTEGER NOT NULL,
    anomalous INTEGER NOT NULL,
    alone INTEGER,
    PRIMARY KEY (date, device_id, method)
) WITHOUT ROWID;

INSERT INTO method_reports (date, device_id, method, windows, anomalous)
SELECT date, device_id, 'rules', windows, rules FROM detection_reports
UNION ALL SELECT date, device_id, 'profile', windows, profile FROM detection_reports
UNION ALL SELECT date, device_id, 'vector', windows, vector FROM detection_reports;

ALTER TABLE detection_reports DROP COLUMN rules;
ALTER TABLE detection_reports DROP COLUMN profile;
ALTER TABLE detection_reports DROP COLUMN vector;

ALTER TABLE device_state_snapshots ADD COLUMN judged_revision INTEGER;

-- Three methods were to have judged a window; where they have judged another revision, or not all have, it is unjudged.
UPDATE device_state_snapshots SET judged_revision = (
    SELECT min(v.revision)
    FROM snapshot_verdicts AS v
    WHERE v.device_id = device_state_snapshots.device_id AND v.snapshot_time = device_state_snapshots.snapshot_time
    HAVING count(*) = 3 AND min(v.revision) = max(v.revision)
);

CREATE INDEX device_state_unjudged ON device_state_snapshots (device_id, snapshot_time, window_ms, revision)
WHERE judged_revision IS NOT revision;
