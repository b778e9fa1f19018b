"""Dagster sensors: what launches ingestion, what watches that data flow, what tells of failed runs, what sends alerts."""

import sys
from importlib import import_module

if __name__ == "sensors":  # from the top of a checkout; the same modules, not a second copy of them
    for _name in ("kafka_ingestion", "ingestion_watch", "run_failure", "alert_delivery"):
        sys.modules[f"{__name__}.{_name}"] = import_module(f"hvac_platform.sensors.{_name}")
    sys.modules[__name__] = sys.modules["hvac_platform.sensors"]
