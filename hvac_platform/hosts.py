"""Hosts as people and browsers name them."""

from __future__ import annotations

import ipaddress
import re

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*)\.?(?::(?P<port>\d{1,5}))?")

Address = tuple[str, int | None]
"""Name of a host and its port; None where the port is not told."""


def parse_address(text: str) -> Address | None:
    """Name and port of a Host header or of a configured host, or None where it is neither.

    >>> parse_address("LocalHost:3000"), parse_address("[::1]"), parse_address("hvac.example.com."), parse_address("a b")
    (('localhost', 3000), ('[::1]', None), ('hvac.example.com', None), None)
    """
    found = _HOST.fullmatch(text.strip().lower())
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else None
    return None if port is not None and port > 65_535 else (found["name"], port)


def parse_hosts(text: str) -> tuple[Address, ...]:
    """Hosts of a comma-separated setting.

    Raises:
        ValueError: one is not a host; the message names it.

    >>> parse_hosts("hvac.example.com, 10.0.0.5:8443")
    (('hvac.example.com', None), ('10.0.0.5', 8443))
    """
    addresses = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        address = parse_address(part)
        if address is None:
            raise ValueError(f"{part!r} is not a host such as hvac.example.com or hvac.example.com:8443")
        addresses.append(address)
    return tuple(addresses)


def is_loopback_name(name: str) -> bool:
    """Whether a host's name can only mean this machine.

    >>> is_loopback_name("localhost"), is_loopback_name("[::1]"), is_loopback_name("::1"), is_loopback_name("0.0.0.0")
    (True, True, True, False)
    """
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
