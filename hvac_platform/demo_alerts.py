"""The demonstration live: a fault comes up; its message, somebody's acknowledgement and its resolution are printed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hvac_platform.access.roles import Role
from hvac_platform.access.users import add_user
from hvac_platform.alerts.outbox import read_outbox
from hvac_platform.alerts.standing import StandingDelivery
from hvac_platform.config import Settings
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.lifecycle import incident_by_id
from hvac_platform.runtime.connections import open_store
from hvac_platform.simulation.faults import Fault
from hvac_platform.timestamps import now_ms

ALERTS_FILE, FAULTS_FILE, PLANNED_FILE = "alerts.yaml", "live_faults.json", "planned_faults.json"
TREE = """\
# What the demonstration tells, and whom: docs/alerts.md
receivers:
  screen: {console: true}
route:
  receivers: [screen]
  tell: [opened, worsened, reopened, acknowledged, resolved, taken_back]
"""
DEVICE, METRIC = "CH-001", "chilled_water_supply_temp"
BEGINS_MS, LASTS_MS = 75_000, 240_000
"""The fault begins so long after the start: by then a run of detection stands."""
QUIET_MINUTES = 2
"""In place of an hour: after so long without a sign of it the fault of the demonstration is over."""
PERSON, LOOKS_SECONDS, READS_SECONDS = "demo", 1.0, 120.0
"""Who acknowledges what nobody has acknowledged for so long."""
OPERATOR = "operator"


def prepare_live(home: Path, at_ms: int) -> list[str]:
    """Write the file of alerts and the fault; returns what the simulator is asked to do: it lists all faults."""
    (home / ALERTS_FILE).write_text(TREE, encoding="utf-8")
    begins = at_ms + BEGINS_MS
    fault = Fault(DEVICE, "sensor_failure", begins, begins + LASTS_MS, METRIC)
    (home / FAULTS_FILE).write_text(json.dumps([fault.to_dict()], indent=1), encoding="utf-8")
    return ["--faults", str(home / FAULTS_FILE), "--labels", str(home / PLANNED_FILE)]


def operator_path(settings: Settings) -> str:
    """Path of the dashboard that logs in an operator of the demonstration's store, whom it makes."""
    return f"/log-in#token={add_user(open_store(settings), OPERATOR, Role.OPERATOR, None, now_ms())}"


class LiveAlerts:
    """Prints what is told; acknowledges, as a person would, what comes up on the device of the fault.

    It delivers in the demonstration's own process, because its terminal is there.

    Args:
        settings: of the demonstration.
        write: prints.
    """

    def __init__(self, settings: Settings, write: Callable[[str], object]) -> None:
        self._settings = settings.model_copy(update={"hvac_alerts": settings.hvac_home / ALERTS_FILE})
        self._write = write
        self._stop = threading.Event()
        self._delivery = StandingDelivery(
            self._settings, lambda: open_store(self._settings), write=lambda text: write(f"\n{text}\n")
        )
        self._person = threading.Thread(target=self._acknowledge, name="demo-person", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._write(
            f"In a minute a sensor of {DEVICE} fails for four: its message and its end are printed here. Acknowledge it on "
            f"the page that the message names; after two minutes somebody called {PERSON} does (docs/alerts.md). Faults of "
            f"all machines follow at random: {self._settings.hvac_home / PLANNED_FILE} says which, and from when until when."
        )
        self._delivery.start()
        self._person.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._person.join(5.0)
        self._delivery.stop()

    def _acknowledge(self) -> None:
        """Somebody reads the first message about the device, and takes it on."""
        store = open_store(self._settings)
        since = now_ms()
        while not self._stop.wait(LOOKS_SECONDS):
            sent = read_outbox(store, now_ms(), state="sent", device_id=DEVICE)
            told = [row for row in sent if row.transition == "opened" and (row.sent_at or 0) >= since]
            if not told:
                continue
            if self._stop.wait(READS_SECONDS):
                return
            incident = incident_by_id(store, told[0].incident_id)
            if incident is not None:
                with suppress(lifecycle.NotAllowedError):  # who looks at the demonstration did, or it was over by then
                    lifecycle.acknowledge(
                        store, incident, by=PERSON, at_ms=now_ms(), note="I have a look at the sensor"
                    )
            return
