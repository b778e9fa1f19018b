"""What feeds what at the site: the file that HVAC_FLEET names, read again when it changes."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

from hvac_platform.config import Settings
from hvac_platform.devices.fleet import FleetError, load_topology
from hvac_platform.devices.topology import NO_TOPOLOGY, Topology

_logger = logging.getLogger(__name__)


def topology_of_site(settings: Settings) -> Topology | None:
    """What feeds what at the site; nothing where nobody said, None where the file can't be used, which the log tells."""
    path = settings.hvac_fleet
    if path is None:
        return NO_TOPOLOGY
    try:
        stat = path.stat()
        return _loaded(path, stat.st_mtime_ns, stat.st_size)
    except (OSError, FleetError) as error:
        _logger.error("%s: what is known of the plant stays as it is until that is put right", error)
        return None


@lru_cache(maxsize=8)
def _loaded(path: Path, _changed_ns: int, _bytes: int) -> Topology:
    return load_topology(path)
