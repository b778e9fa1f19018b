"""What an import refuses: the whole file, with the cause and what to give; or single cells and rows, which are counted."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

LONGEST_SHOWN = 60
SHOWN_REFUSALS = 20


class ImportRefusedError(ValueError):
    """The file can't be imported; the message says why and what to give."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A cell, a row or a column that is not sent.

    Attributes:
        line: line of the file (row of a table), counted from 1; 0 where it is a whole column.
        column: name of the column; empty where it is a whole row.
        value: what stands there.
        reason: why it is refused.
        count: how many readings or rows it stands for.
    """

    line: int
    column: str
    value: str
    reason: str
    count: int = 1


def shown(value: object) -> str:
    """A value in quotes for a sentence, cut where it is long.

    >>> shown("13/01/2024")
    "'13/01/2024'"
    """
    text = str(value)
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")


def listed(names: Sequence[object], most: int = 8) -> str:
    """Names in quotes, the first of them.

    >>> listed(["a", "b"]), listed(range(9), 2)
    ("'a', 'b'", "'0', '1' and 7 more")
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(name) for name in names[:most]) + rest


@dataclass
class Refusals:
    """What was refused of a file: counted, the first ones kept, all of them written to a CSV where one is wanted.

    Attributes:
        path: CSV that they go to, or None.
        count: how many.
        first: the first of them.
        reasons: how many by reason.
    """

    path: Path | None = None
    count: int = 0
    first: list[Refusal] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    _handle: TextIO | None = None

    def add(self, refusal: Refusal) -> None:
        """Count one, and write it down."""
        self.count += refusal.count
        kind = f"{refusal.column}: {refusal.reason}" if refusal.column else refusal.reason
        if kind in self.reasons or len(self.reasons) < SHOWN_REFUSALS:
            self.reasons[kind] = self.reasons.get(kind, 0) + refusal.count
        if len(self.first) < SHOWN_REFUSALS:
            self.first.append(refusal)
        if self.path is not None:
            if self._handle is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = self.path.open("w", encoding="utf-8", newline="")
                csv.writer(self._handle).writerow(("line", "column", "value", "reason", "count"))
            csv.writer(self._handle).writerow(
                (refusal.line or "", refusal.column, refusal.value, refusal.reason, refusal.count)
            )

    def close(self) -> None:
        """Finish the CSV."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    @property
    def written(self) -> Path | None:
        """The CSV, where something was refused and one was wanted."""
        return self.path if self.count and self.path is not None and self.path.exists() else None
