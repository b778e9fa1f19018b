"""Password and TLS towards a live Cassandra that asks for both: each mistake is one line that says what to do."""

from __future__ import annotations

import logging
import secrets
import traceback

import pytest
from pydantic import SecretStr

from devtools.services.base import DEFAULT_FOLDER, free_port
from devtools.services.cassandra import Cassandra, Credentials, make_authority, make_certificate
from devtools.services.proxy import TcpProxy
from hvac_platform.config import load_settings
from hvac_platform.runtime.connections import open_store, open_store_as_it_is
from hvac_platform.stores.base import StoreError
from hvac_platform.stores.cql import CqlSettings, CqlStore, TlsSettings
from hvac_platform.stores.cql_schema import SCHEMA_VERSION

SECRET = f"Secret{secrets.token_hex(8)}"
WRONG = f"Wrong{secrets.token_hex(8)}"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    started = Cassandra(
        DEFAULT_FOLDER / "cache",
        tmp_path_factory.mktemp("secured"),
        free_port(),
        secured=Credentials("hvac_platform", SECRET),
    )
    started.up()
    yield started
    started.down()


def settings(node, **changes):
    known = {
        "hosts": ("127.0.0.1",),
        "port": node.port,
        "keyspace": "hvac_secured",
        "username": "hvac_platform",
        "password": SecretStr(SECRET),
        "replication_factor": 1,
        "tls": TlsSettings(ca_file=node.ca_file),
    }
    return CqlSettings(**(known | changes))


def refusal(wanted):
    """The error of a connection that must not come about: its text, and all that a log would hold of it."""
    with pytest.raises(StoreError) as caught:
        CqlStore(wanted).close()
    return str(caught.value), "".join(traceback.format_exception(caught.value))


def test_with_user_password_and_ca_it_is_a_store_like_any_other(node, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="cassandra")
    caplog.set_level(logging.DEBUG, logger="hvac_platform")
    monkeypatch.chdir(tmp_path)
    for name, value in (node.settings | {"SCYLLA_KEYSPACE": "hvac_secured"}).items():
        monkeypatch.setenv(name, value)
    store = open_store(load_settings())
    assert store.schema_versions() == (SCHEMA_VERSION, SCHEMA_VERSION)
    assert store.advance_ledger("t", 0, 0, 5, run_id="r", watermark=None)
    assert store.ledger("t")[0].next_offset == 5
    for text in (caplog.text, repr(load_settings()), repr(store._client.settings), store.location, repr(vars(store))):
        assert SECRET not in text
    store.close()
    assert open_store(load_settings()).schema_versions() == (
        SCHEMA_VERSION,
        SCHEMA_VERSION,
    )  # a closed session is replaced
    open_store(load_settings()).close()
    monkeypatch.setenv("SCYLLA_SSL_CAFILE", "")
    with pytest.raises(StoreError, match="SCYLLA_TLS=true"):
        open_store_as_it_is(load_settings())


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"password": SecretStr(WRONG)}, "refuses user 'hvac_platform'. Check SCYLLA_USERNAME and SCYLLA_PASSWORD"),
        ({"username": "", "password": SecretStr("")}, "asks for a user. Set SCYLLA_USERNAME and SCYLLA_PASSWORD"),
        ({"tls": None}, "the port speaks TLS. Set SCYLLA_TLS=true, and SCYLLA_SSL_CAFILE"),
        ({"tls": TlsSettings()}, "Set SCYLLA_SSL_CAFILE to the certificates (PEM) that sign the nodes'"),
    ],
    ids=["wrong password", "no user", "plain to a TLS port", "CA of the system"],
)
def test_each_mistake_is_one_line_that_says_what_to_do(node, changes, advice, caplog):
    caplog.set_level(logging.DEBUG, logger="cassandra")
    line, logged = refusal(settings(node, **changes))
    print(line)
    assert advice in line
    assert "\n" not in line
    for secret in (SECRET, WRONG):
        assert secret not in logged + caplog.text


