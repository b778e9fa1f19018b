"""The science: pure functions from arrays of snapshots to scores, verdicts and reasons."""
