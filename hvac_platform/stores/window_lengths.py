"""Lengths of the windows of devices, for those who write windows: at hand by id, and never long out of date."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import time_ns

from hvac_platform.stores.base import Device, Store

CHANGED_AT = "window_lengths_changed_at"
"""The setting of a store that says when the length of a device's windows was changed last."""

WindowOf = Callable[[str], int]
"""From the id of a device to the length of its windows in milliseconds."""


class WindowLengths:
    """The registry's lengths of windows by device, read once and again when somebody has changed one.

    Args:
        store: has the registry.
        default_ms: length of the windows of devices that have none of their own.
    """

    def __init__(self, store: Store, default_ms: int) -> None:
        self._store, self._default_ms = store, default_ms
        self._known: dict[str, int] = {}
        self._changed_at: str | None = None

    def of(self, device_id: str) -> int:
        """Length of the windows of a device in milliseconds; of one that is not registered, that of the store."""
        if self._changed_at is None:
            self.look()
        if device_id not in self._known:  # others may have registered it since
            self.note(self._store.devices())
        return self._known.get(device_id, self._default_ms)

    def look(self) -> dict[str, int]:
        """Read the lengths again if one was changed since they were read, which costs one small read where none was.

        Returns:
            Devices whose length is another one now, each with its former length in milliseconds.
        """
        changed_at = self._store.remembered().get(CHANGED_AT, "")
        if changed_at == self._changed_at:
            return {}
        former, self._known = self._known, {}
        self.note(self._store.devices())
        self._changed_at = changed_at
        return {d: before for d, before in former.items() if self._known.get(d, self._default_ms) != before}

    def note(self, devices: Iterable[Device]) -> None:
        """Take in devices that were registered a moment ago; what is known of others stays until :meth:`look`."""
        for device in devices:
            length = self._default_ms if device.window_ms is None else device.window_ms
            self._known.setdefault(device.device_id, length)


def set_window(store: Store, device_id: str, window_ms: int | None) -> None:
    """Give a device windows of another length, None for that of the store; whoever writes windows of it notices."""
    store.update(Device.TABLE, {"device_id": [device_id], "window_ms": [window_ms]})
    store.remember(CHANGED_AT, str(time_ns()))
