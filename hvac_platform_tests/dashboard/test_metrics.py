"""/metrics: what it says of a platform that works and of one whose store is away; rules and dashboard name what there is."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from devtools import PROJECT_ROOT
from hvac_platform.alerts.troubles import Trouble, raise_trouble
from hvac_platform.config import Settings
from hvac_platform.dashboard.app import make_app
from hvac_platform.monitoring.counted import count_judged, count_run
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.alerts.conftest import Happenings, incident
from hvac_platform_tests.conftest import readings
from hvac_platform_tests.dashboard.conftest import settings_of

RULES = PROJECT_ROOT / "deploy/prometheus/alerts.yaml"
BOARD = PROJECT_ROOT / "deploy/grafana/hvac-platform.json"


def answer_of(home, host="127.0.0.1"):
    return make_app(settings_of(home)).server.test_client().get("/metrics", headers={"Host": host})


def scraped(home):
    found = {}
    for family in text_string_to_metric_families(answer_of(home).get_data(as_text=True)):
        for sample in family.samples:
            found[sample.name, *(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    home = tmp_path_factory.mktemp("metrics")
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.setenv("HVAC_HOME", str(home))
        patch.chdir(home)
        platform, now = PlatformResource(), now_ms()
        store = platform.store
        platform.log.append(platform.topic, readings("RTU-001", now - 120_000, 1))
        happenings = Happenings(store)
        one, two = incident("CH-001", now - 60_000, device_type="chiller"), incident("RTU-001", now, severity="warning")
        happenings.record(one, two)
        happenings.happens("opened", one, two, at_ms=now)
        happenings.stands("acknowledged", two, at_ms=now)
        raise_trouble(store, Trouble("receiver", "phone", "critical", "away"), now)
        count_judged(store, 30)
        count_judged(store, 12)
        count_run(store, "detection", 900.5, succeeded=True)
        count_run(store, "detection", 1.5, succeeded=False)
    return home


def test_it_says_how_the_platform_does(filled):
    found = scraped(filled)
    assert found["hvac_store_up",] == 1
    assert found["hvac_windows_judged_total",] == 42
    assert found["hvac_runs_total", "detection", "failed"] == 1
    assert found["hvac_run_seconds_total", "detection"] == 902
    assert found["hvac_incidents", "critical", "open"] == 2  # the chiller's and the receiver's
    assert found["hvac_incidents", "warning", "acknowledged"] == 1
    assert found["hvac_alerts_outbox", "new"] == 3
    assert found["hvac_devices", "chiller"] == 1
    assert sum(value for key, value in found.items() if key[0] == "hvac_ingestion_lag_messages") == 12
    assert not any(value for key, value in found.items() if key[0] == "hvac_metrics_part_failed")


def test_what_is_not_asked_as_the_pages_are_gets_nothing(filled):
    assert answer_of(filled, "evil.example.com").status_code == 403


def test_without_a_store_it_says_so(tmp_path):
    assert scraped(tmp_path)["hvac_store_up",] == 0


@pytest.mark.parametrize("path", [RULES, BOARD], ids=lambda path: path.name)
def test_rules_and_dashboard_name_metrics_and_labels_that_are_there(filled, path):
    text = path.read_text()
    named = set(re.findall(r"\bhvac_[a-z_]+[a-z]\b", text)) - {"hvac_platform"}
    assert named <= set(re.findall(r"^# TYPE (\w+)", answer_of(filled).get_data(as_text=True), re.MULTILINE))
    assert len(named) > 8
    if path is RULES:
        rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
        assert all(rule["labels"]["severity"] and rule["annotations"]["summary"] for rule in rules)
    else:
        panels = json.loads(text)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)


def test_devices_and_incidents_of_a_large_fleet_are_counted(tmp_path):
    store, now = EmbeddedStore(tmp_path / "store.db"), now_ms()
    happenings = Happenings(store)
    happenings.record(*(incident(f"D-{i:04d}", now + i) for i in range(1_000)))
    store.close()
    found = scraped(tmp_path)
    assert found["hvac_devices", "rooftop_unit"] == 1_000
    assert found["hvac_incidents_going_on", "critical"] == 1_000
