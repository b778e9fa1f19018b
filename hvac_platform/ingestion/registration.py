"""What messages say of a device against what is registered of it: when a device changes its type."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hvac_platform.coding import Coded, coded_as
from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.stores.base import Device

LEAST_MESSAGES = 3
"""So many messages of a batch, all of one mind, change the type of a registered device; a stray one or two don't."""


def strangers(device_ids: Iterable[str], registered: Collection[str], most: int) -> set[str]:
    """Ids of a batch that are not registered and find no room, because ``most`` devices are registered.

    Each device costs disk, time and a place on every page, so a producer that makes up ids must not get one for each.

    >>> sorted(strangers(["c", "a", "d", "b"], {"a", "b"}, 3))
    ['d']
    """
    unknown = [device_id for device_id in dict.fromkeys(device_ids) if device_id not in registered]
    return set(unknown[max(0, most - len(registered)) :])


def stranger_reason(most: int) -> str:
    """Why a message is set aside whose device finds no room."""
    return (
        f"its device is not registered and HVAC_MAX_DEVICES={most} are: correct the producer that makes up device ids, or "
        "raise it"
    )


def look_alikes(device_ids: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of different ids that people take for one: blanks around them, capitals, separators, letters of other scripts.

    >>> look_alikes([" RTU-1 ", "RTU-2"], ["RTU-1", "rtu_2", "RTU-3"])
    [(' RTU-1 ', 'RTU-1'), ('RTU-2', 'rtu_2')]
    """
    known: dict[str, list[str]] = {}
    for other in others:
        known.setdefault(_seen_as(other), []).append(other)
    return [(one, other) for one in device_ids for other in known.get(_seen_as(one), ()) if other != one]


def look_alike_metrics(declared: DeviceType, metrics: Iterable[str]) -> list[tuple[str, str]]:
    """Metrics that a type doesn't declare, each with the declared one whose name or title people read in it.

    >>> from hvac_platform.devices.registry import device_types
    >>> look_alike_metrics(device_types()["rooftop_unit"], ["supply_air_temp ", "supplyAirTemp", "fan_speed", "zone_co2"])
    [('supply_air_temp ', 'supply_air_temp'), ('supplyAirTemp', 'supply_air_temp')]
    """
    known = {_letters(name): point.name for point in declared.points for name in (point.title, point.name)}
    undeclared = [metric for metric in metrics if metric not in declared.index]
    return [(metric, known[_letters(metric)]) for metric in undeclared if _letters(metric) in known]


def _letters(name: str) -> str:
    """Letters and digits of a name alone."""
    return re.sub(r"[\W_]+", "", _seen_as(name))


_LIKE_LATIN = str.maketrans("АВЕКМНОРСТХУІЈЅаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEKMHOPCTXYIJSaeopcyxijsABEZHIKMNOPTYX")

_HYPHENS = dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-")
"""Hyphens and dashes of other kinds, and the minus."""


def _seen_as(device_id: str) -> str:
    """What people see of an id."""
    text = unicodedata.normalize("NFKC", device_id.translate(_HYPHENS)).translate(_LIKE_LATIN).casefold()
    return re.sub(r"[\s_./:\\-]+", "-", text.strip())


OLDER, DISAGREE = "they are older than what is known of it", "others of the same batch disagree"


@dataclass(frozen=True, slots=True)
class TypeClaims:
    """Device types that the messages of one batch name for a device, with the number of messages."""

    device: Device
    messages: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TypeConflict:
    """A device whose messages name another type than the registered one.

    Attributes:
        device_id: the device.
        registered: its type until now.
        claimed: the type that most messages of the batch name.
        changed: whether the device has that type from now on.
        why: why it hasn't; empty when it has.
    """

    device_id: str
    registered: str
    claimed: str
    changed: bool
    why: str = ""

    def __str__(self) -> str:
        """One line for people."""
        if self.changed:
            return f"{self.device_id}: type changed from {self.registered} to {self.claimed}"
        return f"{self.device_id}: stays {self.registered} though messages say {self.claimed}: {self.why}"


def type_claims(devices: Sequence[Device], coded: Coded[str], types: Sequence[str]) -> list[TypeClaims]:
    """Claims of the messages of a batch; the type of most becomes each device's.

    Of types that are named equally often the one named last counts.

    Args:
        devices: of the batch, in the order of ``coded``.
        coded: device id of each message.
        types: device type of each message.
    """
    kinds = coded_as(types)
    pairs, counts = np.unique(coded.codes * len(kinds.names) + kinds.codes, return_counts=True)
    by_device: list[dict[str, int]] = [{} for _ in coded.names]
    for pair, n in zip(pairs.tolist(), counts.tolist(), strict=True):
        of_device, kind = divmod(pair, len(kinds.names))
        by_device[of_device][kinds.names[kind]] = n
    found = []
    for device, named in zip(devices, by_device, strict=True):
        if len(named) > 1:
            most = max(named, key=lambda kind: (named[kind], kind == device.device_type))
            device = replace(device, device_type=most)
        found.append(TypeClaims(device, named))
    return found


def settled_types(
    claims: Sequence[TypeClaims], registered: Mapping[str, Device]
) -> tuple[list[Device], list[TypeConflict]]:
    """Devices to register, each with its type, and where messages and registry disagree.

    A new device has the type that most messages of the batch name. A registered one keeps its type, but for a batch with
    its newest reading whose messages, at least three, all name one other type, which a file declares; an undeclared type
    may take the place of an undeclared one only.
    """
    devices, conflicts = [], []
    for claim in claims:
        device, known = claim.device, registered.get(claim.device.device_id)
        if known is not None and known.device_type and device.device_type != known.device_type:
            why = _objection(claim, known)
            conflicts.append(
                TypeConflict(device.device_id, known.device_type, device.device_type, changed=not why, why=why)
            )
            if why:
                device = replace(device, device_type=known.device_type)
        elif len(claim.messages) > 1:
            others = {kind: n for kind, n in claim.messages.items() if kind != device.device_type}
            claimed = max(others, key=lambda kind: others[kind])
            conflicts.append(TypeConflict(device.device_id, device.device_type, claimed, changed=False, why=DISAGREE))
        devices.append(device)
    return devices, conflicts


def _objection(claim: TypeClaims, known: Device) -> str:
    """Why a device keeps its registered type; empty when it doesn't."""
    if len(claim.messages) > 1:
        return DISAGREE
    if sum(claim.messages.values()) < LEAST_MESSAGES:
        return f"{sum(claim.messages.values())} of {LEAST_MESSAGES} messages that it takes"
    if claim.device.last_seen < known.last_seen:
        return OLDER
    if device_type(claim.device.device_type) is None and device_type(known.device_type) is not None:
        return "no file declares that type"
    return ""
