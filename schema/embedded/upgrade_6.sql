-- From version 5 to 6 of store.sql: reports hold a row a method.

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
