"""Local time of a site, as the file of alerts tells it: for everything that keeps the hours of a building."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

UTC = "UTC"
logger = logging.getLogger(__name__)


def timezone_of(alerts: Path | None, building_id: str) -> str:
    """IANA name of a building's timezone: the building's, else the site's, else UTC.

    What else the file of alerts says may be wrong, or need secrets that this process hasn't: only timezones are read. Where
    they can't be, it is logged and the time is UTC's.

    Args:
        alerts: the file that ``HVAC_ALERTS`` names, or None.
        building_id: empty for none.
    """
    if alerts is None:
        return UTC
    try:
        status = alerts.stat()
        site, buildings = _timezones_as_of(alerts, (status.st_mtime_ns, status.st_size))
        name = buildings.get(building_id, site)
        ZoneInfo(name)
    except (OSError, ValueError, ZoneInfoNotFoundError) as error:
        logger.warning("%s tells no timezone of building %r, UTC is taken: %s", alerts, building_id, error)
        return UTC
    return name


@lru_cache(maxsize=4)
def _timezones_as_of(alerts: Path, _changed: tuple[int, int]) -> tuple[str, Mapping[str, str]]:
    """Timezone of the site, and of buildings that have their own.

    Raises:
        ValueError: they aren't where they should be, or no YAML.
    """
    from hvac_platform.devices.bounded_yaml import TextRefusedError, load_yaml, read_text

    try:
        document = load_yaml(read_text(alerts))
    except TextRefusedError as error:
        raise ValueError(str(error)) from None
    if not isinstance(document, dict):
        raise ValueError("must be a mapping")
    buildings = document.get("buildings") or {}
    if not isinstance(buildings, dict) or not all(isinstance(one, dict) for one in buildings.values()):
        raise ValueError("buildings must be mappings")
    named = {str(building): str(one["timezone"]) for building, one in buildings.items() if "timezone" in one}
    return str(document.get("timezone", UTC)), named
