"""Runs of Dagster over one device, as people ask for them: launched and looked at by the GraphQL of Dagster's pages."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

DEVICE_TAG = "hvac/device"
"""The one device that a run over days concerns; a run without it concerns all."""
BY_TAG, WORK_TAG, DAYS_TAG = "hvac/by", "hvac/work", "hvac/days"
LAUNCH_SECONDS, LOOK_SECONDS = 30, 5
"""A launch goes to the code server and back; a look is answered from Dagster's storage."""
SHOWN = 5
LOCATION, REPOSITORY = "hvac_platform", "__repository__"
LAUNCH = """mutation($asked: ExecutionParams!) { launchRun(executionParams: $asked) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
RUNS = """query($filter: RunsFilter!, $limit: Int!) { runsOrError(filter: $filter, limit: $limit) {
  __typename ... on Runs { results { runId status creationTime endTime tags { key value } stepStats { stepKey status } } }
  ... on Error { message } } }"""


class RunsError(Exception):
    """Dagster doesn't do what was asked for; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something that a run does for one device.

    Attributes:
        job: its job.
        assets: those of the job that it makes.
        shows: the asset that people look for in the lineage.
    """

    job: str
    assets: tuple[str, ...]
    shows: str


PROFILE, DAYS = "profile", "days"
WORKS: Mapping[str, Work] = {
    PROFILE: Work("profiles", ("device_profiles", "metric_trends"), "device_profiles"),
    # Without the log: it isn't kept by device. Days begin with the readings that are in the store.
    DAYS: Work(
        "backfill",
        ("windowed_snapshots", "snapshot_embeddings", "anomaly_events", "incidents", "detection_report"),
        "anomaly_events",
    ),
}
OVER = frozenset({"SUCCESS", "FAILURE", "CANCELED"})


@dataclass(frozen=True, slots=True)
class DeviceRun:
    """A run over one device, as far as it is.

    Attributes:
        run_id: Dagster's.
        work: key of :data:`WORKS`.
        days: that it concerns, in words; empty of a profile.
        by: who asked for it.
        status: Dagster's word.
        asked_ms: when it was launched.
        ended_ms: when it ended; None while it goes on.
        done: assets that are made.
        step: the step that is under way or has failed; empty where there is none.
    """

    run_id: str
    work: str
    days: str
    by: str
    status: str
    asked_ms: int
    ended_ms: int | None
    done: int
    step: str

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in OVER


class DeviceRuns:
    """Launches runs over one device, and says how those of it do.

    Args:
        url: of Dagster's pages, as this process reaches them.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def launch(self, device_id: str, work: str, days: tuple[str, str] | None, by: str) -> str:
        """Launch a run.

        Args:
            device_id: the device.
            work: key of :data:`WORKS`.
            days: first and last UTC day; None of a profile.
            by: who asks for it.

        Returns:
            Id of the run.

        Raises:
            RunsError: Dagster doesn't answer, refuses, or one of the same kind is not over yet.
        """
        going = next((run for run in self.of(device_id) if run.work == work and not run.over), None)
        if going is not None:
            raise RunsError(f"run {going.run_id[:8]} of the same kind is not over yet, asked for by {going.by}")
        tags = {DEVICE_TAG: device_id, WORK_TAG: work, BY_TAG: by, **_partitions(device_id, days)}
        if days is not None:
            tags[DAYS_TAG] = days[0] if days[0] == days[1] else f"{days[0]} to {days[1]}"
        asked = {
            "selector": {
                "repositoryLocationName": LOCATION,
                "repositoryName": REPOSITORY,
                "jobName": WORKS[work].job,
                "assetSelection": [{"path": [name]} for name in WORKS[work].assets],
            },
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
            "runConfigData": {},
        }
        answer = self._ask(LAUNCH, {"asked": asked}, LAUNCH_SECONDS)["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise RunsError(f"Dagster refuses it: {_reason(answer)}")
        return str(answer["run"]["runId"])

    def of(self, device_id: str) -> list[DeviceRun]:
        """The latest runs over a device that somebody asked for, newest first.

        Raises:
            RunsError: Dagster doesn't answer.
        """
        wanted = {"tags": [{"key": DEVICE_TAG, "value": device_id}]}
        answer = self._ask(RUNS, {"filter": wanted, "limit": SHOWN}, LOOK_SECONDS)["runsOrError"]
        if answer["__typename"] != "Runs":
            raise RunsError(f"Dagster refuses it: {_reason(answer)}")
        return [_run(found) for found in answer["results"]]

    def _ask(self, document: str, variables: Mapping[str, Any], seconds: float) -> Mapping[str, Any]:
        body = json.dumps({"query": document, "variables": variables}).encode()
        request = urllib.request.Request(f"{self._url}/graphql", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                said = json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            raise RunsError(f"Dagster refuses it: {self._url} answered {error.code}") from None
        except (OSError, ValueError) as error:
            reason = " ".join(str(getattr(error, "reason", error)).split())[:200]
            advice = "hvac up starts it, and HVAC_DAGSTER_URL says where it is"
            raise RunsError(f"no Dagster answers at {self._url} ({reason}): {advice}") from None
        data: Mapping[str, Any] | None = said.get("data") if isinstance(said, Mapping) else None
        if not data:
            raise RunsError(f"Dagster refuses it: {str(said)[:300]}")
        return data


def _partitions(device_id: str, days: tuple[str, str] | None) -> dict[str, str]:
    """Tags that give a run its partitions: the device, or days in a single run."""
    if days is None:
        return {"dagster/partition": device_id}
    if days[0] == days[1]:
        return {"dagster/partition": days[0]}
    return {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[1]}


def _run(found: Mapping[str, Any]) -> DeviceRun:
    tags = {tag["key"]: tag["value"] for tag in found["tags"]}
    work = tags.get(WORK_TAG, "")
    counted = WORKS[work].assets if work in WORKS else ()  # checks are steps too, whose number nobody knows before
    steps = [(step["stepKey"], step["status"]) for step in found["stepStats"]]
    last = next((key for key, status in reversed(steps) if status not in ("SUCCESS", "SKIPPED")), "")
    ended = found["endTime"]
    return DeviceRun(
        run_id=str(found["runId"]),
        work=work,
        days=tags.get(DAYS_TAG, ""),
        by=tags.get(BY_TAG, ""),
        status=str(found["status"]),
        asked_ms=int(1000 * (found["creationTime"] or 0)),
        ended_ms=None if ended is None else int(1000 * ended),
        done=sum(status == "SUCCESS" and key in counted for key, status in steps),
        step=last,
    )


def _reason(answer: Mapping[str, Any]) -> str:
    """Why Dagster refuses, in one line."""
    said = answer.get("message")
    with suppress(LookupError, TypeError):
        said = said or answer["errors"][0]["message"]
    return " ".join(str(said or answer["__typename"]).split())[:300]