def test_a_stranger_s_ca_is_refused(node, tmp_path):
    make_authority(tmp_path / "stranger.pem", tmp_path / "stranger.key")
    line, _ = refusal(settings(node, tls=TlsSettings(ca_file=tmp_path / "stranger.pem")))
    assert "certificate verify failed" in line
    assert "Set SCYLLA_SSL_CAFILE" in line


def test_the_name_in_the_certificate_is_checked_unless_switched_off(node):
    with TcpProxy("127.0.0.1", node.port, listens="127.0.0.2") as proxy:  # the certificate is for 127.0.0.1
        elsewhere = {"hosts": ("127.0.0.2",), "port": proxy.port}
        line, _ = refusal(settings(node, **elsewhere))
        CqlStore(settings(node, **elsewhere, tls=TlsSettings(ca_file=node.ca_file, check_hostname=False))).close()
    assert "SCYLLA_SSL_CHECK_HOSTNAME=false" in line


@pytest.mark.parametrize("name", ["missing.pem", "empty.pem"])
def test_a_file_that_holds_no_certificate_is_named(node, tmp_path, name):
    (tmp_path / "empty.pem").write_text("")
    line, _ = refusal(settings(node, tls=TlsSettings(ca_file=tmp_path / name)))
    assert line.startswith(f"SCYLLA_SSL_CAFILE={tmp_path / name}")
    line, _ = refusal(settings(node, tls=TlsSettings(ca_file=node.ca_file, certificate_file=tmp_path / name)))
    assert line.startswith(f"SCYLLA_SSL_CERTFILE={tmp_path / name}")


def test_a_user_without_rights_is_told_which_are_needed(node):
    store = CqlStore(settings(node))
    store._client.execute_once("CREATE ROLE IF NOT EXISTS reader WITH PASSWORD = 'reads' AND LOGIN = true")
    store.close()
    with pytest.raises(StoreError, match=r"user 'reader' may not do this.*GRANT it CREATE, MODIFY and SELECT"):
        CqlStore(settings(node, username="reader", password=SecretStr("reads"), keyspace="hvac_other"))


def test_a_plain_port_is_recognised_by_a_client_that_speaks_tls(tmp_path_factory):
    plain = Cassandra(DEFAULT_FOLDER / "cache", tmp_path_factory.mktemp("plain"), free_port())
    plain.up()
    try:
        line, _ = refusal(CqlSettings(("127.0.0.1",), port=plain.port, tls=TlsSettings()))
    finally:
        plain.kill()
    assert "the port speaks no TLS. Unset SCYLLA_TLS and SCYLLA_SSL_CAFILE" in line


def test_a_node_that_asks_for_a_client_s_certificate_gets_one(tmp_path_factory, tmp_path):
    folder = tmp_path_factory.mktemp("mutual")
    asking = Cassandra(
        DEFAULT_FOLDER / "cache", folder, free_port(), secured=Credentials("hvac_platform", SECRET, True)
    )  # its first user is used here: the harness has no certificate to make another
    asking.up()
    try:
        first_user = {"username": "cassandra", "password": SecretStr("cassandra")}
        without, _ = refusal(settings(asking, **first_user))
        assert "set SCYLLA_SSL_CERTFILE and SCYLLA_SSL_KEYFILE" in without
        make_certificate(folder, tmp_path / "client.pem", tmp_path / "client.key", "extendedKeyUsage=clientAuth")
        tls = TlsSettings(
            ca_file=asking.ca_file, certificate_file=tmp_path / "client.pem", key_file=tmp_path / "client.key"
        )
        store = CqlStore(settings(asking, **first_user, tls=tls))
        assert store.schema_versions() == (SCHEMA_VERSION, SCHEMA_VERSION)
        store.close()
    finally:
        asking.kill()
