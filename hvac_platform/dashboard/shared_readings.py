"""Numbers of the whole platform that several pages show, read once for all of them."""

from __future__ import annotations

from dataclasses import replace

from hvac_platform.access.users import UserError
from hvac_platform.dashboard.reading import Ingestion, ingestion
from hvac_platform.dashboard.source import Remembered, Source
from hvac_platform.ingestion.flow import FlowWatch
from hvac_platform.ingestion.proof import RangeProof, newest_proofs
from hvac_platform.log.base import UnknownTopicError
from hvac_platform.timestamps import now_ms

INGESTION_SECONDS = 5.0
COUNT_SECONDS = 60.0
"""Counting a table means walking through it."""

PROOF_SECONDS = 60.0


class SharedReadings:
    """How far ingestion is, and how many messages were rejected; an error is a value here, for a page can do without."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._ingestion = Remembered(self._read_ingestion, INGESTION_SECONDS)
        self._watch = FlowWatch()
        self._proofs = Remembered(self._prove, PROOF_SECONDS)
        self._rejected = Remembered(self._count_rejected, COUNT_SECONDS)

    def ingestion(self) -> Ingestion | Exception | None:
        """Log and ledger; None while there is no topic."""
        try:
            self._require_whole_site()
            return self._ingestion.get()
        except Exception as error:  # the page says so and shows the rest
            return error

    def proofs(self) -> list[RangeProof] | Exception:
        """What became of the last messages of each partition that the ledger counts as in."""
        try:
            self._require_whole_site()
            return self._proofs.get()
        except Exception as error:  # the page says so and shows the rest
            return error

    def rejected(self) -> int | Exception:
        """Number of dead letters."""
        try:
            self._require_whole_site()
            return self._rejected.get()
        except Exception as error:  # the page says so and shows the rest
            return error

    def _require_whole_site(self) -> None:
        if self.source.buildings() is not None:
            raise UserError("messages are of the whole site, and you see some of its buildings")

    def _read_ingestion(self) -> Ingestion | None:
        found = ingestion(self.source.log(), self.source.store(), self.source.settings.kafka_topic)
        return None if found is None else replace(found, partitions=self._watch.look(found.partitions, now_ms()))

    def _prove(self) -> list[RangeProof]:
        log, store = self.source.log(), self.source.store()
        if log is None or store is None:
            return []
        try:
            return newest_proofs(log, store, self.source.settings.kafka_topic, now_ms())
        except UnknownTopicError:
            return []

    def _count_rejected(self) -> int:
        store = self.source.store()
        return store.count("dead_letters") if store is not None else 0
