"""Tables of texts with a separator between the cells: CSV and its relatives."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from hvac_platform.ingestion.importing.formats.headers import Header, find_header, looks_like_data
from hvac_platform.ingestion.importing.formats.lines import WholeLines, cells_of, shortened
from hvac_platform.ingestion.importing.formats.opening import Content, open_text, sample
from hvac_platform.ingestion.importing.formats.repeated_header import UnderOneHeader
from hvac_platform.ingestion.importing.formats.table import Chunk, Table, rows_a_chunk, too_long
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, Refusal, shown

SEPARATORS = ",;\t|"
_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MOST_ROWS_LOOKED_AT = 300


@dataclass
class DelimitedTable:
    """A table of texts with a separator."""

    content: Content
    encoding: str
    separator: str
    before: int
    columns: tuple[str, ...]
    width: int
    description: str
    units: Mapping[str, str] = field(default_factory=dict)
    has_formulas: bool = False
    remarks: Sequence[Sequence[str]] = ()

    def chunks(self) -> Iterator[Chunk]:
        """The rows, from the first one."""
        bad: list[Any] = []
        taken_out: list[Refusal] = []
        # Rows that end in separators have more cells than there are columns.
        width = max(self.width, len(self.columns))
        names = [*self.columns, *(f"\t{i}" for i in range(width - len(self.columns)))]

        def on_bad(row: Any) -> str:
            bad.append(row)
            return "skip"

        with self.content.open() as raw:
            if self.encoding == "utf-8-sig":
                raw.read(3)
            text: Any = raw if self.encoding in ("utf-8", "utf-8-sig") else _AsUtf8(raw, self.encoding)
            if self.has_formulas:
                text = _WithoutFormulas(text, self.separator)
            stream: Any = WholeLines(text, self.separator, len(self.columns), taken_out.append)
            try:
                reader = pacsv.open_csv(
                    pa.PythonFile(stream, mode="r"),
                    read_options=pacsv.ReadOptions(
                        use_threads=False, skip_rows=self.before, column_names=names, block_size=1 << 20
                    ),
                    parse_options=pacsv.ParseOptions(
                        delimiter=self.separator,
                        ignore_empty_lines=False,
                        newlines_in_values=False,
                        invalid_row_handler=on_bad,
                    ),
                    convert_options=pacsv.ConvertOptions(
                        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                    ),
                )
                yield from self._numbered(reader, bad, taken_out, width, stream)
            except StopIteration:
                return
            except (pa.ArrowInvalid, OSError, EOFError) as error:
                if "Empty CSV" in str(error) or "Could not skip initial" in str(error):
                    if taken_out:
                        yield from self._chunks(_no_rows(names), np.array([], np.int64), (), taken_out, width, stream)
                    return
                raise ImportRefusedError(f"not a readable CSV file: {' '.join(str(error).split())[:200]}") from None

    def _numbered(
        self, reader: Any, bad: list[Any], taken_out: list[Refusal], width: int, stream: IO[bytes]
    ) -> Iterator[Chunk]:
        """Batches with the lines of their rows, and the rows that have another number of cells put right or refused."""
        line = self.before + 1
        odd: list[Any] = []
        for batch in reader:
            odd += bad
            bad.clear()
            lines, line = _lines(line, batch.num_rows, {row.number for row in odd})
            mine = [row for row in odd if row.number < line]
            odd = [row for row in odd if row.number >= line]
            yield from self._chunks(batch, lines, mine, taken_out, width, stream)
        rest = odd + bad
        if rest or taken_out:
            names = [*self.columns, *(f"\t{i}" for i in range(width - len(self.columns)))]
            yield from self._chunks(_no_rows(names), np.array([], np.int64), rest, taken_out, width, stream)

    def _chunks(
        self,
        batch: pa.RecordBatch,
        lines: np.ndarray[Any, Any],
        odd: Sequence[Any],
        taken_out: list[Refusal],
        width: int,
        stream: Any,
    ) -> Iterator[Chunk]:
        refused = [*taken_out]
        taken_out.clear()
        if odd:
            cells, numbers = [], []
            for row in odd:
                parsed = cells_of(row.text, self.separator)
                if any(cell.strip() for cell in parsed[len(self.columns) :]):
                    refused.append(too_long(row.number, parsed, len(self.columns)))
                else:
                    cells.append([*parsed[:width], *[""] * (width - len(parsed))])
                    numbers.append(row.number)
            if cells:
                put_right = pa.RecordBatch.from_arrays(
                    [pa.array(column, pa.string()) for column in zip(*cells, strict=True)], names=batch.schema.names
                )
                table = pa.Table.from_batches([batch, put_right]).combine_chunks()
                lines = np.concatenate([lines, np.array(numbers, np.int64)])
                order = np.argsort(lines, kind="stable")
                batch, lines = table.take(pa.array(order)).combine_chunks().to_batches()[0], lines[order]
        blank = pc.equal(batch.column(0), "")
        for i in range(1, width):
            if not pc.any(blank).as_py():
                break
            blank = pc.and_(blank, pc.equal(pc.utf8_trim_whitespace(batch.column(i)), ""))
        if pc.any(blank).as_py():
            keep = np.flatnonzero(~np.asarray(blank))
            batch, lines = batch.take(pa.array(keep)), lines[keep]
        batch, lines = self._without_too_long(batch, lines, refused)
        done = stream.tell() if hasattr(stream, "tell") else 0
        step = rows_a_chunk(width)
        for first in range(0, max(1, batch.num_rows), step):
            some = batch.slice(first, step)
            columns = {name: some.column(i) for i, name in enumerate(self.columns)}
            yield Chunk(columns, lines[first : first + step], refused, done)
            refused = []

    def _without_too_long(
        self, batch: pa.RecordBatch, lines: np.ndarray[Any, Any], refused: list[Refusal]
    ) -> tuple[pa.RecordBatch, np.ndarray[Any, Any]]:
        """Without rows that have something in cells that no column is named for."""
        width = len(self.columns)
        bad = np.zeros(batch.num_rows, np.bool_)
        for i in range(width, batch.num_columns):
            bad |= np.asarray(pc.not_equal(pc.utf8_trim_whitespace(batch.column(i)), ""))
        if not bad.any():
            return batch, lines
        rows = ((i, [column[i].as_py() for column in batch.columns]) for i in np.flatnonzero(bad).tolist())
        refused.extend(too_long(int(lines[i]), row, width) for i, row in rows)
        keep = np.flatnonzero(~bad)
        return batch.take(pa.array(keep)), lines[keep]


def _no_rows(names: Sequence[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], pa.string())] * len(names), names=list(names))


def _lines(first: int, count: int, without: set[int]) -> tuple[np.ndarray[Any, Any], int]:
    """Lines of so many rows from a line on, some lines left out; and the line after them."""
    lines = np.arange(first, first + count + len(without), dtype=np.int64)
    if without:
        lines = lines[~np.isin(lines, list(without))]
    lines = lines[:count]
    following = int(lines[-1]) + 1 if count else first
    while following in without:
        following += 1
    return lines, following


class _AsUtf8(io.RawIOBase):
    """A text in another encoding as a stream of UTF-8."""

    def __init__(self, raw: IO[bytes], encoding: str) -> None:
        super().__init__()
        self._raw = raw
        self._text = io.TextIOWrapper(raw, encoding=encoding, newline="")
        self._left = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        while size < 0 or len(self._left) < size:
            text = self._text.read(1 << 18)
            if not text:
                break
            self._left += text.encode()
        if size < 0:
            size = len(self._left)
        found, self._left = self._left[:size], self._left[size:]
        return found

    def tell(self) -> int:
        """Bytes read of the file itself."""
        return self._raw.tell()


class _WithoutFormulas(io.RawIOBase):
    """A text whose cells are written as formulas, ``="55"``, so that a spreadsheet leaves them as they are."""

    def __init__(self, raw: Any, separator: str) -> None:
        super().__init__()
        self._raw, self._separator, self._left = raw, separator, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes: what is there is read up to the end of a line."""
        found = self._raw.read(size)
        whole = self._left + found
        end = len(whole) if not found else whole.rfind(b"\n") + 1
        self._left = whole[end:]
        if not end and found:
            return self.read(size)
        return without_formulas(whole[:end].decode("utf-8", "surrogateescape"), self._separator).encode(
            "utf-8", "surrogateescape"
        )

    def tell(self) -> int:
        """Bytes read of the file itself."""
        return int(self._raw.tell())


