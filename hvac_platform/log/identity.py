"""A topic that was deleted and made again: offsets begin anew, and what stands in the store is of the log before it."""

from __future__ import annotations

from dataclasses import replace

from hvac_platform.config import CONSUMER_GROUP
from hvac_platform.log.base import MessageLog
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import DeadLetter, LedgerEntry
from hvac_platform.timestamps import iso

LETTERS_AT_ONCE = 200


def was_made_again(entry: LedgerEntry, log_id: str, end: int, told: int | None = None) -> bool:
    """Whether an entry's offsets count in another log than the present one.

    The identity says so where both are known. A log that ends before the ledger is another one too, or the same one put
    back to an earlier state: in both cases what is appended from now on would never be read. An embedded log knows by
    itself how far it was ingested; one that knows of less than the ledger was put back, however far it has grown since.

    Args:
        entry: the ledger's.
        log_id: identity of the present log; empty where it isn't known.
        end: end of the partition in the present log.
        told: offset up to which the log was told that it is in, see :func:`told_offsets`.
    """
    if entry.log_id and log_id and entry.log_id != log_id:
        return True
    return end < entry.next_offset or (told is not None and told < entry.next_offset)


def told_offsets(log: MessageLog, topic: str) -> dict[int, int]:
    """How far each partition of an embedded log was told that it is in, which happens before the ledger moves.

    Kafka keeps a group's offsets apart from the topic, and anybody may reset them, so there they say nothing.
    """
    return log.committed(CONSUMER_GROUP, topic) if isinstance(log, EmbeddedLog) else {}


def made_again_message(topic: str, partition: int, entry: LedgerEntry, begin: int) -> str:
    """What is told of it, in one line."""
    return (
        f"{topic}/{partition}: this is another log than the one that the ledger counts in, up to offset "
        f"{entry.next_offset}: the topic was made again, or put back to an earlier state. It is read from its begin "
        f"({begin}); what the log before held unread can't be read any more"
    )


def put_letters_away(store: Store, topic: str, partition: int, now_ms: int) -> int:
    """Keep a partition's dead letters under another topic name, ``topic@time``, so that those of the new log get their own.

    Repeating it after a crash is harmless: letters are copied before they are removed.

    Returns:
        How many there were.
    """
    name = f"{topic}@{iso(now_ms)}"
    moved = 0
    for batch in DeadLetter.batches(store, batch_rows=LETTERS_AT_ONCE):
        mine = [letter for letter in batch if (letter.topic, letter.kafka_partition) == (topic, partition)]
        if mine:
            store.upsert(DeadLetter.TABLE, DeadLetter.columns([replace(letter, topic=name) for letter in mine]))
            store.delete(DeadLetter.TABLE, DeadLetter.columns(mine))
            moved += len(mine)
    return moved
