"""A Cassandra node from Maven jars: the CQL server that tests run against."""

from __future__ import annotations

import socket
import struct

from hvac_platform.live import HOST
from hvac_platform_tests.services.base import CONFIGURATION, Service, fill_in
from hvac_platform_tests.services.maven import fetch_jars, jars

HEAP = "1g"
OPTIONS_REQUEST = struct.pack(
    ">BBhBi", 0x04, 0, 0, 0x05, 0
)  # CQL native protocol v4: version, flags, stream, opcode, length
SUPPORTED_RESPONSE = 0x06


class Cassandra(Service):
    """One Cassandra node, without authentication."""

    name = "cassandra"
    default_port = 9042
    internal_ports = ("storage",)

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables that point the platform at it."""
        return {"SCYLLA_HOSTS": HOST, "SCYLLA_PORT": str(self.port)}

    def fetch(self) -> None:
        """Fetch the jars."""
        fetch_jars(self.name, self.cache, oldest_java=17, newest_java=17)

    def prepare(self) -> None:
        """Write the configuration."""
        fill_in(
            CONFIGURATION / "cassandra" / "cassandra.yaml",
            self.folder / "cassandra.yaml",
            port=self.port,
            storage_port=self.internal_port("storage"),
            data=self.folder / "data",
        )

    def command(self) -> list[str]:
        """The node in the foreground."""
        libraries = jars(self.name, self.cache)
        (agent,) = libraries.glob("jamm-*.jar")
        configuration = CONFIGURATION / "cassandra"
        properties = {
            "logback.configurationFile": configuration / "logback.xml",
            "cassandra.config": (self.folder / "cassandra.yaml").as_uri(),
            "cassandra.storagedir": self.folder / "data",
            "cassandra.logdir": self.folder,
            "cassandra-foreground": "yes",
            "cassandra.skip_wait_for_gossip_to_settle": 0,
            "cassandra.ring_delay_ms": 100,
            "cassandra.superuser_setup_delay_ms": 0,
        }
        return [
            "java",
            f"@{configuration / 'jvm17.args'}",
            *(f"-Xms{HEAP}", f"-Xmx{HEAP}", f"-XX:MaxDirectMemorySize={HEAP}"),
            f"-javaagent:{agent}",
            *(f"-D{name}={value}" for name, value in properties.items()),
            *("-cp", str(libraries / "*")),
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def answers(self) -> bool:
        """Whether it answers the protocol's OPTIONS request, which it does once it serves CQL."""
        with socket.create_connection((HOST, self.port), timeout=2) as connection:
            connection.sendall(OPTIONS_REQUEST)
            header = connection.recv(9, socket.MSG_WAITALL)
            return len(header) == 9 and header[4] == SUPPORTED_RESPONSE
