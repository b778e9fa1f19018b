"""A Cassandra node from Maven jars: the CQL server that tests run against."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, NoHostAvailable, Session

from devtools.services.base import CONFIGURATION, Service, ServiceError, fill_in, require_tools, run
from devtools.services.maven import fetch_jars, jars
from hvac_platform.runtime.live import HOST

HEAP = "1g"
OPTIONS_REQUEST = struct.pack(
    ">BBhBi", 0x04, 0, 0, 0x05, 0
)  # CQL native protocol v4: version, flags, stream, opcode, length
SUPPORTED_RESPONSE = 0x06
FIRST_USER = "cassandra"
COMMITLOG_SYNC = {
    # Acknowledged before the disk has it: what a killed node took in last may be gone.
    "periodic": "commitlog_sync: periodic\ncommitlog_sync_period: 10s",
    # Acknowledged once it is on disk, several writes at a time.
    "group": "commitlog_sync: group\ncommitlog_sync_group_window: 10ms",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user of a node that asks for one, over TLS.

    Attributes:
        username: a role that may do everything.
        password: its password, also of the node's key store.
        require_client_certificate: whether the node asks clients for a certificate of its own CA.
    """

    username: str
    password: str
    require_client_certificate: bool = False


class Cassandra(Service):
    """One Cassandra node.

    Args:
        cache: folder of the jars.
        folder: folder of this node.
        port: port of CQL.
        address: loopback address; nodes of a cluster need one each.
        joins: a running node of the cluster that this one joins.
        secured: password authentication and TLS, nothing else.
        commitlog_sync: when a write is acknowledged.
    """

    name = "cassandra"
    default_port = 9042
    internal_ports = ("storage",)

    def __init__(
        self,
        cache: Path,
        folder: Path,
        port: int | None = None,
        *,
        address: str = HOST,
        joins: Cassandra | None = None,
        secured: Credentials | None = None,
        commitlog_sync: Literal["periodic", "group"] = "periodic",
    ) -> None:
        super().__init__(cache, folder, port)
        self.address = address
        self.joins = joins
        self.secured = secured
        self.commitlog_sync = commitlog_sync

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables that point the platform at it."""
        plain = {"SCYLLA_HOSTS": self.address, "SCYLLA_PORT": str(self.port), "SCYLLA_REPLICATION_FACTOR": "1"}
        if self.secured is None:
            return plain
        return {
            **plain,
            "SCYLLA_USERNAME": self.secured.username,
            "SCYLLA_PASSWORD": self.secured.password,
            "SCYLLA_SSL_CAFILE": str(self.ca_file),
        }

    @property
    def ca_file(self) -> Path:
        """Certificate that signs the node's, and those of its clients."""
        return self.folder / "ca.pem"

    @property
    def storage_port(self) -> int:
        """Port between nodes, the same for all of a cluster."""
        return self.internal_port("storage") if self.joins is None else self.joins.storage_port

    def fetch(self) -> None:
        """Fetch the jars."""
        fetch_jars(self.name, self.cache, oldest_java=17, newest_java=17)

    def prepare(self) -> None:
        """Write the configuration and, for a secured node, keys and certificates."""
        seed = self.joins or self
        configuration = self.folder / "cassandra.yaml"
        fill_in(
            CONFIGURATION / "cassandra" / "cassandra.yaml",
            configuration,
            address=self.address,
            port=self.port,
            storage_port=self.storage_port,
            seeds=f"{seed.address}:{seed.storage_port}",
            auto_bootstrap="true" if self.joins is None else "false",
            authenticator="AllowAllAuthenticator" if self.secured is None else "PasswordAuthenticator",
            authorizer="AllowAllAuthorizer" if self.secured is None else "CassandraAuthorizer",
            commitlog_sync=COMMITLOG_SYNC[self.commitlog_sync],
            data=self.folder / "data",
        )
        if self.secured is not None:
            self._make_certificates(self.secured)
            encryption = self.folder / "encryption.yaml"
            fill_in(
                CONFIGURATION / "cassandra" / "encryption.yaml",
                encryption,
                folder=self.folder,
                password=self.secured.password,
                require_client_auth=str(self.secured.require_client_certificate).lower(),
            )
            with configuration.open("a") as combined:
                combined.write(encryption.read_text())

    def _make_certificates(self, secured: Credentials) -> None:
        """A CA, and a certificate for the node, which its key store holds."""
        require_tools(self.name, "openssl", "keytool")
        if (self.folder / "keystore.p12").exists():
            return
        make_authority(self.folder / "ca.pem", self.folder / "ca.key")
        node = self.folder / "node.pem"
        make_certificate(self.folder, node, self.folder / "node.key", f"subjectAltName=IP:{self.address}")
        store = ["-in", str(node), "-inkey", str(self.folder / "node.key"), "-out", str(self.folder / "keystore.p12")]
        run(
            self.name,
            "making the key store",
            ["openssl", "pkcs12", "-export", *store, "-passout", f"pass:{secured.password}"],
        )
        trust = ["-file", str(self.ca_file), "-keystore", str(self.folder / "truststore.p12")]
        how = ["-storetype", "PKCS12", "-storepass", secured.password, "-noprompt", "-alias", "ca"]
        run(self.name, "making the trust store", ["keytool", "-importcert", *trust, *how])

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
            # How long a newcomer may be silent before others forget it; a node alone need not wait.
            "cassandra.ring_delay_ms": 100 if self.address == HOST else 5_000,
            "cassandra.superuser_setup_delay_ms": 0,
            # Without it the node refuses a vector index with parameters of its graph.
            "cassandra.sai.vector.allow_custom_parameters": "true",
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
        if self.secured is not None and self.secured.require_client_certificate:
            with socket.create_connection((self.address, self.port), timeout=2):
                return True
        with socket.create_connection((self.address, self.port), timeout=2) as plain:
            with contextlib.ExitStack() as stack:
                connection = plain if self.secured is None else stack.enter_context(_trusting().wrap_socket(plain))
                connection.sendall(OPTIONS_REQUEST)
                header = b""
                while len(header) < 9 and (more := connection.recv(9 - len(header))):
                    header += more
            return len(header) == 9 and header[4] == SUPPORTED_RESPONSE

    def after_start(self) -> None:
        """A secured node gets its user; the one that it comes with keeps no known password."""
        if self.secured is None or self.secured.require_client_certificate:
            return
        if self._accepts(self.secured.username, self.secured.password):
            return
        with self._session(FIRST_USER, FIRST_USER) as session:
            name, password = self.secured.username, self.secured.password
            session.execute(f"CREATE ROLE {name} WITH PASSWORD = '{password}' AND LOGIN = true AND SUPERUSER = true")
        with self._session(name, password) as session:
            session.execute(f"ALTER ROLE {FIRST_USER} WITH PASSWORD = '{password}-'")

    def _accepts(self, username: str, password: str) -> bool:
        try:
            with self._session(username, password):
                return True
        except NoHostAvailable:
            return False

    @contextlib.contextmanager
    def _session(self, username: str, password: str) -> Iterator[Session]:
        cluster = Cluster(
            [self.address],
            port=self.port,
            auth_provider=PlainTextAuthProvider(username, password),
            ssl_context=_trusting(),
            protocol_version=5,
        )
        try:
            yield cluster.connect()
        finally:
            cluster.shutdown()


