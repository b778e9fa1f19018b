"""Lines of a text made whole before they are parsed: quotes that no cell closes, cells with line ends, bytes of no text.

A quote that is opened and not closed would make one cell of all that follows it. What a line holds is settled here, so that
the table's parser meets lines of whole cells only. Lines keep their places: what is taken out leaves an empty line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import numpy as np

from hvac_platform.ingestion.importing.formats.headers import looks_like_data
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, Refusal

BLOCK = 1 << 20
MOST_LINES_OF_A_CELL, LARGEST_CELL, LARGEST_LINE = 100, 100_000, 1 << 20
NOT_CLOSED = "a quote opens and is not closed"
DITTO = "a quote stands alone in a cell"
NO_TEXT = "bytes that are no text"
_QUOTE, _CR, _LF, _NUL = 34, 13, 10, 0


def is_open(line: str, separator: str) -> bool:
    """Whether a line ends inside a cell in quotes.

    >>> is_open('a,"b', ","), is_open('a,"b ""c"" d"', ","), is_open('a,5" pipe', ",")
    (True, False, False)
    """
    place, end = 0, len(line)
    while place < end:
        if line[place] == '"':
            place += 1
            while (place := line.find('"', place)) >= 0 and line[place + 1 : place + 2] == '"':
                place += 2
            if place < 0:
                return True
        place = line.find(separator, place)
        if place < 0:
            return False
        place += 1
    return False


def cells_of(line: str, separator: str, *, skip_blanks: bool = False) -> list[str]:
    """Cells of one line; the line itself where a cell is longer than any can be."""
    try:
        one = line.replace("\r", " ").replace("\n", " ")
        return next(csv.reader([one], delimiter=separator, skipinitialspace=skip_blanks), [])
    except csv.Error:
        return [line]


class WholeLines(io.RawIOBase):
    """A stream of UTF-8 with lines of whole cells.

    A cell in quotes with line ends becomes one line, with blanks for them; as many empty lines follow it. A line is refused
    where a quote of it is never closed, or only by a line that is a row of its own, and where it holds bytes of no text.
    """

    def __init__(self, raw: IO[bytes], separator: str, width: int, refuse: Callable[[Refusal], None]) -> None:
        """Lines of a stream.

        Args:
            raw: the stream.
            separator: what stands between cells.
            width: cells of a row.
            refuse: told of each line that is taken out.
        """
        super().__init__()
        self._raw, self._separator, self._width, self._refuse = raw, separator, width, refuse
        self._bounds = np.zeros(256, np.bool_)
        self._bounds[[ord(separator), _QUOTE, _CR, _LF]] = True
        self._line = 0
        self._unread = b""
        self._out = bytearray()
        self._ended = False

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def tell(self) -> int:
        """Bytes read of the stream itself."""
        return self._raw.tell()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        while (size < 0 or len(self._out) < size) and not self._ended:
            self._advance()
        size = len(self._out) if size < 0 else size
        found = bytes(self._out[:size])
        del self._out[:size]
        return found

    def _advance(self) -> None:
        block = self._raw.read(BLOCK)
        self._unread += block
        self._ended = not block
        if len(self._unread) > LARGEST_LINE + 2 * BLOCK:
            raise ImportRefusedError(
                f"not a readable table: a line after line {self._line} is over {LARGEST_LINE} bytes long"
            )
        # A line end may be of two signs, of which the second one has not been read.
        end = len(self._unread) if self._ended else max(self._unread.rfind(b"\n"), self._unread.rfind(b"\r", 0, -1)) + 1
        if end:
            whole, self._unread = self._unread[:end], self._unread[end:]
            self._settle(whole)

    def _settle(self, text: bytes) -> None:
        """Take over some lines; one that ends inside a cell waits for those that decide it, where they are not there yet."""
        codes = np.frombuffer(text, np.uint8)
        ends = _line_ends(codes)
        starts = np.concatenate([[0], ends])[: len(ends)]
        odd = self._odd(codes, starts)
        taken = line = 0
        for i in odd.tolist():
            if i < line:
                continue
            first, end = int(starts[i]), int(ends[i])
            self._out += text[taken:first]
            raw = text[first:end]
            if _NUL in raw:
                self._take_out(raw, self._line + i + 1, NO_TEXT)
                taken, line = end, i + 1
                continue
            content = _content(raw)
            if not is_open(content, self._separator):
                taken, line = first, i + 1
                if self._has_ditto(content):
                    self._take_out(raw, self._line + i + 1, DITTO)
                    taken = end
                continue
            count, joined = self._closing(text, starts, ends, i)
            if count == 0 and joined is None:  # the lines that decide it are in what is not read yet
                self._unread = text[first:] + self._unread
                self._line += i
                return
            if joined is None:
                self._take_out(raw, self._line + i + 1, NOT_CLOSED)
                taken, line = end, i + 1
            else:
                self._out += joined
                taken, line = int(ends[i + count]), i + count + 1
        self._out += text[taken:]
        self._line += len(ends)

    def _odd(self, codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Lines that may not be whole: whose quotes do not open and close cells in turn, or with bytes that are no text."""
        odd = np.zeros(len(starts), np.bool_)
        quotes = np.flatnonzero(codes == _QUOTE)
        if len(quotes):
            first = np.searchsorted(quotes, starts)
            count = np.diff(first, append=len(quotes))
            opens = (np.arange(len(quotes)) - np.repeat(first, count)) % 2 == 0
            beside = np.where(opens, quotes - 1, quotes + 1)
            fits = self._bounds[codes[np.clip(beside, 0, len(codes) - 1)]] | (beside < 0) | (beside >= len(codes))
            odd = count % 2 == 1
            odd[np.searchsorted(starts, quotes[~fits], side="right") - 1] = True
        if len(quotes):  # two quotes with nothing but separators between them
            between = np.flatnonzero((np.diff(quotes) == 2) & (codes[quotes[:-1] + 1] == ord(self._separator)))
            odd[np.searchsorted(starts, quotes[between], side="right") - 1] = True
        nothing = np.flatnonzero(codes == _NUL)
        odd[np.searchsorted(starts, nothing, side="right") - 1] = True
        return np.flatnonzero(odd)

    def _closing(
        self,
        text: bytes,
        starts: np.ndarray,
        ends: np.ndarray,
        i: int,
    ) -> tuple[int, bytes | None]:
        """How many lines follow that belong to an open one, and all of them as one line; None where it is not closed.

        Without lines and without a line where what follows is not there yet.
        """
        first = int(starts[i])
        opening = _content(text[first : int(ends[i])])
        for count in range(1, MOST_LINES_OF_A_CELL + 1):
            j = i + count
            if j >= len(ends):
                return (1, None) if self._ended else (0, None)
            line = _content(text[int(starts[j]) : int(ends[j])])
            if int(ends[j]) - first > LARGEST_CELL or self._is_row(line) or self._is_like(opening, line):
                return 1, None
            joined = _content(text[first : int(ends[j])])
            if is_open(joined, self._separator):
                continue
            cells = cells_of(joined, self._separator)
            if len(cells) > self._width and any(cell.strip() for cell in cells[self._width :]):
                return 1, None
            end = text[int(ends[j]) - 1 : int(ends[j])] if text[int(ends[j]) - 1] in (_CR, _LF) else b""
            return count, re.sub(r"\r\n|\r|\n", " ", joined).encode() + (end or b"\n") * count + end
        return 1, None

    def _is_row(self, line: str) -> bool:
        cells = cells_of(line, self._separator)
        return len(cells) >= self._width and any(map(looks_like_data, cells))

    def _has_ditto(self, line: str) -> bool:
        """Whether two quotes that stand alone in cells make one cell of the separators between them."""
        return any(
            self._separator in cell and not cell.strip(f"{self._separator} ")
            for cell in cells_of(line, self._separator)
        )

    def _is_like(self, opening: str, line: str) -> bool:
        """Whether a line is a row like the one before it, both with stray quotes, as ditto marks are.

        Both have the cells of a row where quotes count for nothing, and data and words in the same places.
        """
        ours, theirs = opening.split(self._separator), line.split(self._separator)
        if len(ours) < self._width or len(ours) != len(theirs):
            return False
        alike = [
            looks_like_data(a) == looks_like_data(b) for a, b in zip(ours, theirs, strict=True) if '"' not in a + b
        ]
        return all(alike) and any(map(looks_like_data, ours))

    def _take_out(self, raw: bytes, line: int, why: str) -> None:
        self._refuse(Refusal(line, "", shortened(_content(raw)), why))
        self._out += raw[len(raw.rstrip(b"\r\n")) :]


def shortened(line: str) -> str:
    """A line for a report: without bytes that are no text, which are counted."""
    nothing = line.count("\x00")
    rest = line.replace("\x00", "").strip()
    told = f"{nothing} NUL bytes" if nothing else ""
    return f"{told}{' and ' if told and rest else ''}{rest[:200]}"


def _content(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").rstrip("\r\n")


def _line_ends(codes: np.ndarray) -> np.ndarray:
    """Places behind each line, the last one with or without a line end."""
    feeds = codes == _LF
    returns = codes == _CR
    if returns.any():
        returns[:-1] &= ~feeds[1:]
    ends = np.flatnonzero(feeds | returns) + 1
    if not len(ends) or ends[-1] < len(codes):
        ends = np.append(ends, len(codes))
    return ends


def whole_lines(lines: Sequence[str] | Iterator[str], separator: str) -> Iterator[tuple[int, str, str]]:
    """Lines of a text with their numbers and why one is refused: a quote that it opens and does not close."""
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        yield number, text, NO_TEXT if "\x00" in text else NOT_CLOSED if is_open(text, separator) else ""