def without_formulas(text: str, separator: str) -> str:
    """Cells that are written as formulas of a text alone, as that text.

    >>> without_formulas('="a",="55"', ",")
    '"a","55"'
    """
    return re.sub(rf'(^|{re.escape(separator)})="', r'\1"', text, flags=re.MULTILINE)


def open_delimited(content: Content, encoding: str, words: str, header: Sequence[str]) -> Table:
    """The table of a text, its separator and header found.

    Raises:
        ImportRefusedError: it is none.
    """
    text, _ = sample(content, encoding)
    # A line with bytes that are no text is refused once rows are read.
    lines = ["" if "\x00" in line else line for line in text.splitlines()[:MOST_ROWS_LOOKED_AT]]
    if not any(line.strip() for line in lines):
        raise ImportRefusedError(f"not a readable table: its first lines hold {shortened(text)}")
    told, skipped = "", 0
    if lines and lines[0].strip().strip('"').lower().startswith("sep=") and len(lines[0].strip().strip('"')) == 5:
        told, skipped = lines[0].strip().strip('"')[4], 1
    refused: list[ImportRefusedError] = []
    ways: list[tuple[str, bool, Header]] = []
    for way in [told] if told else _separators(lines):
        plain = [without_formulas(line, way) for line in lines]
        try:
            ways.append((way, plain != lines, _header(plain, way, skipped, header)))
        except ImportRefusedError as error:
            refused.append(error)
    if not ways:
        raise refused[0]
    with_rows = [one for one in ways if any(line.strip() for line in lines[one[2].before + skipped :])]
    separator, has_formulas, found = (with_rows or ways)[0]
    table = DelimitedTable(
        content,
        encoding,
        separator,
        found.before + skipped,
        found.names,
        found.width,
        f"text with {_WORDS.get(separator, repr(separator))}, {words}",
        found.units,
        has_formulas,
        found.remarks,
    )
    return UnderOneHeader(table, found.written) if found.written else table


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    """Cells of each line by itself."""
    return [cells_of(line, separator, skip_blanks=True) for line in lines]


