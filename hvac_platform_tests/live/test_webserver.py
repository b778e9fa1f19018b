"""What a person does in the Dagster UI, against a live web server and daemon."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hvac_platform.access.roles import Role
from hvac_platform.access.users import add_user
from hvac_platform.config import load_settings
from hvac_platform.dashboard.app import make_app
from hvac_platform.devices.fleet import default_fleet
from hvac_platform.runtime.connections import open_log, open_store
from hvac_platform.stores.base import TableSlice
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import DAY_MS, day_start, days_between, now_ms
from hvac_platform_tests.dashboard.test_access import Visitor
from hvac_platform_tests.live.conftest import LOCATION, LiveDagster

DEVICES = {d.device_id for d in default_fleet()}
SELECTOR = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
RUN = "query($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status tags { key value } } } }"
INGESTED = ("raw_metrics", "windowed_snapshots", "snapshot_embeddings")


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 150) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := ready():
            return value
        time.sleep(1)
    pytest.fail(f"{what} did not happen within {seconds:.0f} s")


def finished(live: LiveDagster, run_id: str) -> str | None:
    status = live.query(RUN, id=run_id)["runOrError"]["status"]
    return status if status in {"SUCCESS", "FAILURE", "CANCELED"} else None


@pytest.fixture(scope="module")
def ingested(live: LiveDagster) -> LiveDagster:
    """The sensor, on by default, ingests the week by itself."""
    settings = load_settings()
    store, log = open_store(settings), open_log(settings)

    def caught_up() -> bool:
        ledger = store.ledger(settings.kafka_topic)
        return all(
            end == 0 or (p in ledger and ledger[p].next_offset == end)
            for p, end in log.end_offsets(settings.kafka_topic).items()
        )

    wait_for("ingestion by the sensor", caught_up)
    return live


def test_the_sensor_ingests_everything_without_a_hand(ingested: LiveDagster) -> None:
    store = open_store(load_settings())
    assert store.count("device_metrics_raw") == ingested.messages
    assert store.count("dead_letters") == 0
    assert {d.device_id for d in store.devices()} == DEVICES


def test_one_device_profile_is_materialized_on_demand(ingested: LiveDagster) -> None:
    launched = ingested.query(
        """mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
             __typename ... on LaunchRunSuccess { run { id } } ... on PythonError { message } } }""",
        p={
            "selector": {**SELECTOR, "jobName": "__ASSET_JOB", "assetSelection": [{"path": ["device_profiles"]}]},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "CH-001"}]},
            "runConfigData": {"ops": {"device_profiles": {"config": {"days_back": 7.0}}}},
        },
    )["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    assert wait_for("the profile's run", lambda: finished(ingested, launched["run"]["id"])) == "SUCCESS"
    asset = ingested.query(
        """query { assetOrError(assetKey: {path: ["device_profiles"]}) { ... on Asset {
             assetMaterializations(partitions: ["CH-001"], limit: 1) { metadataEntries {
               label ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text }
               ... on MarkdownMetadataEntry { mdStr } } } } } }"""
    )["assetOrError"]
    entries = {e["label"]: e for e in asset["assetMaterializations"][0]["metadataEntries"]}
    assert entries["snapshots_used"]["intValue"] == 7 * 288
    assert entries["span"]["text"].startswith(ingested.first_day)
    assert "| capacity_percentage |" in entries["metric_statistics"]["mdStr"]
    assert entries["similarity_plot"]["mdStr"].startswith("![plot](data:image/svg+xml;base64,")
    assert [p.device_id for p in open_store(load_settings()).devices() if p.device_id == "CH-001"] == ["CH-001"]


def assert_backfilled_as_one_run(dagster: LiveDagster, days: list[str], what: dict[str, Any]) -> None:
    launched = dagster.query(
        """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
             __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
        p={**what, "partitionNames": days, "tags": []},
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def status() -> dict[str, Any] | None:
        backfill = dagster.query(
            """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
                 status runs: unfinishedRuns(limit: 50) { id } } } }""",
            id=launched["backfillId"],
        )["partitionBackfillOrError"]
        return backfill if backfill["status"] not in {"REQUESTED"} else None

    assert wait_for("the backfill", status, 240)["status"] == "COMPLETED_SUCCESS"
    runs = dagster.query(
        """query($f: RunsFilter!) { runsOrError(filter: $f) { ... on Runs { results { status tags { key value } } } } }""",
        f={"tags": [{"key": "dagster/backfill", "value": launched["backfillId"]}]},
    )["runsOrError"]["results"]
    assert [run["status"] for run in runs] == ["SUCCESS"]
    tags = {t["key"]: t["value"] for t in runs[0]["tags"]}
    assert tags["dagster/asset_partition_range_start"] == days[0]
    assert tags["dagster/asset_partition_range_end"] == days[-1]


