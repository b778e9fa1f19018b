"""Dagster resources: store, message log, encoder. What they connect to is set in the environment, never in run config."""

import dagster as dg

from hvac_platform.config import Settings, load_settings
from hvac_platform.embedding.learned import Encoders
from hvac_platform.ingestion.ownership import LeaseKeeper
from hvac_platform.log.base import MessageLog
from hvac_platform.runtime.connections import LEASES, make_encoders, open_log, open_store
from hvac_platform.stores.base import Store


class PlatformResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Store, message log and encoder of this environment, opened when first used."""

    @property
    def settings(self) -> Settings:
        """Settings of the process."""
        return load_settings()

    @property
    def store(self) -> Store:
        """The table store."""
        return open_store(self.settings)

    @property
    def log(self) -> MessageLog:
        """The message log."""
        return open_log(self.settings)

    @property
    def topic(self) -> str:
        """Topic of the metrics."""
        return self.settings.kafka_topic

    @property
    def home(self) -> str:
        """What tells this platform from others that share Dagster's storage with it: its store and its topic."""
        return f"{self.store.location} {self.topic}"

    @property
    def leases(self) -> LeaseKeeper:
        """The partitions that this process owns."""
        return LEASES

    @property
    def encoders(self) -> Encoders:
        """Encoders of snapshots."""
        return make_encoders(self.settings, self.store)
