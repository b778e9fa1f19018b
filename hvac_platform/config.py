"""Configuration from the environment and ``.env``: every variable of the platform, in one place."""

from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from hvac_platform.hosts import Address, parse_hosts

LONGEST_DAYS, LONGEST_SECONDS = 36_500, 2_592_000
EARLIEST = date(2000, 1, 1)
LONGEST_TEXT, SHOWN_TEXT = 4_096, 80
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

CONSUMER_GROUP = "iot-consumer-group"


class ConfigError(Exception):
    """A variable has a value that can't be used; one line says which and why."""


class Settings(BaseSettings):
    """Settings of one process.

    The names are the environment's, in lower case: ``hvac_home`` is ``HVAC_HOME``.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        allow_inf_nan=False,
    )

    hvac_home: Path = Field(default=Path(".hvac"), description="Folder of the embedded store and log")
    hvac_device_types: str = Field(default="", description="Folders with more device types, separated like PATH")
    hvac_message_map: str = Field(default="", description="YAML that maps messages of other producers")
    hvac_units: Literal["", "SI", "IP"] = Field(
        default="", description="Units of the pages; the stored ones when empty"
    )
    hvac_window_seconds: int = Field(default=60, ge=1, le=86_400, description="Length of a snapshot's window")
    hvac_allowed_lateness_seconds: int = Field(
        default=30, ge=0, le=LONGEST_SECONDS, description="How long a window waits for late readings"
    )
    hvac_silence_seconds: int = Field(
        default=120,
        ge=0,
        le=LONGEST_SECONDS,
        description="After this long without readings a device's windows close by the wall clock",
    )
    hvac_embedding: Literal["state", "text"] = Field(default="state", description="Encoder of snapshots")
    hvac_start_date: date = Field(default=date(2020, 1, 1), description="First daily partition")
    hvac_max_messages_per_run: int = Field(
        default=2_000_000, ge=1_000, le=50_000_000, description="Most messages that one run ingests"
    )
    hvac_max_devices: int = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="Most devices that are registered; messages of others are set aside",
    )
    hvac_run_minutes: float = Field(
        default=15.0,
        ge=0,
        le=1_440,
        description="How long an ingestion or detection run stands before the next one takes over; 0: a range, a pass a run",
    )
    hvac_profile_days_back: float = Field(
        default=7.0, gt=0, le=LONGEST_DAYS, description="Days of history behind a profile"
    )
    hvac_profile_min_snapshots: int = Field(
        default=5, ge=2, le=1_000_000, description="Fewest normal snapshots for a profile"
    )
    hvac_profile_processes: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Processes that learn profiles and judge whole days; 0: one a processor, at most four",
    )
    hvac_false_alarms_per_day: float = Field(
        default=1.0, ge=0.001, le=10_000, description="False-alarm budget of each device and method"
    )
    hvac_false_notifications_per_day: float = Field(
        default=1.0,
        ge=0.001,
        le=10_000,
        description="False notifications a day of the whole fleet; what is less urgent is shown, and nobody is told",
    )
    hvac_incident_quiet_minutes: float = Field(
        default=60.0,
        ge=0,
        le=10_080,
        description="Longest pause within an incident: for so long a machine must be well before its incident is over",
    )
    hvac_incident_past_hours: float = Field(
        default=6.0,
        ge=0,
        le=24 * LONGEST_DAYS,
        description="An incident that ended longer ago than that when it was first found is recorded, and nobody is told",
    )
    hvac_fleet: Path | None = Field(
        default=None, description="JSON file that says which device feeds which; devices stand alone without it"
    )
    hvac_suppressions: Path | None = Field(
        default=None, description="YAML file of recurring times at which nobody is told of certain incidents"
    )
    hvac_keep_runs_days: float = Field(
        default=1.0, gt=0, le=LONGEST_DAYS, description="Days that finished runs stay in Dagster's storage"
    )
    hvac_keep_runs_mb: int = Field(
        default=200,
        ge=10,
        le=1_000_000,
        description="Most megabytes of files of runs; beyond it the oldest finished runs go sooner",
    )
    hvac_allowed_hosts: str = Field(
        default="", description="Comma-separated names under which the web pages may be asked, beside those of loopback"
    )

    hvac_alerts: Path | None = Field(
        default=None, description="Routing tree of alerts (YAML); nobody is told without it"
    )
    hvac_tariffs: Path | None = Field(
        default=None, description="What a kWh costs when (YAML); energy is told without money where there is none"
    )
    hvac_dashboard_url: str = Field(
        default="", description="Address at which people reach the dashboard; messages lead to its pages"
    )
    hvac_dagster_url: str = Field(
        default="http://127.0.0.1:3000", description="Address of Dagster's pages, where the dashboard starts runs"
    )
    hvac_dagster_pages_url: str = Field(
        default="", description="Address at which people reach Dagster's pages; the one before when empty"
    )

    scylla_hosts: str = Field(default="", description="Comma-separated hosts; empty uses the embedded store")
    scylla_port: int = Field(default=9042, ge=1, le=65_535)
    scylla_username: str = ""
    scylla_password: SecretStr = SecretStr("")
    scylla_keyspace: str = "iot_monitoring"
    scylla_dialect: Literal["", "scylla", "cassandra"] = Field(default="", description="Detected when empty")
    scylla_vector_search: Literal["device", "day"] = Field(
        default="device", description="ScyllaDB: one search of a device's days, or one a day (docs/scylladb.md)"
    )
    scylla_datacenter: str = Field(default="", description="Local data center; any when empty")
    scylla_replication_factor: int = Field(
        default=3, ge=1, le=100, description="Of a keyspace that is created; 1 in development"
    )
    scylla_consistency: Literal["LOCAL_QUORUM", "QUORUM", "LOCAL_ONE", "ONE", "ALL"] = Field(
        default="LOCAL_QUORUM", description="Of reads and writes; a step reads what the one before wrote"
    )
    scylla_tls: bool = Field(default=False, description="TLS; a SCYLLA_SSL_ file switches it on too")
    scylla_ssl_cafile: Path | None = Field(default=None, description="Certificates (PEM) that sign the nodes'")
    scylla_ssl_check_hostname: bool = Field(
        default=True, description="Whether a node's certificate must name its address"
    )
    scylla_ssl_certfile: Path | None = Field(default=None, description="This client's certificate (PEM)")
    scylla_ssl_keyfile: Path | None = Field(default=None, description="Its key, where it is in a file of its own")

    kafka_bootstrap_servers: str = Field(default="", description="host:port,…; empty uses the embedded log")
    kafka_topic: str = "iot-metrics"
    kafka_partitions: int = Field(default=3, ge=1, le=10_000, description="Partitions of the topic when it is created")
    kafka_retention_days: float = Field(
        default=7.0, gt=0, le=LONGEST_DAYS, description="Retention of the topic when it is created, by record timestamp"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str = ""
    kafka_sasl_password: SecretStr = SecretStr("")
    kafka_ssl_cafile: Path | None = Field(default=None, description="Certificates (PEM) that sign the brokers'")

    ollama_base_url: str = "http://localhost:11434"
    ollama_model: str = "all-minilm:l6-v2"

    @field_validator(
        *("kafka_ssl_cafile", "scylla_ssl_cafile", "scylla_ssl_certfile", "scylla_ssl_keyfile"),
        *("hvac_fleet", "hvac_suppressions", "hvac_alerts", "hvac_tariffs"),
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @field_validator("hvac_allowed_hosts")
    @classmethod
    def _hosts(cls, value: str) -> str:
        parse_hosts(value)
        return value

    @field_validator("hvac_dashboard_url", "hvac_dagster_url", "hvac_dagster_pages_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not re.match(r"https?://[^/\s]+", value):
            raise ValueError("must be an address such as https://hvac.example.com")
        return value.rstrip("/")

    @field_validator("hvac_alerts", "hvac_fleet", "hvac_tariffs")
    @classmethod
    def _file(cls, value: Path | None) -> Path | None:
        return value.expanduser().resolve() if value is not None else None

    @field_validator("*", mode="before")
    @classmethod
    def _printable(cls, value: object) -> object:
        if isinstance(value, str) and (_CONTROL.search(value) or len(value) > LONGEST_TEXT):
            raise ValueError(f"must have no control characters, and at most {LONGEST_TEXT} others")
        return value

    @field_validator("hvac_start_date")
    @classmethod
    def _past(cls, value: date) -> date:
        if not EARLIEST <= value <= datetime.now(tz=UTC).date():
            raise ValueError(f"must lie between {EARLIEST} and today (UTC)")
        return value

    @field_validator("hvac_home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @property
    def allowed_hosts(self) -> tuple[Address, ...]:
        """Hosts under which the web pages may be asked, beside those of loopback."""
        return parse_hosts(self.hvac_allowed_hosts)

    @property
    def kafka_retention_ms(self) -> int:
        """Retention of a new topic in milliseconds."""
        return round(self.kafka_retention_days * 86_400_000)

    @property
    def window_ms(self) -> int:
        """Length of a window in milliseconds."""
        return self.hvac_window_seconds * 1000

    @property
    def allowed_lateness_ms(self) -> int:
        """Allowed lateness in milliseconds."""
        return self.hvac_allowed_lateness_seconds * 1000

    @property
    def incident_quiet_ms(self) -> int:
        """Longest pause within an incident, in milliseconds."""
        return round(self.hvac_incident_quiet_minutes * 60_000)

    @property
    def incident_past_ms(self) -> int:
        """Age from which on a new incident is of the past, in milliseconds."""
        return round(self.hvac_incident_past_hours * 3_600_000)

    @property
    def silence_ms(self) -> int:
        """Silence after which the wall clock closes windows, in milliseconds."""
        return self.hvac_silence_seconds * 1000


def load_settings() -> Settings:
    """Settings from the environment and ``.env``; read again only when one of them has changed.

    Raises:
        ConfigError: a value can't be used.
    """
    dotenv = Path(".env").resolve()
    try:
        changed = dotenv.stat().st_mtime_ns if dotenv.exists() else None
    except OSError as error:
        raise ConfigError(f"{dotenv}: {error.strerror or error}") from None
    return _read(tuple(os.environ.get(name.upper()) for name in Settings.model_fields), str(dotenv), changed)


@lru_cache(maxsize=16)
def _read(_environment: tuple[str | None, ...], _dotenv: str, _changed: int | None) -> Settings:
    """Settings for one state of the environment: parsing takes milliseconds, and resources ask at every turn."""
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        given = "…" if "PASSWORD" in name else repr(first.get("input"))
        shown = given if len(given) <= SHOWN_TEXT else f"{given[:SHOWN_TEXT]}…"
        raise ConfigError(f"{name}={shown}: {first['msg'].removeprefix('Value error, ')}") from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ConfigError(f"{_dotenv}: not a text file in UTF-8 (byte 0x{byte:02x} at {error.start})") from None
    except (OSError, SettingsError, ValueError) as error:
        raise ConfigError(f"{_dotenv}: {' '.join(str(error).split())[:200]}") from None
    if settings.hvac_device_types:  # the registry reads the environment, which a .env file doesn't change
        os.environ.setdefault("HVAC_DEVICE_TYPES", settings.hvac_device_types)
    if settings.hvac_units:
        os.environ.setdefault("HVAC_UNITS", settings.hvac_units)
    if settings.hvac_message_map:  # decoding does so too
        os.environ.setdefault("HVAC_MESSAGE_MAP", settings.hvac_message_map)
    return settings
