"""The schema on a CQL cluster: statements of both dialects, the version that is there, and how to get to this one."""

from __future__ import annotations

import re
from string import Template
from typing import Any

from cassandra import AlreadyExists, InvalidRequest

from hvac_platform.shipped import SCHEMA_DIRECTORY
from hvac_platform.stores.base import StoreError
from hvac_platform.stores.cql_client import CqlClient
from hvac_platform.stores.tables import tables
from hvac_platform.timestamps import now_ms

SCHEMA_VERSION = 12
"""1: as first released. 2: on Cassandra the vector index is on a table of its own, ``snapshot_vectors``. 3: profiles hold
the device's encoder, reports hold energy; incidents, maintenance. 4: operating modes, degradation. 5: leases and the log's
identity in the ledger, settings that the store was made with. 6: reports hold a row a method, windows their judged revision.
7: the ledger says which readings wait for their window. 8: marks lead to unjudged windows, ``unjudged_marks``.
9: what people and the platform make of incidents, parents of incidents, the outbox of alerts.
"""
VERSION_TABLE = "schema_versions"
VECTOR_TABLE = "snapshot_vectors"
MARKS_TABLE = "unjudged_marks"
INDEX = "device_state_embedding_idx"
DIALECTS = ("cassandra", "scylla")
DDL_SECONDS = 60.0

GRAPH_PROPERTY = "cassandra.sai.vector.allow_custom_parameters"
"""JVM property of a Cassandra node that lets it take parameters of a vector index's graph."""
GRAPH_REFUSAL = "SAI_VECTOR_ALLOW_CUSTOM_PARAMETERS"
_GRAPH = re.compile(r",\s*'maximum_node_connections': '(\d+)',\s*'construction_beam_width': '(\d+)'")
_CREATED = re.compile(r"CREATE (KEYSPACE|TABLE|CUSTOM INDEX) IF NOT EXISTS (\S+)")
_ADDED = re.compile(r"ALTER TABLE \S+\.(\w+) ADD (\w+) ")


def schema_statements(dialect: str, keyspace: str, datacenter: str, replication_factor: int) -> list[str]:
    """DDL of a dialect with its variables filled in: keyspace, tables, vector index.

    Raises:
        StoreError: there is no such dialect.
    """
    values = {"keyspace": keyspace, "datacenter": datacenter, "replication_factor": str(replication_factor)}
    return [
        statement
        for path in (f"{_known(dialect)}/keyspace.cql", "cql/tables.cql", f"{dialect}/index.cql")
        for statement in _statements(path, values)
    ]


def _known(dialect: str) -> str:
    if dialect not in DIALECTS:
        raise StoreError(f"unknown CQL dialect {dialect!r}: set SCYLLA_DIALECT to cassandra or scylla")
    return dialect


def _statements(path: str, values: dict[str, str]) -> list[str]:
    """Statements of one file under schema/, without comments."""
    text = (SCHEMA_DIRECTORY / path).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [s.strip() for s in Template("\n".join(lines)).substitute(values).split(";") if s.strip()]


