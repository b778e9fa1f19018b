"""Configuration from the environment and ``.env``: every variable of the platform, in one place."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

CONSUMER_GROUP = "iot-consumer-group"


class ConfigError(Exception):
    """A variable has a value that can't be used; one line says which and why."""


class Settings(BaseSettings):
    """Settings of one process.

    The names are the environment's, in lower case: ``hvac_home`` is ``HVAC_HOME``.
    """

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    hvac_home: Path = Field(default=Path(".hvac"), description="Folder of the embedded store and log")
    hvac_window_seconds: int = Field(default=60, ge=1, le=86_400, description="Length of a snapshot's window")
    hvac_allowed_lateness_seconds: int = Field(
        default=30, ge=0, description="How long a window waits for late readings"
    )
    hvac_silence_seconds: int = Field(
        default=120, ge=0, description="After this long without readings a device's windows close by the wall clock"
    )
    hvac_embedding: Literal["state", "text"] = Field(default="state", description="Encoder of snapshots")
    hvac_start_date: date = Field(default=date(2020, 1, 1), description="First daily partition")
    hvac_max_messages_per_run: int = Field(default=500_000, ge=1_000, description="Most messages that one run ingests")
    hvac_profile_days_back: float = Field(default=1.0, gt=0, description="Days of history behind a profile")
    hvac_profile_min_snapshots: int = Field(default=5, ge=2, description="Fewest normal snapshots for a profile")
    hvac_false_alarms_per_day: float = Field(
        default=1.0, gt=0, description="False-alarm budget of each device and method"
    )
    hvac_keep_runs_days: float = Field(
        default=1.0, gt=0, description="Days that finished runs stay in Dagster's storage"
    )

    scylla_hosts: str = Field(default="", description="Comma-separated hosts; empty uses the embedded store")
    scylla_port: int = Field(default=9042, ge=1, le=65_535)
    scylla_username: str = ""
    scylla_password: SecretStr = SecretStr("")
    scylla_keyspace: str = "iot_monitoring"

    kafka_bootstrap_servers: str = Field(default="", description="host:port,…; empty uses the embedded log")
    kafka_topic: str = "iot-metrics"

    ollama_base_url: str = "http://localhost:11434"
    ollama_model: str = "all-minilm:l6-v2"

    @field_validator("hvac_home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @property
    def window_ms(self) -> int:
        """Length of a window in milliseconds."""
        return self.hvac_window_seconds * 1000

    @property
    def allowed_lateness_ms(self) -> int:
        """Allowed lateness in milliseconds."""
        return self.hvac_allowed_lateness_seconds * 1000

    @property
    def silence_ms(self) -> int:
        """Silence after which the wall clock closes windows, in milliseconds."""
        return self.hvac_silence_seconds * 1000


def load_settings() -> Settings:
    """Settings from the environment.

    Raises:
        ConfigError: a value can't be used; or it asks for a server that this version has no client for.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"{name}={first.get('input')!r}: {first['msg']}") from None
    for name, value in (
        ("SCYLLA_HOSTS", settings.scylla_hosts),
        ("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers),
    ):
        if value:
            raise ConfigError(f"{name} is set, but this version runs on the embedded store and log only: unset it")
    if settings.hvac_embedding == "text":
        raise ConfigError("HVAC_EMBEDDING=text needs the Ollama embedder, which this version lacks: use state")
    return settings
