"""What pages of the dashboard cost the server: `python -m benchmarks.pages --help`; prints, judges nothing.

A dashboard of its own over a store of its own, asked over HTTP as a browser asks: once as a page is opened, then as it
refreshes, a minute long, while readings go on arriving. Processor time is that of the server's process.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.copies import WINDOW_MS, fill_with_copies
from hvac_platform.dashboard.device_states import FRESH_SECONDS
from hvac_platform.monitoring.incidents import blank_incident
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident, LatestReading, Reading, Snapshot
from hvac_platform.timestamps import DAY_MS, now_ms

DEVICE = "RTU-001"
REFRESHES = 12
"""A minute of them: one of twelve brings a new window."""
INTERVAL_MS = 5_000
OPEN_EVERY, CLOSED_EACH = 10, 20
HOUR_MS = 3_600_000


def say(what: str, figure: str, note: str = "") -> None:
    print(f"{what:<58}{figure:>18}   {note}".rstrip(), flush=True)


def hvac(home: Path, *arguments: str) -> None:
    """A command of the platform."""
    done = subprocess.run(
        [sys.executable, "-m", "hvac_platform.cli", *arguments],
        cwd=home,
        env={**os.environ, "HVAC_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


class Plant:
    """A store of many devices that go on reporting; one of them has a day behind it, learned and judged."""

    def __init__(self, home: Path, devices: int) -> None:
        self.store = EmbeddedStore(home / "store.db")
        start = now_ms() // WINDOW_MS * WINDOW_MS
        fill_with_copies(self.store, devices, start - DAY_MS // 12, days=1 / 12, interval_ms=WINDOW_MS)
        fill_with_copies(self.store, 10, start - DAY_MS, days=1.0, interval_ms=10_000)
        hvac(home, "profiles", "build", DEVICE)
        hvac(home, "detect", DEVICE, "--hours-back", "25")
        self.devices = self.store.devices()
        self.start = self.at = start
        self.incident: Incident
        self._incidents()
        self.arrive()

    def _incidents(self) -> None:
        found = []
        for i, device in enumerate(self.devices):
            for k in range(CLOSED_EACH):
                began = self.start - (k + 2) * DAY_MS
                found.append(replace(blank_incident(device, began, began + 3_600_000, 3), status="closed"))
            if i % OPEN_EVERY == 0:
                found.append(replace(blank_incident(device, self.start - 7_200_000, self.start, 2), status="open"))
            if device.device_id == DEVICE:
                self.incident = blank_incident(device, self.start - 3 * HOUR_MS, self.start - HOUR_MS, 3)
                found.append(self.incident)
        self.store.upsert(Incident.TABLE, Incident.columns(found))

    def arrive(self, *, window: bool = False) -> None:
        """A reading of every metric of every device; with a window, the one that was open is complete first."""
        self.at += INTERVAL_MS
        if window:
            self.start += WINDOW_MS
            self.at = self.start
        readings: list[LatestReading] = []
        for device in self.devices:
            newest = Snapshot.read(
                self.store,
                device.device_id,
                (self.start - 2 * WINDOW_MS, self.start),
                only=Snapshot.all_but("embedding"),
            )[-1]
            if window:
                columns = Snapshot.columns([newest], only=Snapshot.all_but("embedding", "date"))
                self.store.upsert(Snapshot.TABLE, {**columns, "snapshot_time": np.array([self.start - WINDOW_MS])})
            readings += [
                LatestReading(device.device_id, self.start, name, value, self.at)
                for name, value in newest.metrics.items()
            ]
        latest = LatestReading.columns(readings)
        raw = {name: latest[name] for name in ("device_id", "metric_name", "metric_value")}
        raw |= {"timestamp": latest["last_updated"], "unit": [""] * len(readings)}
        self.store.upsert(Reading.TABLE, raw)
        self.store.upsert(LatestReading.TABLE, latest)
        self.devices = [replace(d, last_seen=self.at) for d in self.devices]
        self.store.register_devices(self.devices)


@dataclass
class Server:
    """A dashboard that runs, and what it cost so far."""

    port: int
    process: subprocess.Popen[bytes]
    dependencies: list[dict[str, Any]] = field(default_factory=list)

    def get(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(urllib.error.URLError, ConnectionError):
                self.dependencies = json.loads(self.get("/_dash-dependencies"))
                return
            time.sleep(0.2)
        raise SystemExit("the dashboard does not answer")

    def cpu(self) -> float:
        """Seconds of the processor so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, output: str, kept: dict[str, Any]) -> int:
        """Call back as a browser does; what it answers is kept as state for the next time. Bytes of the answer."""
        found = next(d for d in self.dependencies if output in _outputs(d["output"]))
        references = [_reference(name) for name in _outputs(found["output"])]
        body = {
            "output": found["output"],
            "outputs": references if len(references) > 1 else references[0],
            "inputs": [{**i, "value": kept.get(_key(i), _default(i))} for i in found["inputs"]],
            "state": [{**s, "value": kept.get(_key(s))} for s in found["state"]],
            "changedPropIds": [_key(found["inputs"][0])],
        }
        answer = self.get("/_dash-update-component", body)
        for part, properties in json.loads(answer)["response"].items() if answer else ():
            kept.update({f"{part}.{name}": value for name, value in properties.items() if name == "data"})
        return len(answer)


