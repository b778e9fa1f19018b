"""Which requests are answered: the rules, without a server."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hvac_platform.config import Settings
from hvac_platform.hosts import parse_hosts
from hvac_platform.runtime.request_guard import Request, RequestGuard

HOST = "127.0.0.1:3000"
STOP = "mutation { stopRunningSensor(id: 1) { __typename } }"


def status(
    method="GET", path="/", query="", *, host: str | None = HOST, websocket=False, allowed="", **headers: str
) -> int:
    sent = [] if host is None else [("host", host)]
    sent += [(name.replace("_", "-"), value) for name, value in headers.items()]
    refusal = RequestGuard(parse_hosts(allowed)).refusal(Request(method, path, query, sent, websocket))
    return 200 if refusal is None else int(refusal.status)


def post(path="/graphql", content_type="application/json", **how) -> int:
    return status("POST", path, content_type=content_type, **how)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:3000", "127.0.0.1:1", "127.8.9.1", "[::1]:3000", "localhost."]
)
def test_names_of_loopback_are_known(host: str) -> None:
    assert status(host=host) == 200


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.5", "0.0.0.0", "evil@localhost"],
)
def test_any_other_host_is_refused(host: str | None) -> None:
    assert status(host=host) == 403
    assert status(host=host, path="/graphql", websocket=True) == 403


def test_two_host_headers_are_refused() -> None:
    asked = Request("GET", "/", "", [("host", "localhost"), ("host", "evil.example")])
    assert RequestGuard().refusal(asked) is not None


def test_a_configured_host_is_known_with_its_origin() -> None:
    allowed = "hvac.example.com, 10.0.0.5"
    assert status(host="hvac.example.com", allowed=allowed) == 200
    assert status(host="10.0.0.5:3000", allowed=allowed) == 200
    assert post(host="hvac.example.com", allowed=allowed, origin="https://hvac.example.com") == 200
    assert post(host="other.example.com", allowed=allowed) == 403


def test_behind_a_proxy_that_asks_by_loopback_the_configured_origin_is_own() -> None:
    assert post(origin="https://hvac.example.com", allowed="hvac.example.com") == 200
    assert post(origin="https://hvac.example.com:8443", allowed="hvac.example.com") == 403
    assert post(origin="https://hvac.example.com:8443", allowed="hvac.example.com:8443") == 200
    assert post(origin="https://hvac.example.com") == 403


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "localhost:3000"])
def test_the_servers_own_pages_may_ask(host: str) -> None:
    own = {"origin": f"http://{host}", "sec_fetch_site": "same-origin"}
    assert post(host=host, **own) == 200
    assert status(path="/graphql", websocket=True, host=host, **own) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:9999",
        "http://localhost:3000",
        "https://127.0.0.1:3001",
        "null",
        "http://evil.example",
        "",
        "x",
    ],
)
def test_a_page_of_another_origin_may_not(origin: str) -> None:
    assert post(origin=origin) == 403
    assert post("/report_asset_materialization/raw_metrics", origin=origin) == 403
    assert status(path="/graphql", query="query={x}", origin=origin) == 403
    assert status(path="/graphql", websocket=True, origin=origin) == 403
    assert status("OPTIONS", "/graphql", origin=origin) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_a_page_of_another_site_may_not_although_no_origin_is_told(site: str) -> None:
    assert post(sec_fetch_site=site) == 403
    assert status(sec_fetch_site=site, sec_fetch_mode="no-cors", sec_fetch_dest="image") == 403
    assert status(sec_fetch_site=site, sec_fetch_mode="navigate", sec_fetch_dest="iframe") == 403


def test_a_link_elsewhere_may_lead_to_a_page_but_not_to_graphql() -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert status(path="/asset-groups", **link) == 200
    assert status(path="/graphql", query="query={x}", **link) == 403
    assert post("/", **link) == 403


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", "application/graphql"],
)
def test_what_changes_something_must_be_json(content_type: str) -> None:
    assert post(content_type=content_type) == 415
    assert post(content_type="application/json; charset=utf-8") == 200


@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "/prefix/graphql"])
def test_graphql_by_get_is_for_queries_only(path: str) -> None:
    assert status(path=path, query="query=query+A+%7B+version+%7D") == 200
    for document in (STOP, "query A { version } " + STOP, "subscription { x }", "{", "", "{" * 100_000):
        from urllib.parse import quote

        assert status(path=path, query=f"query={quote(document)}") == 405, document[:60]
        assert status(path=path, query=f"query=%7Bversion%7D&query={quote(document)}") == 405


def test_programs_that_send_no_origin_may_ask() -> None:
    assert post() == 200
    assert status(path="/server_info") == 200


def test_a_setting_that_is_not_a_list_of_hosts_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="https://hvac"):
        Settings(_env_file=None, hvac_allowed_hosts="https://hvac.example.com/")
