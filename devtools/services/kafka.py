"""Kafka brokers (KRaft) from Maven jars: one that is its own controller, and others that join it."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from devtools.services.base import CONFIGURATION, Service, fill_in, require_tools, run
from devtools.services.maven import fetch_jars, jars
from hvac_platform.runtime.live import HOST

HEAP = "512m"


@dataclass(frozen=True, slots=True)
class SecuredListener:
    """A second listener of the broker, with SCRAM authentication over TLS."""

    port: int
    username: str
    password: str


class Kafka(Service):
    """One Kafka broker.

    Args:
        cache: folder of the jars.
        folder: folder of this broker.
        port: port of the plain listener.
        secured: a second listener, with SCRAM-SHA-512 and TLS; fixed when the data folder is made.
        advertised_port: port that clients are told to use, where something stands between them and the broker.
        joins: the broker that is the controller of the cluster; None makes a cluster of its own.
        replication: replication factor of topics, also of Kafka's own.
    """

    name = "kafka"
    default_port = 9092
    internal_ports = ("controller",)

    def __init__(
        self,
        cache: Path,
        folder: Path,
        port: int | None = None,
        *,
        secured: SecuredListener | None = None,
        advertised_port: int | None = None,
        joins: Kafka | None = None,
        replication: int = 1,
    ) -> None:
        super().__init__(cache, folder, port)
        self.secured = secured
        self.advertised_port = advertised_port
        self.joins = joins
        self.replication = replication

    @property
    def bootstrap_servers(self) -> str:
        """Address of the plain listener."""
        return f"{HOST}:{self.port}"

    @property
    def certificate(self) -> Path:
        """Certificate of the secured listener, which signs itself."""
        return self.folder / "certificate.pem"

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables that point the platform at the plain listener."""
        return {"KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers}

    @property
    def secured_settings(self) -> dict[str, str]:
        """Environment variables that point the platform at the secured listener."""
        assert self.secured is not None
        return {
            "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{self.secured.port}",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": self.secured.username,
            "KAFKA_SASL_PASSWORD": self.secured.password,
            "KAFKA_SSL_CAFILE": str(self.certificate),
        }

    def fetch(self) -> None:
        """Fetch the jars."""
        fetch_jars(self.name, self.cache, oldest_java=17)

    def prepare(self) -> None:
        """Write the configuration; format the data folder the first time."""
        data = self.folder / "data"
        properties = self.folder / "server.properties"
        controller_port = (self.joins or self).internal_port("controller")
        listeners = f"PLAINTEXT://{self.bootstrap_servers}"
        advertised = f"PLAINTEXT://{HOST}:{self.advertised_port or self.port}"
        if self.secured is not None:
            secured = f",SECURED://{HOST}:{self.secured.port}"
            listeners, advertised = listeners + secured, advertised + secured
        fill_in(
            CONFIGURATION / "kafka" / "server.properties",
            properties,
            roles="broker" if self.joins else "broker,controller",
            node=2 if self.joins else 1,
            listeners=listeners if self.joins else f"{listeners},CONTROLLER://{HOST}:{controller_port}",
            advertised=advertised,
            controller_port=controller_port,
            replication=self.replication,
            data=data,
        )
        users = []
        if self.secured is not None:
            self._make_certificate()
            secured_properties = self.folder / "secured.properties"
            keystore = self.folder / "keystore.pem"
            fill_in(CONFIGURATION / "kafka" / "secured.properties", secured_properties, keystore=keystore)
            with properties.open("a") as combined:
                combined.write(secured_properties.read_text())
            secret = f"name={self.secured.username},password={self.secured.password}"
            users = ["--add-scram", f"SCRAM-SHA-512=[{secret}]"]
        if not (data / "meta.properties").exists():
            cluster_id = self.joins.cluster_id if self.joins else _new_cluster_id()
            storage_tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties), *users]
            run(self.name, "formatting the data folder", self._java("-Xmx128m", *storage_tool))

    @property
    def cluster_id(self) -> str:
        """Id of the cluster, as the data folder has it."""
        lines = (self.folder / "data" / "meta.properties").read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith("cluster.id="))

    def _make_certificate(self) -> None:
        require_tools(self.name, "openssl")
        keystore = self.folder / "keystore.pem"
        if keystore.exists():
            return
        key = self.folder / "key.pem"
        names = f"subjectAltName=IP:{HOST},DNS:localhost"
        subject = ["-subj", "/CN=localhost", "-addext", names, "-days", "30"]
        files = ["-keyout", str(key), "-out", str(self.certificate)]
        making = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files]
        run(self.name, "making a certificate", making)
        keystore.write_text(key.read_text() + self.certificate.read_text())

    def command(self) -> list[str]:
        """The broker in the foreground."""
        logging = f"-Dlog4j2.configurationFile={CONFIGURATION / 'kafka' / 'log4j2.xml'}"
        memory = [f"-Xms{HEAP}", f"-Xmx{HEAP}", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError"]
        return self._java(*memory, logging, "kafka.Kafka", str(self.folder / "server.properties"))

    def _java(self, *arguments: str) -> list[str]:
        return ["java", "-cp", str(jars(self.name, self.cache) / "*"), *arguments]

    def answers(self) -> bool:
        """Whether it describes its cluster, with itself in it."""
        try:
            with KafkaAdminClient(bootstrap_servers=self.bootstrap_servers, bootstrap_timeout_ms=2_000) as admin:
                ports = {broker["port"] for broker in admin.describe_cluster()["brokers"]}
        except KafkaError:
            return False
        return (self.advertised_port or self.port) in ports


def _new_cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
