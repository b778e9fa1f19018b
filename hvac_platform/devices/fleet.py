"""Fleets: which devices there are, of which type, where, and which feeds which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from hvac_platform.devices.bounded_yaml import TextRefusedError, read_text
from hvac_platform.devices.registry import canonical_type
from hvac_platform.devices.topology import Topology, TopologyError, topology_of

MOST_BYTES = 64 * 1_048_576  # some 400,000 devices
LONGEST_NAME = 128
DEFAULT_FLEET_FILE = Path(__file__).parent / "default_fleet.json"

#: The mix of a generated building: type, short name for device ids, devices for each building of ten.
_MIX = (
    ("rooftop_unit", "RTU", 4),
    ("makeup_air_unit", "MAU", 2),
    ("chiller", "CH", 1),
    ("cooling_tower", "CT", 1),
    ("air_compressor", "AC", 2),
)

_File = TypeVar("_File", bound=msgspec.Struct)


class FleetError(ValueError):
    """A fleet or device is described wrongly; the message says which and how in one line."""


@dataclass(frozen=True, slots=True)
class FleetDevice:
    """One device of a fleet: its id, canonical type, location and building."""

    device_id: str
    device_type: str
    location: str = ""
    building_id: str = ""


class _DeviceFile(msgspec.Struct, forbid_unknown_fields=True):
    device_id: str
    device_type: str
    location: str = ""
    building_id: str = ""


class _FleetFile(msgspec.Struct, forbid_unknown_fields=True):
    devices: list[_DeviceFile]
    feeds: dict[str, list[str]] = {}


class _TopologyFile(msgspec.Struct, forbid_unknown_fields=True):
    devices: list[_DeviceFile] | None = None
    feeds: dict[str, list[str]] = {}


def default_fleet() -> list[FleetDevice]:
    """One device of each type in three buildings.

    >>> [device.device_id for device in default_fleet()]
    ['RTU-001', 'MAU-001', 'CH-001', 'CT-001', 'AC-001']
    """
    return load_fleet(DEFAULT_FLEET_FILE)


def load_fleet(path: Path) -> list[FleetDevice]:
    """The fleet of a JSON file ``{"devices": [{"device_id", "device_type", "location", "building_id"}]}``.

    Location and building may be left out. Types are canonicalised, see ``canonical_type``. What the file says of ``feeds``
    is checked here and read by :func:`load_topology`.

    Raises:
        FleetError: the file can't be read, is not such JSON, has no device, names a device twice, or what it says of
            ``feeds`` can't be.
    """
    content = _decoded(path, _FleetFile)
    if not content.devices:
        raise FleetError(f"{path}: devices: the fleet is empty")
    try:
        devices = _devices(content.devices)
        topology_of(content.feeds, {device.device_id for device in devices})
    except (FleetError, TopologyError) as error:
        raise FleetError(f"{path}: {error}") from None
    return devices


def load_topology(path: Path) -> Topology:
    """What feeds what, of a JSON file ``{"feeds": {DEVICE: [DEVICE, …]}}``: that of a fleet, or one without ``devices``.

    Without ``devices``, any may be named: a site knows its devices by the messages that they send.

    Raises:
        FleetError: the file can't be read, is not such JSON, or what it says of ``feeds`` can't be.
    """
    content = _decoded(path, _TopologyFile)
    try:
        known = None if content.devices is None else {device.device_id for device in _devices(content.devices)}
        return topology_of(content.feeds, known)
    except (FleetError, TopologyError) as error:
        raise FleetError(f"{path}: {error}") from None


def fleet_of_size(n: int) -> list[FleetDevice]:
    """A fleet of n devices, always the same for the same n: ten devices of the five types in each building.

    A smaller fleet is the beginning of a larger one.

    >>> [device.device_id for device in fleet_of_size(6)]
    ['RTU-001', 'MAU-001', 'CH-001', 'CT-001', 'AC-001', 'RTU-002']

    Raises:
        FleetError: n is less than one.
    """
    if n < 1:
        raise FleetError(f"a fleet has at least one device, not {n}")
    # One building in the order of rounds: each round takes one device of every type that has some left.
    building = [(name, short) for turn in range(4) for name, short, share in _MIX if turn < share]
    built = dict.fromkeys((name for name, _, _ in _MIX), 0)
    fleet = []
    for i in range(n):
        name, short = building[i % len(building)]
        built[name] += 1
        number = i // len(building) + 1
        fleet.append(FleetDevice(f"{short}-{built[name]:03d}", name, f"building-{number}", f"bldg-{number:03d}"))
    return fleet


def parse_device(text: str) -> FleetDevice:
    """A device written as ``ID:type``.

    >>> parse_device("RTU-001:rooftopunit")
    FleetDevice(device_id='RTU-001', device_type='rooftop_unit', location='', building_id='')

    Raises:
        FleetError: there is no colon, or nothing on one side of it.
    """
    device_id, colon, type_name = text.rpartition(":")
    if not colon:
        raise FleetError(f"device {text!r}: write ID:type, for example RTU-001:rooftop_unit")
    return _device(device_id, type_name)


def check_fleet(devices: Sequence[FleetDevice]) -> list[FleetDevice]:
    """The devices as they are, when each id occurs once.

    Raises:
        FleetError: a device is named twice.
    """
    seen: set[str] = set()
    for device in devices:
        if device.device_id in seen:
            raise FleetError(f"device {device.device_id} is named twice")
        seen.add(device.device_id)
    return list(devices)


def _decoded(path: Path, kind: type[_File]) -> _File:
    try:
        return msgspec.json.decode(read_text(Path(path), MOST_BYTES), type=kind)
    except (TextRefusedError, msgspec.MsgspecError, RecursionError) as error:
        raise FleetError(f"{path}: {error}") from None


def _devices(listed: Sequence[_DeviceFile]) -> list[FleetDevice]:
    return check_fleet([_device(d.device_id, d.device_type, d.location, d.building_id) for d in listed])


def _device(device_id: str, type_name: str, location: str = "", building_id: str = "") -> FleetDevice:
    device_id, kind = device_id.strip(), canonical_type(type_name)
    if not device_id or not kind:
        raise FleetError(f"device {device_id[:40]!r} of type {type_name[:40]!r}: neither may be empty")
    for text in (device_id, kind, location, building_id):
        if len(text) > LONGEST_NAME or not text.isprintable():
            raise FleetError(f"device {device_id[:40]!r}: names have at most {LONGEST_NAME} printable characters")
    return FleetDevice(device_id, kind, location, building_id)
