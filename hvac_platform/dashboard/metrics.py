"""``/metrics`` for Prometheus: how the platform does, read from store and log when asked, at most every few seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hvac_platform.alerts.facts import PLATFORM
from hvac_platform.alerts.outbox import made_ms, messages, new_transitions, read_outbox
from hvac_platform.dashboard.reading import open_incidents
from hvac_platform.dashboard.shared_readings import SharedReadings
from hvac_platform.dashboard.source import Remembered
from hvac_platform.monitoring.counted import runs_counted, windows_judged
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import IncidentHandling
from hvac_platform.timestamps import DAY_MS, now_ms

READ_SECONDS = 10.0
"""However many ask, the store is read once in so long."""
SLOW_SECONDS = 60.0
JOBS = ("ingestion", "detection", "profiles", "report", "backfill", "housekeeping")
UNDER_WAY = ("open", "acknowledged", "snoozed")
SEVERITIES = ("critical", "warning", "info")
OUTBOX_STATES = ("new", "waiting", "dead")

Part = Callable[[Store], Iterable[Metric]]


class PlatformMetrics:
    """What ``/metrics`` says. A part that can't be read costs no other its place, and is counted.

    Args:
        shared: readings that the pages share.
    """

    def __init__(self, shared: SharedReadings) -> None:
        self._shared = shared
        self._text = Remembered(self._generate, READ_SECONDS)
        self._slow = Remembered(self._read_slowly, SLOW_SECONDS)

    def text(self) -> bytes:
        """The page, in Prometheus' text format."""
        return self._text.get()

    def _generate(self) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(list(self._collected())))
        return generate_latest(registry)

    def _collected(self) -> Iterator[Metric]:
        failed = GaugeMetricFamily("hvac_metrics_part_failed", "Whether a part could not be read", labels=["part"])
        try:
            store = self._shared.source.store()
        except Exception:  # whatever it is, the store does not answer, which is what is told
            store = None
        yield GaugeMetricFamily("hvac_store_up", "Whether the store answers", value=float(store is not None))
        parts: dict[str, Part] = {
            "ingestion": self._ingestion,
            "devices": _devices,
            "detection": _detection,
            "incidents": lambda _: self._slow.get(),
            "outbox": _outbox,
            "runs": _runs,
        }
        for name, part in parts.items():
            if store is None:
                continue
            try:
                found = list(part(store))
            except Exception:  # whatever it is, the others go on
                failed.add_metric([name], 1)
            else:
                failed.add_metric([name], 0)
                yield from found
        yield failed

    def _ingestion(self, store: Store) -> Iterator[Metric]:
        found = self._shared.ingestion()
        if isinstance(found, Exception):
            raise found
        lag = GaugeMetricFamily("hvac_ingestion_lag_messages", "Messages that wait", labels=["partition"])
        taken = CounterMetricFamily("hvac_ingestion_offsets", "Offsets that are durably in", labels=["partition"])
        mark = GaugeMetricFamily(
            "hvac_ingestion_watermark_timestamp_seconds", "Latest event time that is in", labels=["partition"]
        )
        flows = GaugeMetricFamily("hvac_ingestion_flows", "Whether data flow in a partition", labels=["partition"])
        for flow in found.partitions if found is not None else ():
            label = [str(flow.partition)]
            lag.add_metric(label, flow.waiting)
            flows.add_metric(label, float(flow.ok))
            if flow.ledger is not None:
                taken.add_metric(label, flow.ledger)
            if flow.watermark is not None:
                mark.add_metric(label, flow.watermark / 1000)
        yield from (lag, taken, mark, flows)
        rejected = self._shared.rejected()
        if not isinstance(rejected, Exception):
            yield GaugeMetricFamily("hvac_dead_letters", "Messages that were rejected and are kept", value=rejected)
        proofs = self._shared.proofs()
        if isinstance(proofs, Exception):
            raise proofs
        ok = GaugeMetricFamily(
            "hvac_ledger_proof_ok", "Whether what the ledger counts as in is in the tables", labels=["partition"]
        )
        missing = GaugeMetricFamily("hvac_ledger_proof_missing", "Messages that are in no table", labels=["partition"])
        for proof in proofs:
            ok.add_metric([str(proof.partition)], float(proof.ok))
            missing.add_metric([str(proof.partition)], proof.missing)
        yield from (ok, missing)

    def _read_slowly(self) -> list[Metric]:
        store = self._shared.source.store()
        return [] if store is None else list(_incidents(store))