def _trusting() -> ssl.SSLContext:
    """For the harness, which talks to a node that it has just made."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def make_authority(certificate: Path, key: Path) -> None:
    """A certificate that signs others."""
    files = ["-keyout", str(key), "-out", str(certificate)]
    subject = ["-subj", f"/CN=authority of {certificate.parent.name}", "-days", "30"]
    run("cassandra", "making a CA", ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files])


def make_certificate(folder: Path, certificate: Path, key: Path, extension: str) -> None:
    """A certificate that the authority in a folder signs."""
    request = certificate.with_suffix(".csr")
    extensions = certificate.with_suffix(".ext")
    extensions.write_text(extension + "\n")
    asking = ["-subj", f"/CN={certificate.stem}", "-keyout", str(key), "-out", str(request)]
    run("cassandra", "making a key", ["openssl", "req", "-newkey", "rsa:2048", "-nodes", *asking])
    authority = ["-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key"), "-CAcreateserial", "-days", "30"]
    files = ["-in", str(request), "-out", str(certificate), "-extfile", str(extensions)]
    run("cassandra", "signing a certificate", ["openssl", "x509", "-req", *files, *authority])


def wait_for_nodes(node: Cassandra, count: int, seconds: float = 60) -> None:
    """Wait until a node knows so many nodes of the ring and can write to all of them.

    Raises:
        ServiceError: it doesn't.
    """
    deadline = time.monotonic() + seconds
    cluster = Cluster([node.address], port=node.port, protocol_version=5)
    try:
        session = cluster.connect()
        while time.monotonic() < deadline:
            rows = session.execute("SELECT status_with_port, status FROM system_views.gossip_info")
            if sum("NORMAL" in f"{row.status_with_port} {row.status}" for row in rows) >= count:
                return
            time.sleep(0.2)
    finally:
        cluster.shutdown()
    raise ServiceError(f"cassandra: {count} nodes were not up within {seconds:g} s; the log is {node.log}")
