"""Formats of historian exports: each is opened as a table of columns."""

from __future__ import annotations

import re

from hvac_platform.ingestion.importing.formats.columnar import open_parquet
from hvac_platform.ingestion.importing.formats.delimited import open_delimited
from hvac_platform.ingestion.importing.formats.hours import unfolded
from hvac_platform.ingestion.importing.formats.influx import ANNOTATIONS, open_influx
from hvac_platform.ingestion.importing.formats.json_lines import open_json
from hvac_platform.ingestion.importing.formats.opening import Content, contents, find_encoding, sample
from hvac_platform.ingestion.importing.formats.table import Chunk, Table
from hvac_platform.ingestion.importing.formats.workbook import open_workbook
from hvac_platform.ingestion.importing.formats.xls_cells import OLE
from hvac_platform.ingestion.importing.formats.zinc import open_zinc
from hvac_platform.ingestion.importing.mapping import ImportMap
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, shown

__all__ = ["Chunk", "Content", "Table", "contents", "open_table"]

_LINE_PROTOCOL = re.compile(
    r"""(?:#.*\n)*[^\s,="]+(?:,[^\s,="]+=[^\s,="]+)* [^\s,="]+=(?:"[^"]*"|[^\s,="]+)[^\n]*? \d{10,19}\s*(?:\n|$)"""
)


def open_table(content: Content, mapping: ImportMap) -> Table:
    """The table of a file, whatever its format: by its first bytes, not by its name.

    Raises:
        ImportRefusedError: it is none that can be read; the message says why.
    """
    return unfolded(_opened(content, mapping), mapping.hours, list(mapping.columns))


def _opened(content: Content, mapping: ImportMap) -> Table:
    head = content.head(8_192)
    if not head:
        raise ImportRefusedError("the file is empty, so it is not readable")
    if head.startswith(b"PAR1"):
        return open_parquet(content)
    if head.startswith((OLE, b"PK\x03\x04")):
        return open_workbook(content, mapping.sheet, mapping.header)
    encoding, words = find_encoding(content, mapping.encoding)
    text, _ = sample(content, encoding)
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("ver:"):
        return open_zinc(content, encoding, words)
    if start.startswith(ANNOTATIONS):
        return open_influx(content, encoding, words)
    if start.startswith("{") or (start.startswith("[") and start[1:].lstrip().startswith("{")):
        return open_json(content, encoding, words)
    if start.lower().startswith(("<!doctype", "<html", "<?xml", "%pdf")):
        raise ImportRefusedError(
            "the file is a web page, XML or PDF, not a table; export it as CSV, Parquet or a workbook"
        )
    if re.match(r",?error,reference\r?\n", start):
        raise ImportRefusedError(
            f"the file is an error that InfluxDB answered with, not data: {shown(start.splitlines()[-1])}"
        )
    if _LINE_PROTOCOL.match(start):
        raise ImportRefusedError(
            "the file is in the line protocol of InfluxDB, which is not read; export it as annotated CSV, such as with "
            "influx query --raw"
        )
    return open_delimited(content, encoding, words, mapping.header)
