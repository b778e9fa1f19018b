"""Modules that moved since version 0.1: their old names still import, with a warning that says the new one, until 0.3."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

_IN = "hvac_platform."
MOVED = {
    **dict.fromkeys(("streams",), "ingestion"),
    **{f"streams.{name}": f"log.{name}" for name in ("base", "embedded", "partitioner", "unpacking")},
    **{
        f"streams.{name}": f"ingestion.{name}"
        for name in ("messages", "ranges", "windows", "snapshotting", "flow", "ownership", "clock", "registration")
    },
    "streams.log_identity": "log.identity",
    "streams.kafka": "log.kafka.kafka_log",
    "streams.kafka_batches": "log.kafka.batches",
    "streams.kafka_fast": "log.kafka.fast",
    "streams.ingestion": "ingestion.decoding",
    "importing": "ingestion.importing",
    **{name: f"runtime.{name}" for name in ("connections", "live", "guarded_dagster", "request_guard", "run_storage")},
    "runtime.demo": "demo",
    "io_managers.slices": "stores.batches",
    "detection.state": "detection.detector.state",
    "monitoring.silence": "monitoring.data_loss",
}
"""New names by old ones, both below ``hvac_platform``."""


class _Moved(MetaPathFinder, Loader):
    """Finds the module itself under its old name, so that there is never a second copy of it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.removeprefix(_IN) not in MOVED or not fullname.startswith(_IN):
            return None
        return ModuleSpec(fullname, self, is_package=fullname == f"{_IN}streams")

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = _IN + MOVED[spec.name.removeprefix(_IN)]
        warnings.warn(f"{spec.name} is {new} now; the old name goes with 0.3", DeprecationWarning, stacklevel=2)
        module = import_module(new)
        spec.loader_state = module.__spec__
        return module

    def get_code(self, fullname: str) -> CodeType:
        """What ``python -m`` runs under an old name."""
        new = _IN + MOVED[fullname.removeprefix(_IN)]
        run = f"import runpy; runpy.run_module({new!r}, run_name='__main__', alter_sys=True)"
        return compile(run, fullname, "exec")

    def exec_module(self, module: ModuleType) -> None:
        asked = module.__spec__
        if asked is not None:
            module.__spec__ = asked.loader_state  # that of its own name


def install() -> None:
    """Let old names be found; once is enough."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())