def _outputs(output: str) -> list[str]:
    return output.strip(".").split("...")


def _reference(name: str) -> dict[str, str]:
    part, _, prop = name.rpartition(".")
    return {"id": part, "property": prop}


def _key(reference: dict[str, str]) -> str:
    return f"{reference['id']}.{reference['property']}"


def _default(reference: dict[str, str]) -> Any:
    return {"device-range": "24 h", "tick": 0, "where": "/"}.get(reference["id"])


def served(home: Path) -> Server:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "hvac_platform.cli", "dashboard", "--port", str(port)],
        cwd=home,
        env={**os.environ, "HVAC_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )
    return Server(port, process)


def page(server: Server, plant: Plant, name: str, outputs: Sequence[str], kept: dict[str, Any], loads: int) -> None:
    """Open a page some times, then leave it open for a minute."""
    first = dict(kept)
    before = server.cpu()
    for _ in range(loads):
        first = dict(kept)
        size = sum(server.ask(output, first) for output in outputs)
    say(f"{name}: opened", f"{1000 * (server.cpu() - before) / loads:.0f} ms", f"{size / 1000:,.0f} kB (aim: 100 ms)")
    spent, sizes = [], []
    for k in range(REFRESHES):
        plant.arrive(window=k == REFRESHES - 1)
        time.sleep(FRESH_SECONDS)  # so that no device is as it was a moment ago, as after the pause of a browser
        before = server.cpu()
        sizes.append(sum(server.ask(output, first) for output in outputs))
        spent.append(server.cpu() - before)
    say(
        f"{name}: refreshed, mean of a minute",
        f"{1000 * float(np.mean(spent)):.0f} ms",
        f"with a new window {1000 * spent[-1]:.0f} ms; {np.mean(sizes) / 1000:,.0f} kB (aim: 100 ms)",
    )
    before = server.cpu()
    sizes = [sum(server.ask(output, first) for output in outputs) for _ in range(REFRESHES)]
    say(
        f"{name}: refreshed, nothing new",
        f"{1000 * (server.cpu() - before) / REFRESHES:.0f} ms",
        f"{np.mean(sizes) / 1000:,.0f} kB",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--loads", type=int, default=10)
    parser.add_argument("--serve", action="store_true", help="leave the dashboard open, to be looked at, until Ctrl-C")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hvac-bench-") as name:
        home = Path(name)
        plant = Plant(home, arguments.devices)
        server = served(home)
        try:
            server.wait()
            shell = ["page.children", "updated.children"]
            fleet = ["fleet-cards.children", *shell]
            page(server, plant, f"fleet page, {arguments.devices:,} devices", fleet, {}, arguments.loads)
            as_table: dict[str, Any] = {"fleet-view.value": "table"}
            page(server, plant, "fleet page as a table", fleet, as_table, arguments.loads)
            device = ["device-figure.figure", *shell]
            kept: dict[str, Any] = {"device-id.data": DEVICE, "where.pathname": f"/device/{DEVICE}"}
            page(server, plant, "device page, 24 h", device, kept, arguments.loads)
            began = plant.incident.started_at
            kept = {"incident-id.data": [DEVICE, str(began)], "where.pathname": f"/incident/{DEVICE}/{began}"}
            page(server, plant, "incident page", ["incident-content.children", *shell], kept, arguments.loads)
            before = server.cpu()
            size = sum(len(server.get("/metrics")) for _ in range(arguments.loads))
            cost = 1000 * (server.cpu() - before) / arguments.loads
            say("/metrics, a scrape", f"{cost:.0f} ms", f"{size / arguments.loads / 1000:,.0f} kB")
            if arguments.serve:
                say("open", f"port {server.port}", f"/ and /device/{DEVICE}")
                with suppress(KeyboardInterrupt):
                    while server.process.poll() is None:
                        time.sleep(INTERVAL_MS / 1000)
                        plant.arrive(window=now_ms() - plant.start > WINDOW_MS)
        finally:
            server.process.terminate()
            server.process.wait()


if __name__ == "__main__":
    main()
