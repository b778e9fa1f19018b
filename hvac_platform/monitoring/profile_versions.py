"""Versions of a device's profile: the candidate that is judged, the present one, those before it, and the way back.

A version is a fit of the encoder; rebuilds that refresh limits only belong to the version that they refresh. The present one
is in ``device_profiles``; an earlier one, and the newest that was refused, are kept whole, so that going back is a matter of
writing it again and of embedding the device's snapshots by its encoder. Candidates are never embedded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum

import msgspec
import numpy as np

from hvac_platform.detection.profile import Profile
from hvac_platform.embedding.base import Encoder
from hvac_platform.embedding.learned import LearnedEncoder
from hvac_platform.ingestion.snapshotting import EmbeddingCounts, reembedding_batches
from hvac_platform.monitoring.lasting import ChangeState
from hvac_platform.monitoring.lifecycle import PLATFORM
from hvac_platform.monitoring.profiles import profile_of
from hvac_platform.stores.base import Device, Store, StoreError
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import AnomalyEvent, LastingChange, ProfileVersion, StoredGate, StoredProfile
from hvac_platform.timestamps import DAY_MS, iso

KEPT_VERSIONS = 5
"""Versions of a device that are kept, beside the present one."""
REST_MS = 7 * DAY_MS
"""After somebody has gone back, no new version is promoted for so long: it would be the one that was left."""


class VersionState(StrEnum):
    """What has become of a version."""

    PRESENT = "present"
    SUPERSEDED = "superseded"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"


class VersionError(StoreError):
    """There is no such version, or it can't be gone to; the message says which there are."""


def versions_of(store: Store, device_id: str) -> list[ProfileVersion]:
    """Versions of a device, oldest first, without what they hold."""
    return ProfileVersion.read(store, device_id, only=ProfileVersion.all_but("content"))


def packed_profile(stored: StoredProfile) -> bytes:
    """A whole profile in bytes."""
    values = {name: getattr(stored, name) for name in StoredProfile.all_but()}
    vector = np.ascontiguousarray(values.pop("profile_embedding"), dtype="<f4")
    return msgspec.msgpack.encode(values | {"profile_embedding": vector.tobytes()})


def unpacked_profile(content: bytes) -> StoredProfile:
    """The profile of :func:`packed_profile`."""
    values = msgspec.msgpack.decode(content)
    vector = np.frombuffer(values.pop("profile_embedding"), dtype="<f4").astype(np.float32)
    return StoredProfile(**values, profile_embedding=vector)


def rests_until(versions: list[ProfileVersion]) -> int | None:
    """Until when nothing is promoted because somebody has gone back; None where nobody has."""
    left = [
        v.decided_at + REST_MS for v in versions if v.state == VersionState.ROLLED_BACK and v.decided_by != PLATFORM
    ]
    return max(left, default=None)


def number_of_present(versions: list[ProfileVersion]) -> int:
    """Number of the present version; 1 where none is recorded yet."""
    present = [v.number for v in versions if v.state == VersionState.PRESENT]
    others = [v.number for v in versions if v.state != VersionState.REFUSED]
    return present[-1] if present else max(others, default=0) + 1


def _next_number(versions: list[ProfileVersion]) -> int:
    return max([number_of_present(versions), *(v.number for v in versions if v.state != VersionState.REFUSED)]) + 1


def archived(
    store: Store,
    device_id: str,
    versions: list[ProfileVersion],
    now_ms: int,
    *,
    state: VersionState = VersionState.SUPERSEDED,
    by: str = PLATFORM,
) -> TableBatch | None:
    """The present profile as an earlier version; None where there is none. It is written before its successor."""
    stored = StoredProfile.first(store, device_id)
    if stored is None:
        return None
    number = number_of_present(versions)
    known = next((v for v in versions if v.number == number), None)
    row = _version(stored, number, state, now_ms, by=by, gate=known.gate if known else None)
    if known is not None:
        row = replace(row, built_at=known.built_at, reason=known.reason)
    return _rows([replace(row, content=packed_profile(stored))])


def promoted(
    stored: StoredProfile, versions: list[ProfileVersion], gate: StoredGate | None, now_ms: int, *, first: bool
) -> Iterator[TableBatch]:
    """The row of a new present version, written after the profile itself, and the end of versions that are too many.

    ``versions`` are those from before it; ``first`` says that the device had no profile.
    """
    # A refused candidate gives its number to the one that is promoted after it.
    number = 1 if first else _next_number(versions)
    refused = [v for v in versions if v.state == VersionState.REFUSED]
    yield _rows([_version(stored, number, VersionState.PRESENT, now_ms, gate=gate)])
    earlier = [v.number for v in versions if v.number != number and v.state != VersionState.REFUSED]
    gone = [*earlier[: max(0, len(earlier) - KEPT_VERSIONS)], *(v.number for v in refused if v.number != number)]
    yield from _deleted(stored.device_id, gone)


def refused(
    stored: StoredProfile, versions: list[ProfileVersion], gate: StoredGate, now_ms: int
) -> Iterator[TableBatch]:
    """The row of a candidate that the gate has refused; only the newest such is kept."""
    number = _next_number(versions)
    row = _version(stored, number, VersionState.REFUSED, now_ms, gate=gate)
    yield _rows([replace(row, content=packed_profile(stored))])
    others = [v.number for v in versions if v.state == VersionState.REFUSED and v.number != number]
    yield from _deleted(stored.device_id, others)


