"""A dashboard over a real embedded store with a simulated day in it, asked as a browser asks."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest
import waitress
from dash import Dash
from waitress import wasyncore

from devtools import PROJECT_ROOT
from hvac_platform.config import Settings
from hvac_platform.devices.fleet import default_fleet
from hvac_platform.execution import build_profiles, ingest_everything, judge_days
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.incidents import blank_incident
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.connections import open_log
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import stream_history
from hvac_platform.stores.base import Device, Store, StoreError
from hvac_platform.stores.records import Incident, MaintenanceSpan
from hvac_platform.timestamps import DAY_MS, day_of, day_start, days_before, now_ms
from hvac_platform_tests.conftest import HOUR_MS, bad, enter_home, open_dagster, reading

DEVICES = ("CH-001", "RTU-001")
EVIL = "<img src=x onerror=alert(1)>/..X"
EVIL_METRIC = "<a href='javascript:alert(3)'>m</a>"
EVIL_PLACE = "<script>alert(2)</script>\u202e"
INCIDENT = {
    "status": "open",
    "severity": "warning",
    "level": 3,
    "windows": 12,
    "peak_score": 3.5,
    "methods": {"profile": 12, "rules": 4},
    "rules": ["ch-1", "<b>no rule</b>"],
    "metrics": ["power_consumption", "cop"],
    "reasons": ["power 90 kW is far from its usual 60 kW", "<script>alert(5)</script>"],
    "signature": {"power_consumption": 0.8, "cop": -0.6},
    "kinds": [{"kind": "fouled_condenser", "title": "fouled condenser", "similarity": 0.91}],
    "excess_kwh": 42.5,
}
YESTERDAY = days_before(day_of(now_ms()), 1)
START_MS = day_start(YESTERDAY)


def settings_of(home: Path, **more: Any) -> Settings:
    return Settings(_env_file=None, hvac_home=home, **more)  # type: ignore[call-arg]


def incident(device_id: str, started_at: int, **changes: Any) -> Incident:
    past = {"incident_id": f"{device_id}/{started_at - DAY_MS}", "device_id": device_id, "label": None, "known": True}
    similar = [{**past, "started_at": started_at - DAY_MS, "similarity": 0.93}]
    blank = blank_incident(Device(device_id, "", "", "", 0, 0, 0), started_at, started_at + HOUR_MS, 3)
    return replace(blank, similar=similar, updated_at=started_at, **(INCIDENT | changes))


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Yesterday of two devices, learned from and judged, a fault in it; a device with a hostile name; dead letters."""
    home = tmp_path_factory.mktemp("dashboard")
    shutil.copy(PROJECT_ROOT / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as patch:
        enter_home(home, patch.setenv, lambda name: patch.delenv(name, raising=False), patch.chdir)
        platform = PlatformResource()
        fleet = [d for d in default_fleet() if d.device_id in DEVICES]
        fault = Fault("CH-001", "low_flow", START_MS + 20 * HOUR_MS, START_MS + 23 * HOUR_MS)
        simulation = FleetSimulation(fleet, seed=3, faults=[fault])
        for _ in stream_history(platform.log, platform.topic, simulation, fleet, START_MS, START_MS + DAY_MS, 60_000):
            pass
        hostile = {"device_type": "tea<b>pot", "location": EVIL_PLACE, "unit": "<i>"}
        evil = [
            reading(EVIL, START_MS + DAY_MS - k * 20_000, EVIL_METRIC, 20.0 + k % 7, **hostile) for k in range(1, 90)
        ]
        broken = [bad("not JSON", now_ms()), (b"\xff", b"<script>alert(6)</script>\x00\xfe" + b"z" * 900, now_ms())]
        open_log(platform.settings).append(platform.topic, [*evil, *broken])
        with open_dagster(home) as instance:
            for _ in ingest_everything(instance, platform):
                pass
            build_profiles(instance, list(DEVICES), until=f"{YESTERDAY}T18:00")
            judge_days(instance, YESTERDAY, YESTERDAY)
        store = platform.store
        # The pages show incidents with every kind of content instead.
        store.delete("incidents", Incident.columns(Incident.read(store)))
        shown = [
            incident("CH-001", START_MS + 20 * HOUR_MS),
            incident("RTU-001", START_MS + 3 * HOUR_MS, status="closed", severity="critical", level=2, excess_kwh=None),
        ]
        store.upsert("incidents", Incident.columns(shown))
        first = shown[0]
        rules = lifecycle.Rules(platform.settings.incident_past_ms)
        lifecycle.write_steps(store, [lifecycle.after_pass(None, first, rules, first.ended_at)], first.ended_at)
        lifecycle.acknowledge(store, first, by="kim", at_ms=first.ended_at + 1, note="<b>on my way</b>")
        lifecycle.assign(store, first, "alex", by="kim", at_ms=first.ended_at + 2)
        for metric, since, left in (
            ("power_consumption", START_MS - 9 * DAY_MS, 12.4),
            ("cop", None, None),
            ("load", START_MS, 1e3),
        ):
            row = {"reading": 61.0, "deviation": 4.25, "sigmas": 6.1, "per_day": 0.31, "cusum": 9.0, "unit": "kW"}
            span = {"span_start": START_MS - 20 * DAY_MS, "span_end": START_MS, "updated_at": START_MS}
            trend = {"device_id": "CH-001", "metric": metric, "since": since, "days_to_limit": left, **row, **span}
            store.upsert("metric_trends", {name: [value] for name, value in trend.items()})
        span = MaintenanceSpan("CH-001", START_MS + 10 * HOUR_MS, START_MS + 11 * HOUR_MS, "coils", 0)
        store.upsert("maintenance_spans", MaintenanceSpan.columns([span]))
    return home


def copy_databases(home: Path, folder: Path) -> None:
    """Copy the store and the log as SQLite does: this process, if it opened and closed the files, would lose its locks."""
    for file in home.glob("*.db"):
        source, made = apsw.Connection(str(file)), apsw.Connection(str(folder / file.name))
        with made.backup("main", source, "main") as copying:
            copying.step()
        made.close()
        source.close()


class Browser:
    """Asks the callbacks of an app by HTTP, as the pages in a browser do."""

    def __init__(self, app: Dash) -> None:
        server: Any = app.server
        self.client = server.test_client()
        self._dependencies = self.client.get("/_dash-dependencies").json

    def ask(self, output: str, **values: Any) -> dict[str, Any]:
        """Outputs by 'id.property' of the callback that has the output; inputs are given as id__property."""
        given = {name.replace("__", ".").replace("_", "-"): value for name, value in values.items()}
        found = next(d for d in self._dependencies if output in _outputs(d["output"]))
        body = {
            "output": found["output"],
            "outputs": [_reference(name) for name in _outputs(found["output"])],
            "inputs": [{**i, "value": given.get(_key(i), _default(i))} for i in found["inputs"]],
            "state": [{**s, "value": given.get(_key(s))} for s in found["state"]],
            "changedPropIds": [_changed(found["inputs"], given)],
        }
        if len(body["outputs"]) == 1:
            body["outputs"] = body["outputs"][0]
        answer = self.client.post("/_dash-update-component", json=body)
        assert answer.status_code == 200, answer.data[:2000]
        response = answer.json["response"]
        return {f"{part}.{name}": value for part, props in response.items() for name, value in props.items()}

    def text(self, output: str, **values: Any) -> str:
        """What an answer says, all of it, as text."""
        return json.dumps(self.ask(output, **values), ensure_ascii=False)


def _outputs(output: str) -> list[str]:
    return output.strip(".").split("...")


def _reference(name: str) -> dict[str, str]:
    part, _, prop = name.rpartition(".")
    return {"id": part, "property": prop}


def _key(reference: dict[str, str]) -> str:
    return f"{reference['id']}.{reference['property']}".replace("_", "-")


def _changed(inputs: list[dict[str, str]], given: dict[str, Any]) -> str:
    """The first input that was given, as a browser names it; the first of all where none was."""
    changed = next((i for name in given for i in inputs if _key(i) == name), inputs[0])
    return f"{changed['id']}.{changed['property']}"


def _default(reference: dict[str, str]) -> Any:
    return {"device-range": "24 h", "methods-span": "7 days", "tick": 0}.get(reference["id"])


class Served:
    """A dashboard in a thread."""

    def __init__(self, app: Dash) -> None:
        self.server: Any = waitress.create_server(
            app.server,
            host="127.0.0.1",
            port=0,
            threads=4,
            asyncore_use_poll=True,  # as the platform's; select ends at descriptor 1,024, and a worker of pytest has many
        )
        self.url = f"http://127.0.0.1:{self.server.effective_port}"
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        return self.url

    def __exit__(self, *_: object) -> None:
        # Answers first, and the sockets by the thread that waits on them: what writes to a closed descriptor
        # writes to whatever has that number next, such as another test's server or browser.
        self.server.task_dispatcher.shutdown(timeout=120)
        self.server.trigger.pull_trigger(lambda: wasyncore.close_all(self.server._map))
        self.thread.join(120)
        assert not self.thread.is_alive()


class BrokenStore:
    """A store that is down."""

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: Any, **__: Any) -> Any:
            raise StoreError("no host <b>answers</b>")

        return refuse


class CountingStore:
    """A store that counts what is asked of it, and refuses to write."""

    READS = frozenset({"scan", "scan_spans", "devices", "count", "ledger", "device_days", "schema_versions"})

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: list[str] = []

    @property
    def states_at_once(self) -> int:
        """What the store says of itself."""
        return self._store.states_at_once

    def __getattr__(self, name: str) -> Any:
        assert name in self.READS, f"a dashboard has no business with {name}"

        def counted(*arguments: Any, **named: Any) -> Any:
            table = arguments[0].table if name == "scan" else ""
            self.calls.append(f"{name} {table}".strip())
            return getattr(self._store, name)(*arguments, **named)

        return counted
