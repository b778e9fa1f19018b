"""What every run needs, loaded once: the code server forks its runs from a process that has imported this.

A fresh interpreter takes seconds of a core to import Dagster and make the definitions; nothing of that depends on the run.
Settings and the folders of a site's own device types are read by each run for itself.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import tempfile

import dagster as dg
from upath import UPath

from hvac_platform.definitions import defs
from hvac_platform.devices.registry import load_device_types
from hvac_platform.runtime.dagster_private import KeptEnginesStorage, empty_event_log
from hvac_platform.stores.tables import tables

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl(2)."""

_me, _c = os.getpid(), ctypes.CDLL(None)


def _end_with_the_process_that_forked() -> None:
    """A run whose parent is killed would go on unseen: the code server takes it for ended. So it is asked to end."""
    if os.getppid() == _me:  # and not what a run forks in its turn
        _c.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


os.register_at_fork(after_in_child=_end_with_the_process_that_forked)


def _rehearse() -> None:
    """A run of nothing, on a home that is thrown away: what Dagster makes at its first run, such as statements, is kept."""

    @dg.asset
    def nothing() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"rows": 0}, data_version=dg.DataVersion("0"))

    quiet = dg.RunConfig(loggers={"console": {"config": {"log_level": "CRITICAL"}}})
    with tempfile.TemporaryDirectory() as home:
        storage = {"module": KeptEnginesStorage.__module__, "class": "KeptEnginesStorage", "config": {"base_dir": home}}
        kept_there = {"storage": {"custom": storage}, "telemetry": {"enabled": False}}
        with dg.DagsterInstance.local_temp(home, kept_there) as instance:
            dg.materialize([nothing], instance=instance, run_config=quiet)


defs.get_repository_def()
empty_event_log()
_rehearse()
UPath()  # Dagster takes it for files, late
tables()
load_device_types()  # the built-in ones
gc.collect()
gc.freeze()  # what is never looked through stays in memory that all runs share
