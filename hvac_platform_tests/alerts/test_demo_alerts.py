"""What the demonstration shows live: the message of a fault, somebody's acknowledgement, its end; all on one terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path

from hvac_platform import demo_alerts
from hvac_platform.alerts.tree import parse_tree
from hvac_platform.cli.streaming import Fault
from hvac_platform.config import load_settings
from hvac_platform.runtime.connections import open_store
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.alerts.conftest import Happenings, incident


def until(holds, seconds=120):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    assert holds()


def test_message_acknowledgement_and_end_are_printed(home, monkeypatch):
    monkeypatch.setattr(demo_alerts, "LOOKS_SECONDS", 0.05)
    monkeypatch.setattr(demo_alerts, "READS_SECONDS", 0.0)
    now, printed = now_ms(), []
    option, file, *listing = demo_alerts.prepare_live(home, now)
    assert listing == ["--labels", str(home / demo_alerts.PLANNED_FILE)]
    (fault,) = [Fault.from_dict(values) for values in json.loads(Path(file).read_text())]
    assert (option, fault.start_ms <= now + 180_000 - 90_000) == ("--faults", True)  # told within three minutes
    (home / demo_alerts.ALERTS_FILE).write_text(demo_alerts.TREE.replace("route:", "group_wait: 0s\nroute:"))
    assert parse_tree(demo_alerts.TREE).receivers
    live = demo_alerts.LiveAlerts(load_settings(), printed.append)
    live.start()
    try:
        happenings = Happenings(open_store(load_settings()))
        one = incident(demo_alerts.DEVICE, now_ms(), device_type="chiller")
        happenings.record(one)
        happenings.happens("opened", one, at_ms=now_ms())
        until(lambda: any("acknowledged by demo: I have a look" in text for text in printed))
        happenings.happens("resolved", one, at_ms=now_ms())
        until(lambda: any("over: CH-001" in text for text in printed))
    finally:
        live.stop()
    assert demo_alerts.PLANNED_FILE in printed[0]  # what is told beside it is mostly a planned fault too
    heads = [text.strip().splitlines()[0].removeprefix("[critical] ").partition(":")[0] for text in printed[1:]]
    assert heads == ["CH-001 (roof east, bldg-001)", "acknowledged", "over"]
