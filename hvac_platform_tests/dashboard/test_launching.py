"""Runs over a device, started on its page: who may, over which device, and what is said of Dagster."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from hvac_platform.access.roles import Role
from hvac_platform.access.users import add_user
from hvac_platform.dashboard import log_in
from hvac_platform.dashboard.app import make_app
from hvac_platform.dashboard.launching import DaysError, days_asked
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import day_of, days_before, now_ms
from hvac_platform_tests.dashboard.conftest import YESTERDAY, copy_databases, settings_of
from hvac_platform_tests.dashboard.test_access import Visitor
from hvac_platform_tests.live.conftest import free_port

NORTH, SOUTH = "tower north", "tower south"
TODAY = day_of(now_ms())


class PlayedDagster:
    """Answers what the dashboard asks of Dagster, and keeps what it was asked to launch.

    What a real one makes of it is tested beside one, in the tests of the live platform.
    """

    def __init__(self) -> None:
        self.launched: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.refusal: dict[str, Any] | None = None
        self.status = 200
        played = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps({"data": played.answer(asked["query"], asked["variables"])}).encode()
                self.send_response(played.status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "launchRun" not in query:
            wanted = {tag["key"]: tag["value"] for tag in variables["filter"]["tags"]}
            found = [run for run in self.runs if wanted.items() <= {t["key"]: t["value"] for t in run["tags"]}.items()]
            return {"runsOrError": {"__typename": "Runs", "results": found[: variables["limit"]]}}
        if self.refusal is not None:
            return {"launchRun": self.refusal}
        asked = variables["asked"]
        self.launched.append(asked)
        run_id = f"{len(self.launched):08d}-run"
        steps = [
            {"stepKey": "windowed_snapshots", "status": "SUCCESS"},
            {"stepKey": "anomaly_events", "status": "IN_PROGRESS"},
        ]
        times = {"creationTime": now_ms() / 1000, "endTime": None}
        tags = asked["executionMetadata"]["tags"]
        self.runs.insert(0, {"runId": run_id, "status": "STARTED", **times, "tags": tags, "stepStats": steps})
        return {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": run_id}}}

    def tags(self) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in self.launched[-1]["executionMetadata"]["tags"]}


@pytest.fixture
def dagster() -> Iterator[PlayedDagster]:
    played = PlayedDagster()
    yield played
    played.server.shutdown()
    played.server.server_close()


@pytest.fixture
def store(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedStore:
    copy_databases(filled, tmp_path)
    monkeypatch.setattr(log_in, "USERS_SECONDS", 0.0)
    store = EmbeddedStore(tmp_path / "store.db")
    for device, building in (("CH-001", NORTH), ("RTU-001", SOUTH)):
        store.connection.execute("UPDATE devices SET building_id=? WHERE device_id=?", (building, device))
    return store


@pytest.fixture
def app(store: EmbeddedStore, tmp_path: Path, dagster: PlayedDagster) -> Any:
    return make_app(
        settings_of(tmp_path, hvac_dagster_url=dagster.url, hvac_dagster_pages_url="https://dagster.example")
    )


def visitor(app: Any, store: EmbeddedStore, name: str, role: Role, buildings: list[str] | None = None) -> Visitor:
    return Visitor(app, add_user(store, name, role, buildings, now_ms()))


def rebuild(who: Visitor, device: str) -> str:
    return who.text("device-run-said.children", device_run_profile__n_clicks=1, device_id__data=device)


def judge(who: Visitor, device: str, first: str, last: str) -> str:
    days = {"device_run_from__value": first, "device_run_until__value": last}
    return who.text("device-run-said.children", device_run_days__n_clicks=1, device_id__data=device, **days)


def test_an_operator_rebuilds_a_profile_and_judges_days_again(
    app: Any, store: EmbeddedStore, dagster: PlayedDagster, caplog: pytest.LogCaptureFixture
) -> None:
    ana = visitor(app, store, "ana", Role.OPERATOR)
    with caplog.at_level("INFO"):
        assert "Started: run 00000001." in rebuild(ana, "CH-001")
        assert dagster.launched[-1]["selector"]["jobName"] == "profiles"
        assert (
            dagster.tags().items() >= {"dagster/partition": "CH-001", "hvac/device": "CH-001", "hvac/by": "ana"}.items()
        )
        first = days_before(TODAY, 3)
        assert "Started" in judge(ana, "CH-001", first, YESTERDAY)
        assert {one["path"][0] for one in dagster.launched[-1]["selector"]["assetSelection"]} == {
            *("windowed_snapshots", "snapshot_embeddings", "anomaly_events", "incidents", "detection_report")
        }
        span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": YESTERDAY}
        assert dagster.tags().items() >= (span | {"hvac/device": "CH-001"}).items()
        assert "Started" in judge(ana, "RTU-001", YESTERDAY, YESTERDAY)
        assert dagster.tags()["dagster/partition"] == YESTERDAY
    assert [record.getMessage() for record in caplog.records if record.name == "hvac_platform.access.acting"] == [
        "CH-001: run 00000001-run for its profile by ana",
        f"CH-001: run 00000002-run for its days of {first} to {YESTERDAY} by ana",
        f"RTU-001: run 00000003-run for its days of {YESTERDAY} to {YESTERDAY} by ana",
    ]


def test_runs_are_listed_with_how_far_they_are_and_where_to_look(
    app: Any, store: EmbeddedStore, dagster: PlayedDagster
) -> None:
    ana, ben = (visitor(app, store, n, Role.OPERATOR, b) for n, b in (("ana", None), ("ben", [NORTH])))
    judge(ana, "CH-001", YESTERDAY, YESTERDAY)
    found = ana.ask("device-runs.children", device_id__data="CH-001")
    shown = str(found["device-runs.children"])
    for words in (
        "by ana",
        f"days {YESTERDAY}",
        "1 of 5 steps done at anomaly events",
        "https://dagster.example/runs/00000001-run",
    ):
        assert words in shown
    assert "https://dagster.example/assets/anomaly_events?view=lineage" in shown
    assert found["device-runs-going.data"] is True
    part = ben.text("device-runs.children", device_id__data="CH-001")
    assert "1 of 5 steps done" in part
    assert "https://dagster.example" not in part, "Dagster's pages are for who sees the whole site"
    assert "is not over yet, asked for by ana" in judge(ben, "CH-001", YESTERDAY, YESTERDAY)
    dagster.runs[0] |= {"status": "SUCCESS", "endTime": now_ms() / 1000 + 60}
    found = ana.ask("device-runs.children", device_id__data="CH-001")
    assert "done, after 1 min" in str(found["device-runs.children"])
    assert found["device-runs-going.data"] is False
    assert ana.ask("device-runs.children", device_id__data="CH-001", device_runs_going__data=False) == {}
    assert "Started" in judge(ben, "CH-001", YESTERDAY, YESTERDAY)


def test_a_run_that_was_started_is_looked_for_until_dagster_has_the_time_to_answer(
    app: Any, store: EmbeddedStore, dagster: PlayedDagster
) -> None:
    ana = visitor(app, store, "ana", Role.OPERATOR)
    asked = {"device_id__data": "CH-001", "device_runs_going__data": False}
    judge(ana, "CH-001", YESTERDAY, YESTERDAY)
    dagster.status = 503
    said = ana.ask("device-runs.children", device_run_said__children="Started: run 00000001.", **asked)
    assert said == {"device-runs-going.data": True}
    said = ana.ask("device-runs.children", tick__n_intervals=2, **{**asked, "device_runs_going__data": True})
    assert "answered 503" in str(said["device-runs.children"])
    assert said["device-runs-going.data"] is True
    dagster.status = 200
    said = ana.ask("device-runs.children", tick__n_intervals=3, **{**asked, "device_runs_going__data": True})
    assert "1 of 5 steps done" in str(said["device-runs.children"])


def test_no_run_is_launched_or_told_of_for_who_may_not(app: Any, store: EmbeddedStore, dagster: PlayedDagster) -> None:
    ana = visitor(app, store, "ana", Role.OPERATOR)
    rebuild(ana, "CH-001")
    viewer, part = visitor(app, store, "kim", Role.VIEWER), visitor(app, store, "ben", Role.OPERATOR, [SOUTH])
    assert "as kim, a viewer" in rebuild(viewer, "CH-001")
    assert "no such device" in rebuild(part, "CH-001")
    assert "no such device" in judge(part, "CH-001", YESTERDAY, YESTERDAY)
    assert "no such device" in rebuild(ana, "CH-999")
    for who in (viewer, part):
        assert "00000001" not in who.text("device-runs.children", device_id__data="CH-001")
    assert len(dagster.launched) == 1
    assert "Rebuild its profile" in ana.text("page.children", where__pathname="/device/CH-001")
    assert "Rebuild its profile" not in viewer.text("page.children", where__pathname="/device/CH-001")


def test_what_dagster_refuses_and_that_there_is_none_is_said(
    store: EmbeddedStore, tmp_path: Path, app: Any, dagster: PlayedDagster
) -> None:
    ana = visitor(app, store, "ana", Role.OPERATOR)
    dagster.refusal = {"__typename": "PythonError", "message": "the code can't be <b>loaded</b>\nand more"}
    assert "Dagster refuses it: the code can't be <b>loaded</b> and more" in rebuild(ana, "CH-001")
    dagster.refusal = {"__typename": "RunConfigValidationInvalid", "errors": [{"message": "no such partition"}]}
    assert "no such partition" in rebuild(ana, "CH-001")
    dagster.status = 403
    assert "answered 403" in rebuild(ana, "CH-001")
    port = free_port()
    none = Visitor(
        make_app(settings_of(tmp_path, hvac_dagster_url=f"http://127.0.0.1:{port}")),
        add_user(store, "ben", Role.OPERATOR, None, now_ms()),
    )
    said = f"no Dagster answers at http://127.0.0.1:{port}"
    assert said in rebuild(none, "CH-001")
    assert "hvac up starts it" in rebuild(none, "CH-001")
    listed = none.ask("device-runs.children", device_id__data="CH-001")
    assert said[1:] in str(listed["device-runs.children"])
    again = none.ask("device-runs.children", device_run_said__children="Not started", device_id__data="CH-001")
    assert "device-runs.children" not in again, "it is said once"
    assert listed["device-runs-going.data"] is False


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (TODAY, YESTERDAY, "before the first"),
        ("2019-12-31", YESTERDAY, "days begin with 2020-01-01"),
        (YESTERDAY, days_before(TODAY, -1), "hasn't come yet"),
        (days_before(TODAY, 92), TODAY, "92 days at most"),
        ("yesterday", TODAY, "From day: a day such as"),
        (TODAY, None, "To day: a day such as"),
        (f"{TODAY}T00:00", TODAY, "From day: a day such as"),
    ],
)
def test_days_that_can_not_be_are_refused(tmp_path: Path, first: Any, last: Any, said: str) -> None:
    with pytest.raises(DaysError, match=said):
        days_asked(first, last, settings_of(tmp_path), now_ms())
    assert days_asked(days_before(TODAY, 91), TODAY, settings_of(tmp_path), now_ms())[1] == TODAY
