"""What runs are told apart by: tags that say whose they are and what they take in, and states."""

import dagster as dg

HOME_TAG = "hvac/home"
"""Which platform a run is of: several may share Dagster's storage."""
RANGES_TAG = "hvac/offset_ranges"
"""Ranges that a run was planned for; a run without it is somebody's own."""
PARTITION_TAG = "hvac/kafka_partition_{}"
STANDING_TAG = "hvac/standing"
"""``yes`` for a run that goes on with what arrives."""
SUCCEEDS_TAG = "hvac/succeeds"
"""The run that it is to take over from."""

LAUNCHED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
RUNNING = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
