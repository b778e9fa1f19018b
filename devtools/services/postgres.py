"""PostgreSQL from its Debian package: Dagster's storage beyond one machine."""

from __future__ import annotations

import secrets
from pathlib import Path

import psycopg2

from devtools.services.base import Service, run
from devtools.services.debian import as_user, give_to, require_program
from hvac_platform.runtime.live import HOST

USER = "dagster"
SYSTEM_USER = "postgres"  # made by the package


class Postgres(Service):
    """One PostgreSQL server with a password.

    As root it runs as the package's own user, because PostgreSQL refuses root: that user must be able to enter ``folder``.
    """

    name = "postgres"
    default_port = 5432

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables that Dagster's instance files read; the database is one that each user of them makes."""
        return {
            "DAGSTER_POSTGRES_HOST": HOST,
            "DAGSTER_POSTGRES_PORT": str(self.port),
            "DAGSTER_POSTGRES_USER": USER,
            "DAGSTER_POSTGRES_PASSWORD": self._password_file.read_text(),
        }

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.folder / "data"

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    @property
    def _programs(self) -> Path:
        return require_program(self.name, "postgresql", "/usr/lib/postgresql/*/bin/initdb", "initdb").parent

    def fetch(self) -> None:
        """Find its programs."""
        self._programs  # noqa: B018 - finding them is what matters

    def prepare(self) -> None:
        """Make the cluster the first time."""
        if self.data.exists():
            return
        self._password_file.write_text(secrets.token_hex(16))
        self.data.mkdir(mode=0o700)
        give_to(SYSTEM_USER, self.data)
        self._password_file.chmod(0o600)
        give_to(SYSTEM_USER, self._password_file)
        access = ["--username", USER, "--auth", "scram-sha-256", "--pwfile", str(self._password_file)]
        encoding = ["--encoding", "UTF8", "--locale", "C.UTF-8"]
        making = [str(self._programs / "initdb"), "--pgdata", str(self.data), *access, *encoding]
        run(self.name, "making the database cluster", as_user(SYSTEM_USER, making), cwd="/")

    def command(self) -> list[str]:
        """The server in the foreground, on loopback only."""
        options = {"listen_addresses": HOST, "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return as_user(SYSTEM_USER, [str(self._programs / "postgres"), "-D", str(self.data), *settings])

    def answers(self) -> bool:
        """Whether it answers a query."""
        try:
            self.execute("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def execute(self, statement: str) -> None:
        """Execute a statement outside a transaction, as ``CREATE DATABASE`` needs it."""
        password = self.settings["DAGSTER_POSTGRES_PASSWORD"]
        connection = psycopg2.connect(
            host=HOST, port=self.port, user=USER, password=password, dbname="postgres", connect_timeout=2
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()
