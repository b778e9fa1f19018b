"""The topic that metrics arrive on, as an external asset."""

import dagster as dg

from hvac_platform.assets.common import OWNERS

iot_metrics = dg.AssetSpec(
    "iot_metrics",
    group_name="ingestion",
    kinds={"kafka"},
    owners=OWNERS,
    description=(
        "Topic of the message log: one JSON message per metric, keyed by device id, its record timestamp the time of the "
        "reading. Producers write it; the `kafka_ingestion` sensor watches its end offsets."
    ),
)
