"""How long an alert takes from the incident to its receiver, and what kills cost: `python -m benchmarks.alerts --help`.

Incidents are opened in a store as a detection run opens them, and delivered as its thread delivers them, to an HTTP receiver
on loopback. Prints, judges nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from hvac_platform.alerts.delivery import Deliverer
from hvac_platform.alerts.standing import StandingDelivery
from hvac_platform.alerts.tree import load_tree
from hvac_platform.config import Settings
from hvac_platform.monitoring.incidents import blank_incident
from hvac_platform.monitoring.lifecycle import Rules, after_pass, write_steps
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import now_ms

RULES = Rules(past_ms=6 * 3_600_000)


def say(what: str, figure: str, note: str = "") -> None:
    print(f"{what:<62}{figure:>14}   {note}".rstrip(), flush=True)


class Receiver:
    """Takes webhooks; remembers when each event came."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, dict[str, Any]]] = []
        taken = self.taken

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # who sent it was killed
                taken.append((time.time(), json.loads(body)))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """Who asked was killed."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()


class Plant:
    """A store in which incidents are opened."""

    def __init__(self, home: Path) -> None:
        self.store = EmbeddedStore(home / "store.db")
        self.opened: dict[str, float] = {}
        self._count = 0

    def opens(self, number: int, **changes: Any) -> None:
        """So many incidents at once, of as many devices."""
        now, made = now_ms(), []
        for _ in range(number):
            self._count += 1
            device = Device(f"CH-{self._count:05d}", "chiller", "roof", "bldg-001", now, now, 0)
            blank = blank_incident(device, now - 60_000, now, 1)
            given = {"severity": "critical", "rules": ["ch-1"], "metrics": ["cop"], "status": "open", **changes}
            made.append(replace(blank, reasons=["too warm"], **given))
        if "parent_id" in changes:
            made[0] = replace(made[0], parent_id=None)
            made = [made[0], *(replace(one, parent_id=made[0].incident_id) for one in made[1:])]
        self.store.upsert(Incident.TABLE, Incident.columns(made))
        write_steps(self.store, [after_pass(None, one, RULES, now) for one in made], now)
        self.opened |= dict.fromkeys((one.incident_id for one in made), time.time())


def settings_of(home: Path, receiver: Receiver, more: str = "") -> Settings:
    file = home / "alerts.yaml"
    file.write_text(
        f"{more}receivers: {{hook: {{webhook: {{url: '{receiver.url}'}}}}}}\nroute: {{receivers: [hook]}}\n"
    )
    return Settings(hvac_home=home, hvac_alerts=file)


def until_all_came(receiver: Receiver, wanted: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while len(receiver.taken) < wanted and time.monotonic() < end:
        time.sleep(0.01)


def measure_delays(home: Path, seconds: float) -> None:
    """Incidents at random moments, one or a few at once."""
    receiver, plant, chance = Receiver(), Plant(home), random.Random(15)
    settings = settings_of(home, receiver)
    delivery = StandingDelivery(settings, lambda: EmbeddedStore(home / "store.db"))
    delivery.start()
    time.sleep(2.0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        plant.opens(chance.choice([1, 1, 1, 3]))
        delivery.wake()
        time.sleep(chance.expovariate(2.0))
    until_all_came(receiver, len(plant.opened), 30)
    delivery.stop()
    delays = [
        at - plant.opened[incident["id"]] for at, event in receiver.taken for incident in event["data"]["incidents"]
    ]
    shown = ", ".join(f"{q}: {np.percentile(delays, q):.2f} s" for q in (50, 95, 99))
    say(f"incident to receiver, {len(delays)} incidents, percentiles", f"{np.percentile(delays, 95):.2f} s", shown)
    receiver.close()


def measure_burst(home: Path, devices: int) -> None:
    """All devices of a building at once."""
    receiver, plant = Receiver(), Plant(home)
    settings = settings_of(home, receiver)
    delivery = StandingDelivery(settings, lambda: EmbeddedStore(home / "store.db"))
    delivery.start()
    time.sleep(2.0)
    plant.opens(devices, scope="fleet", cause="supply of building bldg-001", parent_id="")
    until_all_came(receiver, 1, 30)
    time.sleep(4.0)
    delivery.stop()
    first = receiver.taken[0][0] - min(plant.opened.values())
    say(f"{devices} devices of one cause: messages", str(len(receiver.taken)), f"the first after {first:.2f} s")
    receiver.close()


def measure_pace(home: Path, incidents: int) -> None:
    """Many incidents, a message each."""
    receiver, plant = Receiver(), Plant(home)
    settings = settings_of(home, receiver, "storm: 10000\n")
    plant.opens(incidents)
    deliverer = Deliverer(plant.store, settings)
    began, busy = time.monotonic(), time.process_time()
    deliverer.deliver_everything(300)
    took, busy = time.monotonic() - began, time.process_time() - busy
    deliverer.close()
    say(
        f"{len(receiver.taken)} messages to one receiver",
        f"{len(receiver.taken) / took:.0f} a second",
        f"{busy:.1f} CPU-s",
    )
    receiver.close()


def _deliver(home: Path) -> None:
    settings = Settings(hvac_home=home, hvac_alerts=home / "alerts.yaml")
    assert settings.hvac_alerts is not None
    deliverer = Deliverer(
        EmbeddedStore(home / "store.db"), settings, tree=load_tree(settings.hvac_alerts), holder="deliverer"
    )
    deliverer.run(threading.Event())


def measure_kills(home: Path, incidents: int, kills: int) -> None:
    """A deliverer that is killed again and again."""
    receiver, plant, chance = Receiver(), Plant(home), random.Random(15)
    settings_of(home, receiver, "storm: 10000\n")
    plant.opens(incidents)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["hvac_platform.alerts.delivery"])
    for kill in range(kills + 1):
        before = len(receiver.taken)
        process = processes.Process(target=_deliver, args=(home,))
        process.start()
        wanted = incidents if kill == kills else before + chance.randrange(1, max(2, incidents // kills))
        until_all_came(receiver, wanted, 60)
        if kill == kills:
            time.sleep(3.0)
        process.kill()
        process.join()
    events = Counter(event["id"] for _, event in receiver.taken)
    say(f"{kills} kills over {incidents} messages: lost", str(incidents - len(events)))
    say("  sent twice, with the same key", str(events.total() - len(events)), "doubled for who deduplicates: 0")
    receiver.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of incidents at random moments")
    parser.add_argument("--devices", type=int, default=200, help="that go wrong together")
    parser.add_argument("--incidents", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder) / name for name in ("delays", "burst", "pace", "kills")]
        for home in homes:
            home.mkdir()
        measure_delays(homes[0], options.seconds)
        measure_burst(homes[1], options.devices)
        measure_pace(homes[2], options.incidents)
        measure_kills(homes[3], options.incidents, options.kills)


if __name__ == "__main__":
    main()
