"""Dagster sensors: Kafka ingestion, failed runs, anomaly alerts."""
