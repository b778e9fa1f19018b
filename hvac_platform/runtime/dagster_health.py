"""Whether Dagster's parts do their work: a part may die or hang while the others go on, and then nothing runs any more."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
ANSWER_SECONDS = 30
LATEST_HEARTBEAT_SECONDS = 180
"""A daemon writes one every half minute."""
PLAN = """query($location: String!) { executionPlanOrError(
  pipeline: {repositoryLocationName: $location, repositoryName: "__repository__", pipelineName: "housekeeping"},
  mode: "default") { __typename ... on PythonError { message } ... on PipelineNotFoundError { message } } }"""
"""A question that the pages can't answer from memory: it goes to the code server and back."""
QUESTION = """{
  workspaceOrError { ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required lastHeartbeatTime } } }
}"""

DAGSTER_BEARS_SECONDS = 25.0
"""After a pause of the whole machine of half a minute its code servers take those that ask them for gone: they go on
answering, and start no run any more until the last one has ended."""


def dagster_trouble(port: int) -> str | None:
    """What is wrong with the Dagster whose pages are on a port of loopback, in one line; None when nothing is."""
    try:
        known = _asked(port, QUESTION, {})
        if trouble := trouble_in(known, time.time()):
            return trouble
        for location in _locations(known):
            if trouble := trouble_in_plan(location, _asked(port, PLAN, {"location": location})):
                return trouble
    except (OSError, ValueError) as error:
        return f"its pages or its code server do not answer: {' '.join(str(error).split())}"
    return None


PARTS = {"code server": "api grpc", "daemon": "dagster._daemon", "web server": "guarded_dagster webserver"}
"""Processes that ``dagster dev`` starts and doesn't start again, and what their command lines have."""
GONE_LOOKS = 3
"""A code location that is reloaded may be without its process for a moment."""
PROCESSES = Path("/proc")


class DagsterParts:
    """Which processes of Dagster have been seen, so that one that is gone is told at once.

    Where the system has no ``/proc``, none is ever seen.
    """

    def __init__(self) -> None:
        self._session, self._pids = 0, dict[str, int]()
        self._missed: dict[str, int] = {}

    def gone(self, session: int) -> str | None:
        """What was there and is no longer, for some looks in a row; None when all is there, or nothing is known.

        Args:
            session: id of the session that ``dagster dev`` leads.
        """
        if session != self._session:
            self._session, self._pids, self._missed = session, {}, {}
        if len(self._pids) < len(PARTS) or not all(_is_of(session, pid) for pid in self._pids.values()):
            lines = _command_lines(session)  # a look at every process of the machine, where one is new or gone
            there = {part: pid for pid, line in lines.items() for part, mark in PARTS.items() if mark in line}
            self._missed = {part: self._missed.get(part, 0) + 1 for part in sorted(self._pids.keys() - there.keys())}
            self._pids |= there
        else:
            self._missed = {}
        told = [part for part, looks in self._missed.items() if looks >= GONE_LOOKS]
        return f"its {' and its '.join(told)} ended" if told else None


def _is_of(session: int, pid: int) -> bool:
    """Whether a process lives and belongs to a session."""
    with suppress(OSError):
        state, _parent, _group, its_session = (PROCESSES / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[:4]
        return int(its_session) == session and state != "Z"
    return False


def _command_lines(session: int) -> dict[int, str]:
    """Command lines of the living processes of a session, by their pid."""
    found = {}
    with suppress(OSError):
        for entry in PROCESSES.iterdir():
            if entry.name.isdigit() and _is_of(session, int(entry.name)):
                with suppress(OSError):  # it may end meanwhile
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(entry.name)] = line
    return found


def _asked(port: int, query: str, variables: Mapping[str, str]) -> Mapping[str, Any]:
    request = urllib.request.Request(
        f"http://{HOST}:{port}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
        document: Mapping[str, Any] = json.load(answer)
    return document


def _locations(answer: Mapping[str, Any]) -> list[str]:
    """Code locations that are loaded."""
    entries = ((answer.get("data") or {}).get("workspaceOrError") or {}).get("locationEntries") or []
    return [entry["name"] for entry in entries if entry.get("loadStatus") == "LOADED"]


def trouble_in_plan(location: str, answer: Mapping[str, Any]) -> str | None:
    """What an answer to :data:`PLAN` says is wrong.

    >>> trouble_in_plan("hvac_platform", {"data": {"executionPlanOrError": {"__typename": "ExecutionPlan"}}})
    """
    plan = (answer.get("data") or {}).get("executionPlanOrError") or {}
    if plan.get("__typename") == "ExecutionPlan":
        return None
    said = plan.get("message") or answer.get("errors") or plan.get("__typename")
    return f"code location {location} does nothing: {' '.join(str(said).split())[:300]}"


def trouble_in(answer: Mapping[str, Any], now: float) -> str | None:
    """What an answer to :data:`QUESTION` says is wrong.

    Args:
        answer: GraphQL's document.
        now: epoch seconds.

    >>> trouble_in({"data": {"workspaceOrError": {"locationEntries": []}, "instance": None}}, 0.0)
    """
    data = answer.get("data") or {}
    for entry in (data.get("workspaceOrError") or {}).get("locationEntries") or []:
        loaded = entry.get("locationOrLoadError") or {}
        if entry.get("loadStatus") == "LOADED" and loaded.get("__typename") == "PythonError":
            return f"code location {entry['name']} can't be used: {' '.join(str(loaded.get('message')).split())[:300]}"
    health = ((data.get("instance") or {}).get("daemonHealth") or {}).get("allDaemonStatuses") or []
    for daemon in health:
        beat = daemon.get("lastHeartbeatTime")
        if daemon.get("required") and beat and now - beat > LATEST_HEARTBEAT_SECONDS:
            return f"daemon {daemon['daemonType']} was last heard of {now - beat:.0f} s ago"
    return None