def _header(lines: Sequence[str], separator: str, skipped: int, given: Sequence[str]) -> Header:
    """The header among the first lines of a text.

    Raises:
        ImportRefusedError: there is none.
    """
    width = max((len(row) for row in _rows(lines, separator)), default=1)
    taken_out: list[Refusal] = []
    whole = WholeLines(io.BytesIO("\n".join(lines).encode()), separator, width, taken_out.append)
    rows = _rows(whole.read().decode().split("\n"), separator)[skipped:]
    try:
        return find_header(rows, given)
    except ImportRefusedError as error:
        also = "".join(f"; line {one.line}: {one.reason}: {shown(one.value)}" for one in taken_out[:1])
        raise ImportRefusedError(f"{error}{also}") from None


def _separators(lines: Sequence[str]) -> list[str]:
    """The separator that leaves the cleanest cells in the most rows of one length, and others that part all lines alike.

    Flags such as ``F;T;F;F`` in a cell part most lines alike too, and not the header.
    """
    best, found = (0.0, 0.0, 0), ","
    alike: list[str] = []
    for separator in SEPARATORS:
        rows = [row for row in _rows(lines, separator) if any(row)]
        sizes = [len(row) for row in rows if len(row) > 1]
        if not sizes:
            continue
        if len(sizes) == len(rows) and len(set(sizes)) == 1:
            alike.append(separator)
        width = max(set(sizes), key=lambda size: (sizes.count(size), size))
        whole = [row for row in rows if len(row) == width]
        cells = [cell for row in whole for cell in row if cell.strip()]
        others = SEPARATORS.replace(separator, "").replace(",", "")
        clean = sum(looks_like_data(cell) or not any(sign in cell for sign in others) for cell in cells)
        score = (round(clean / max(1, len(cells)) * len(whole) / len(rows), 3), clean / max(1, len(cells)), width)
        if score > best:
            best, found = score, separator
    return [found, *(separator for separator in alike if separator != found)]


def rows_of(content: Content, encoding: str) -> Iterator[tuple[int, str]]:
    """Lines of a text with their numbers."""
    with open_text(content, encoding) as handle:
        for number, line in enumerate(handle, 1):
            yield number, line.rstrip("\r\n")
