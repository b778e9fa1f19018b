"""How far ingestion is behind: ``lag``, which loads only what it needs, for it is asked often."""

from __future__ import annotations

from hvac_platform.cli.output import AsJson, at, console, print_rows
from hvac_platform.config import CONSUMER_GROUP, load_settings
from hvac_platform.ingestion.flow import flows
from hvac_platform.runtime.connections import open_log, open_store
from hvac_platform.timestamps import now_ms


def lag(as_json: AsJson = False) -> None:
    """How far ingestion is behind the log, by partition."""
    settings = load_settings()
    log, store = open_log(settings), open_store(settings)
    topic = settings.kafka_topic
    committed, found = log.committed(CONSUMER_GROUP, topic), flows(log, store, topic, now_ms())
    proofs = {}
    if as_json:
        from hvac_platform.ingestion.proof import newest_proofs  # loaded where it is asked for

        proofs = {p.partition: p for p in newest_proofs(log, store, topic, now_ms())}
    rows = [
        {
            "partition": flow.partition,
            "begin": flow.begin,
            "end": flow.end,
            "ledger": flow.ledger,
            "committed": committed.get(flow.partition),
            "lag": flow.waiting,
            "skipped": flow.skipped,
            "watermark": at(flow.watermark),
            "state": flow.state,
            **({"proof": proof.document() if (proof := proofs.get(flow.partition)) else None} if as_json else {}),
        }
        for flow in found
    ]
    narrow = ("partition", "end", "ledger", "lag", "state")
    print_rows(rows, as_json=as_json, title=f"{topic}, group {CONSUMER_GROUP}", narrow=narrow)
    for flow in found:
        if flow.said and not as_json:
            console.print(f"partition {flow.partition}: {flow.said}")
