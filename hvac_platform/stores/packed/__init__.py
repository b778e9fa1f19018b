"""How the embedded store lays out the tables of which there are many rows: arrays in few bytes, without loss."""

PACKED = {
    "device_metrics_raw": {"metric_name": "layout", "unit": "layout", "metric_value": "cells"},
    "device_state_snapshots": {
        "metrics": "layout, state",
        "metric_summary": "layout, state",
        "embedding_method": "encoder",
        "embedding": "embedding",
    },
    "snapshot_verdicts": {
        "method": "layout",
        **dict.fromkeys(("score", "anomalous", "level", "reasons", "metrics", "profile_version", "revision"), "cells"),
    },
}
"""Columns of the catalogue that are not columns of the file as they are, and in which of its columns they are, by table."""