class CqlSchema:
    """The platform's keyspace on one cluster."""

    def __init__(self, client: CqlClient) -> None:
        self._client = client
        self._keyspace = client.settings.keyspace
        self._dialect = client.settings.dialect and _known(client.settings.dialect)

    @property
    def dialect(self) -> str:
        """``scylla`` or ``cassandra``: as set, else by the system table that only ScyllaDB has."""
        if not self._dialect:
            found = self._names("system", "tables", "table_name")
            self._dialect = "scylla" if "scylla_local" in found else "cassandra"
        return self._dialect

    @property
    def separate_vectors(self) -> bool:
        """Whether vectors are indexed in a table of their own: on Cassandra."""
        return self.dialect == "cassandra"

    def versions(self) -> tuple[int, int]:
        """(version found, version needed); a keyspace that lacks a table counts as version 0."""
        there = self._names(self._keyspace, "tables", "table_name")
        if VERSION_TABLE not in there:
            return int("device_state_snapshots" in there), SCHEMA_VERSION  # version 1 did not record itself
        needed = {*tables(), MARKS_TABLE, *([VECTOR_TABLE] if self.separate_vectors else [])}
        if not needed <= there or INDEX not in self._names(self._keyspace, "indexes", "index_name"):
            return 0, SCHEMA_VERSION
        return self._recorded(there), SCHEMA_VERSION

    def _recorded(self, there: set[str]) -> int:
        if VERSION_TABLE not in there:
            return 0
        rows = self._client.execute(f"SELECT version FROM {self._keyspace}.{VERSION_TABLE}")
        return max((row[0] for row in rows), default=0)

    def moves_vectors(self) -> bool:
        """Whether the keyspace has snapshots of version 1, whose vectors are not in the table that version 2 searches."""
        there = self._names(self._keyspace, "tables", "table_name")
        return self.separate_vectors and "device_state_snapshots" in there and self._recorded(there) < 2

    def splits_reports(self) -> bool:
        """Whether the keyspace has reports of version 5 or before, which have a column a method in place of a row."""
        there = self._names(self._keyspace, "tables", "table_name")
        return ("detection_reports", "rules") in self._columns() and self._recorded(there) < 6

    def marks_unjudged(self) -> bool:
        """Whether the keyspace has windows of version 7 or before, of which no mark says that they are unjudged."""
        there = self._names(self._keyspace, "tables", "table_name")
        return "device_state_snapshots" in there and self._recorded(there) < 8

    def _columns(self) -> set[tuple[str, str]]:
        """Tables and columns that are there."""
        asked = "SELECT table_name, column_name FROM system_schema.columns WHERE keyspace_name=%s"
        return {(row[0], row[1]) for row in self._client.execute(asked, (self._keyspace,))}

    def statements(self) -> list[str]:
        """The statements that are still to be run, in order; the last one records the version."""
        found, _ = self.versions()
        if found >= SCHEMA_VERSION:
            return []
        settings = self._client.settings
        datacenter = settings.datacenter or str(self._client.execute("SELECT data_center FROM system.local").one()[0])
        complete = schema_statements(self.dialect, self._keyspace, datacenter, settings.replication_factor)
        keyspaces = self._names(None, "keyspaces", "keyspace_name")
        if self._keyspace not in keyspaces:
            self._require_nodes(datacenter)
        there = self._names(self._keyspace, "tables", "table_name")
        indexes = self._names(self._keyspace, "indexes", "index_name")
        upgrade = []
        if self.moves_vectors():
            upgrade = _statements("cassandra/upgrade_2.cql", {"keyspace": self._keyspace})
            indexes.discard(INDEX)
        upgrade += self._missing_columns(there)
        existing = {"keyspace": keyspaces, "table": there, "index": indexes}
        missing = [s for s in complete if (created := _created(s))[1] not in existing[created[0]]]
        return [*upgrade, *missing, self._recording()]

    def _missing_columns(self, there: set[str]) -> list[str]:
        """Columns of later versions that tables of an earlier one lack; a table that is yet to be created has them."""
        known = self._columns()
        statements = [
            statement
            for version in range(3, SCHEMA_VERSION + 1)
            for statement in _statements(f"cql/upgrade_{version}.cql", {"keyspace": self._keyspace})
        ]
        added = {s: (found[1], found[2]) for s in statements if (found := _ADDED.match(s))}
        return [s for s, (table, column) in added.items() if table in there and (table, column) not in known]

    def _recording(self) -> str:
        return (
            f"INSERT INTO {self._keyspace}.{VERSION_TABLE} (version, applied_at) VALUES ({SCHEMA_VERSION}, {now_ms()})"
        )

    def _require_nodes(self, datacenter: str) -> None:
        """A keyspace with more replicas than nodes would accept no write at a quorum."""
        wanted, there = self._client.settings.replication_factor, self._client.nodes(datacenter)
        if there == 0:
            raise StoreError(f"no node is in data center {datacenter!r}: check SCYLLA_DATACENTER")
        if wanted > there:
            raise StoreError(
                f"data center {datacenter} has {there} {'node' if there == 1 else 'nodes'}, "
                f"SCYLLA_REPLICATION_FACTOR={wanted} needs as many nodes: set it to {there}"
                f"{' (development)' if there == 1 else ''}, or add nodes"
            )

    def run(self, statement: str) -> str:
        """Run one statement; returns what it did in a few words. Safe for several processes at once."""
        kind, name = _created(statement)
        graph = _GRAPH.search(statement)
        refused = False

        def once() -> None:
            nonlocal refused
            try:
                self._client.execute_once(statement, timeout=DDL_SECONDS)
            except AlreadyExists:  # another process was first
                return
            except InvalidRequest as error:
                if _ADDED.match(statement) and "already exists" in str(error):  # likewise
                    return
                refused = graph is not None and GRAPH_REFUSAL in str(error)
                if not refused:
                    raise

        self._client.retried(once)
        if refused:
            return (
                f"{self.run(_GRAPH.sub('', statement))} with the server's own graph parameters: "
                f"those that make vectors cheaper to write need -D{GRAPH_PROPERTY}=true on every node"
            )
        if added := _ADDED.match(statement):
            return f"add column {added[2]} to {added[1]}"
        how = f" with {graph[1]} connections a node, found by a beam of {graph[2]}" if graph else ""
        return f"create {kind} {name}{how}" if kind else " ".join(statement.split("(")[0].split())

    def _names(self, keyspace: str | None, kind: str, column: str) -> set[Any]:
        condition, arguments = ("", None) if keyspace is None else (" WHERE keyspace_name=%s", (keyspace,))
        return {
            row[0] for row in self._client.execute(f"SELECT {column} FROM system_schema.{kind}{condition}", arguments)
        }


def _created(statement: str) -> tuple[str, str]:
    """Kind and bare name of what a statement creates; empty when it creates nothing."""
    found = _CREATED.match(statement)
    if found is None:
        return "", ""
    return found[1].split()[-1].lower(), found[2].rsplit(".", 1)[-1]
