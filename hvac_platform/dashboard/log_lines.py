"""Log lines of a bounded length: what a browser sent may stand in an error, and must not fill the disk."""

from __future__ import annotations

import logging

AUDITED = ("hvac_platform.dashboard.log_in", "hvac_platform.access.acting")
"""Loggers that say who came, went and did what: docs/security.md promises it."""
LONGEST_LINE = 4_000
"""Characters of a message with its traceback."""


class BoundedFormatter(logging.Formatter):
    """A formatter that cuts out the middle of what is too long: a traceback's end says most."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return shortened(super().format(record))


def shortened(text: str, most: int = LONGEST_LINE) -> str:
    """A text without its middle where it is long.

    >>> shortened("abcdefgh", 4)
    'ab… (4 characters left out) …gh'
    """
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}… ({len(text) - 2 * half} characters left out) …{text[-half:]}"


def log_bounded() -> None:
    """Write this process's log to standard error in lines of a bounded length."""
    handler = logging.StreamHandler()
    handler.setFormatter(BoundedFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for told in AUDITED:
        logging.getLogger(told).setLevel(logging.INFO)
