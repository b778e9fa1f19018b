"""Whether Dagster's parts do their work: a part may die or hang while the others go on, and then nothing runs any more."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

HOST = "127.0.0.1"
ANSWER_SECONDS = 20
LATEST_HEARTBEAT_SECONDS = 180
"""A daemon writes one every half minute."""
QUESTION = """{
  workspaceOrError { ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required lastHeartbeatTime } } }
}"""


def dagster_trouble(port: int) -> str | None:
    """What is wrong with the Dagster whose pages are on a port of loopback, in one line; None when nothing is."""
    request = urllib.request.Request(
        f"http://{HOST}:{port}/graphql",
        json.dumps({"query": QUESTION}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return trouble_in(json.load(answer), time.time())
    except (OSError, ValueError) as error:
        return f"its pages do not answer: {' '.join(str(error).split())}"


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