def change_to(
    store: Store, device: Device, number: int | None, *, by: str, now_ms: int, counts: EmbeddingCounts, back: bool
) -> Iterator[TableBatch]:
    """Rows that make another version the present one: going back, or promoting what the gate has refused.

    The present profile is kept first, then snapshots are embedded by the other's encoder, then the other is written. Going
    back from a version that had learned a lasting change takes that back too: its windows are flagged again.

    Args:
        store: where versions are.
        device: whose.
        number: the version; None for the newest earlier one, or for the newest that was refused.
        by: who wants it.
        now_ms: the present.
        counts: told of what is embedded anew.
        back: go back; else promote.

    Raises:
        VersionError: there is no such version.
    """
    versions = versions_of(store, device.device_id)
    wanted = (VersionState.SUPERSEDED, VersionState.ROLLED_BACK) if back else (VersionState.REFUSED, *VersionState)
    if number is None:
        states = (VersionState.SUPERSEDED,) if back else (VersionState.REFUSED,)
        number = next((v.number for v in reversed(versions) if v.state in states), None)
    found = next((v for v in versions if v.number == number and v.state in wanted), None)
    content = ProfileVersion.first(store, device.device_id, equals={"number": number}) if found is not None else None
    if found is None or content is None or content.content is None:
        listed = ", ".join(f"{v.number} ({v.state.replace('_', ' ')})" for v in versions) or "none"
        what = "to go back to" if back else "that waits to be promoted"
        named = f" {number}" if number is not None else ""
        raise VersionError(f"{device.device_id} has no version{named} {what}; there are: {listed}")
    target = unpacked_profile(content.content)
    left = archived(
        store,
        device.device_id,
        versions,
        now_ms,
        state=VersionState.ROLLED_BACK if back else VersionState.SUPERSEDED,
        by=by,
    )
    if left is not None:
        yield left
    yield from embedded_anew(store, device, profile_of(target), counts)
    if back:
        yield from _unlearned(store, device.device_id, found.built_at, by, now_ms)
    target = replace(target, device_id=device.device_id, profile_updated_at=now_ms)  # it may have been renamed since
    yield TableBatch(StoredProfile.columns([target]), table=StoredProfile.TABLE)
    row = replace(found, state=str(VersionState.PRESENT), decided_at=now_ms, decided_by=by, content=None)
    yield _rows([row])


def embedded_anew(store: Store, device: Device, profile: Profile, counts: EmbeddingCounts) -> Iterator[TableBatch]:
    """Embeddings by the encoder of a profile, from the first snapshot that it rests on to the newest one there is."""
    encoder: Encoder
    if profile.detector is not None:
        encoder = LearnedEncoder(profile.detector)
    else:
        from hvac_platform.embedding.state import StateEncoder

        encoder = StateEncoder()
    yield from reembedding_batches(store, device, encoder, profile.span_start, device.last_seen + 1, counts)


def reflagged(store: Store, changes: list[LastingChange]) -> Iterator[TableBatch]:
    """Flags of the windows of changes that were learned and are not to be: events say which were anomalous."""
    for change in changes:
        span = (change.since, change.seen_until)
        times = AnomalyEvent.times(store, change.device_id, span)
        if len(times):
            yield TableBatch(
                {
                    "device_id": [change.device_id] * len(times),
                    "snapshot_time": times,
                    "is_anomalous": [True] * len(times),
                },
                table="device_state_snapshots",
                action="update",
            )


def _unlearned(store: Store, device_id: str, built_at: int, by: str, now_ms: int) -> Iterator[TableBatch]:
    """Changes that were learned later than a version was built are held from now on."""
    later = [
        replace(change, state=str(ChangeState.HELD), decided_at=now_ms, decided_by=by)
        for change in LastingChange.read(store, device_id)
        if change.state == ChangeState.LEARNED and change.decided_at >= built_at
    ]
    if later:
        yield TableBatch(LastingChange.columns(later), table=LastingChange.TABLE)
        yield from reflagged(store, later)


def _version(
    stored: StoredProfile,
    number: int,
    state: VersionState,
    now_ms: int,
    *,
    by: str = PLATFORM,
    gate: StoredGate | None = None,
) -> ProfileVersion:
    return ProfileVersion(
        device_id=stored.device_id,
        number=number,
        state=str(state),
        reason=stored.fit["reason"] if stored.fit else "",
        embedding_method=stored.embedding_method,
        snapshot_count=stored.snapshot_count,
        span_start=stored.span_start,
        span_end=stored.span_end,
        built_at=stored.profile_updated_at,
        decided_at=now_ms,
        decided_by=by,
        gate=gate,
        content=None,
    )


def _rows(versions: list[ProfileVersion]) -> TableBatch:
    return TableBatch(ProfileVersion.columns(versions), table=ProfileVersion.TABLE)


def _deleted(device_id: str, numbers: list[int]) -> Iterator[TableBatch]:
    if numbers:
        keys = {"device_id": [device_id] * len(numbers), "number": numbers}
        yield TableBatch(keys, table=ProfileVersion.TABLE, action="delete")


def told_gate(version: ProfileVersion) -> str:
    """What the gate said of a version, in words."""
    if version.gate is None:
        return "the first, or from before versions were kept"
    return version.gate["said"]


def told_version(version: ProfileVersion) -> str:
    """A version in a line."""
    return (
        f"version {version.number}, {version.state.replace('_', ' ')} by {version.decided_by} at "
        f"{iso(version.decided_at)[:16]}Z: {version.reason}"
    )