def test_seven_days_are_backfilled_as_one_run(ingested: LiveDagster) -> None:
    store = open_store(load_settings())
    days = days_between(ingested.first_day, ingested.last_day)
    before = {name: store.count(name) for name in ("device_metrics_raw", "device_state_snapshots")}
    assert_backfilled_as_one_run(
        ingested, days, {"assetSelection": [{"path": [name]} for name in (*INGESTED, "anomaly_events")]}
    )
    assert {name: store.count(name) for name in before} == before
    assert store.count("snapshot_verdicts") >= 3 * before["device_state_snapshots"] - 3 * 5


def test_the_job_backfills_days_as_one_run(ingested: LiveDagster) -> None:
    """As the job's page launches it: by the partition set of the job, not by assets."""
    days = days_between(ingested.first_day, ingested.last_day)[:2]
    of_job = {"partitionSetName": "backfill_partition_set", "repositorySelector": SELECTOR}
    assert_backfilled_as_one_run(ingested, days, {"selector": of_job})


def test_scheduled_detection_says_why_it_skips_or_runs(ingested: LiveDagster) -> None:
    def ticks() -> list[dict[str, Any]]:
        found = ingested.query(
            """query($s: InstigationSelector!) { instigationStateOrError(instigationSelector: $s) {
                 ... on InstigationState { ticks(limit: 20) { status skipReason runIds } } } }""",
            s={**SELECTOR, "name": "detection_schedule"},
        )["instigationStateOrError"]
        return [t for t in found.get("ticks", []) if t["status"] in {"SUCCESS", "SKIPPED"}]

    for tick in wait_for("a tick of the detection schedule", ticks):
        assert tick["runIds"] or tick["skipReason"]


def test_the_lineage_page_shows_every_asset_and_edge(ingested: LiveDagster) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    groups = ",".join(f"global@global:{group}" for group in ("ingestion", "learning", "detection"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 2200, "height": 1000})
        page.goto(f"{ingested.url}/asset-groups?expanded={groups}", wait_until="domcontentloaded")
        page.get_by_text("windowed_snapshots").first.wait_for(timeout=60_000)
        page.wait_for_timeout(2_000)
        page.screenshot(path=str(ingested.home / "lineage.png"))
        body = page.inner_text("body")
        browser.close()
    shown = [name.replace("snapshot_embeddings", "_embeddings") for name in INGESTED]  # Dagster shortens long names
    for name in ("iot_metrics", *shown, "consumer_offsets", "device_profiles", "anomaly_events", "detection_report"):
        assert name in body, f"{name} is not on the lineage page"


def test_an_operator_judges_days_of_one_device_again_from_its_page(ingested: LiveDagster) -> None:
    """The dashboard's buttons, beside a real web server, daemon and code server."""
    settings = load_settings().model_copy(update={"hvac_dagster_url": ingested.url})
    store, day = EmbeddedStore(ingested.home / "store.db"), days_between(ingested.first_day, ingested.last_day)[3]
    keys_of = ("device_id", "date", "snapshot_time", "method")
    judged = TableSlice("snapshot_verdicts", keys_of, None, day_start(day), day_start(day) + DAY_MS)
    token = add_user(store, "launcher", Role.OPERATOR, None, now_ms())
    try:
        ana = Visitor(make_app(settings), token)

        def done(what: str, **given: Any) -> str:
            said = ana.text("device-run-said.children", device_id__data="CH-001", **given)
            assert "Started: run" in said, said

            def over() -> str | None:
                found = ana.ask("device-runs.children", device_id__data="CH-001")
                return str(found["device-runs.children"]) if found["device-runs-going.data"] is False else None

            shown: str = wait_for(what, over, 240)
            return shown

        shown = done("the profile", device_run_profile__n_clicks=1)
        assert "done, after" in shown
        assert f"{ingested.url}/runs/" in shown
        for device in ("CH-001", "RTU-001"):  # nothing looks for verdicts of windows that were judged
            for keys in list(store.scan(replace(judged, device_id=device))):
                store.delete("snapshot_verdicts", keys)
        shown = done("the days", device_run_days__n_clicks=1, device_run_from__value=day, device_run_until__value=day)
        assert shown.count("done, after") == 2
        counted = {
            device: sum(len(keys["method"]) for keys in store.scan(replace(judged, device_id=device)))
            for device in ("CH-001", "RTU-001")
        }
        assert counted == {"CH-001": 3 * 288, "RTU-001": 0}, "of this device alone"
    finally:
        store.connection.execute("DELETE FROM users")
