"""Lists of names that many rows share, such as the metrics of a device, each kept once under a number."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

MOST_REMEMBERED = 20_000
MOST_LISTS = 2_000
"""So many lists of several names get a number. Devices that report what has changed send other metrics at each instant, and
a list for each of those would take more room than it saves."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode

Names = tuple[str, ...]


class Vocabulary:
    """Numbers of lists of names in the table ``vocabulary``; what was looked up is remembered, up to a bound.

    Args:
        connection: to the store's file; a number is given within its transaction.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._numbers: dict[Names, int] = {}
        self._names: dict[int, Names] = {}
        self._full = False

    def number(self, names: Sequence[str]) -> int:
        """The number of a list, given to it now if it has none; only within a transaction that writes."""
        wanted = tuple(names)
        if (found := self.known(wanted)) is not None:
            return found
        content = _encode(wanted).decode()
        self._connection.execute("INSERT INTO vocabulary (names) VALUES (?)", (content,))
        return self._remember(wanted, self._connection.last_insert_rowid())

    def number_if_room(self, names: Sequence[str]) -> int | None:
        """The number of a list, as :meth:`number` gives it; None where it has none and there are enough lists."""
        wanted = tuple(names)
        if (found := self.known(wanted)) is not None:
            return found
        if not self._full:
            ((lists,),) = self._connection.execute("SELECT count(*) FROM vocabulary WHERE names LIKE '%,%,%'")
            self._full = lists >= MOST_LISTS
        return None if self._full else self.number(wanted)

    def known(self, names: Sequence[str]) -> int | None:
        """The number of a list, or None where it has none yet."""
        wanted = tuple(names)
        if wanted in self._numbers:
            return self._numbers[wanted]
        content = _encode(wanted).decode()
        for (number,) in self._connection.execute("SELECT id FROM vocabulary WHERE names=?", (content,)):
            return self._remember(wanted, int(number))
        return None

    def names(self, number: int) -> Names:
        """The list behind a number.

        Raises:
            ValueError: there is none, so the file is damaged.
        """
        if number in self._names:
            return self._names[number]
        for (content,) in self._connection.execute("SELECT names FROM vocabulary WHERE id=?", (number,)):
            names = tuple(_decode(content))
            self._remember(names, number)
            return names
        raise ValueError(f"the vocabulary has no number {number}")

    def naming(self, name: str) -> list[int]:
        """Numbers of the lists that a name is in."""
        sought = _encode(name).decode()
        return [
            int(n) for (n,) in self._connection.execute("SELECT id FROM vocabulary WHERE instr(names, ?)", (sought,))
        ]

    def forget(self) -> None:
        """After a rollback: numbers given within the transaction are gone."""
        self._full = False
        self._numbers.clear()
        self._names.clear()

    def _remember(self, names: Names, number: int) -> int:
        if len(self._numbers) >= MOST_REMEMBERED:
            self.forget()
        self._numbers[names] = number
        self._names[number] = names
        return number