class _Collected(Collector):
    """Metrics that were read."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self._found


def _devices(store: Store) -> Iterator[Metric]:
    registered = store.devices()
    seen: dict[str, list[int]] = {}
    for device in registered:
        seen.setdefault(device.device_type, []).append(device.last_seen)
    count = GaugeMetricFamily("hvac_devices", "Registered devices", labels=["device_type"])
    newest = GaugeMetricFamily(
        "hvac_newest_reading_timestamp_seconds", "Newest reading of any device of a type", labels=["device_type"]
    )
    oldest = GaugeMetricFamily(
        "hvac_stalest_device_timestamp_seconds",
        "Newest reading of the device of a type that was heard longest ago",
        labels=["device_type"],
    )
    for kind, times in seen.items():
        count.add_metric([kind], len(times))
        newest.add_metric([kind], max(times) / 1000)
        oldest.add_metric([kind], min(times) / 1000)
    yield from (count, newest, oldest)


def _detection(store: Store) -> Iterator[Metric]:
    yield CounterMetricFamily("hvac_windows_judged", "Windows that were judged", value=windows_judged(store))


def _incidents(store: Store) -> Iterator[Metric]:
    states = GaugeMetricFamily("hvac_incidents", "Incidents that are not over", labels=["state", "severity"])
    counted: Counter[tuple[str, str]] = Counter()
    for state in UNDER_WAY:
        only = ("incident_id", "severity")
        found = IncidentHandling.read(store, only=only, equals={"state": state})
        found += IncidentHandling.read(store, PLATFORM, only=only, equals={"state": state})  # of no device
        counted.update((state, severity) for severity in {row.incident_id: row.severity for row in found}.values())
    for state in UNDER_WAY:
        for severity in SEVERITIES:
            states.add_metric([state, severity], counted[state, severity])
    yield states
    going_on = Counter(incident.severity for listed in open_incidents(store).values() for incident in listed)
    ongoing = GaugeMetricFamily("hvac_incidents_going_on", "Incidents that may still go on", labels=["severity"])
    for severity in SEVERITIES:
        ongoing.add_metric([severity], going_on[severity])
    yield ongoing


def _outbox(store: Store) -> Iterator[Metric]:
    now = now_ms()
    rows = {
        "new": new_transitions(store, now),
        "waiting": messages(store, now, "waiting"),
        "dead": messages(store, now, "dead"),
    }
    states = GaugeMetricFamily("hvac_alerts_outbox", "Transitions and messages of a state", labels=["state"])
    for state in OUTBOX_STATES:
        states.add_metric([state], len(rows[state]))
    due = [row for row in rows["waiting"] if row.attempts or (row.next_attempt_at or 0) <= now]
    oldest = min((made_ms(row) for row in [*rows["new"], *due]), default=now)
    yield states
    yield GaugeMetricFamily(
        "hvac_alerts_oldest_seconds", "Age of the oldest alert that should have arrived", value=(now - oldest) / 1000
    )
    sent = read_outbox(store, now, since_ms=now - DAY_MS, only=("receiver", "queued_at", "message_key"), state="sent")
    by_receiver = GaugeMetricFamily(
        "hvac_alerts_sent_last_day", "Messages of the last day that were taken", labels=["receiver"]
    )
    for receiver, count in sorted(Counter(row.receiver or "" for row in sent).items()):
        by_receiver.add_metric([receiver], count)
    yield by_receiver


def _runs(store: Store) -> Iterator[Metric]:
    ended = CounterMetricFamily("hvac_runs", "Runs of Dagster that have ended", labels=["job", "outcome"])
    seconds = CounterMetricFamily("hvac_run_seconds", "How long runs took, all together", labels=["job"])
    for job in JOBS:
        counted = runs_counted(store, job)
        ended.add_metric([job, "succeeded"], counted.succeeded)
        ended.add_metric([job, "failed"], counted.failed)
        seconds.add_metric([job], counted.seconds)
    yield from (ended, seconds)
