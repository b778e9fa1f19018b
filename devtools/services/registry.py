"""The servers by name."""

from __future__ import annotations

from pathlib import Path

from devtools.services.base import Service
from devtools.services.cassandra import Cassandra
from devtools.services.kafka import Kafka
from devtools.services.ollama import Ollama

SERVICES: dict[str, type[Service]] = {service.name: service for service in (Kafka, Cassandra, Ollama)}


def service(name: str, folder: Path, port: int | None = None) -> Service:
    """The one instance of a server that ``make services`` keeps in a folder, beside the downloads."""
    return SERVICES[name](folder / "cache", folder / name, port)
