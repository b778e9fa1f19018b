"""Files as bytes and text: compressed or not, in whatever encoding, one or several in an archive."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hvac_platform.ingestion.importing.refusing import ImportRefusedError, listed

BLOCK = 1 << 20
SAMPLE = 1 << 18
_MAGIC = ((b"\x1f\x8b", "gz"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"), (b"PK\x03\x04", "zip"))
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile)
_NOT_TABLES = (".xml", ".rels", ".txt", ".md", ".pdf", ".png", ".jpg")


@dataclass(frozen=True, slots=True)
class Content:
    """A file, or a member of an archive.

    Attributes:
        path: the file.
        member: name in the archive; empty where it is none.
        beside: of the first one of an archive, the members that are no tables.
    """

    path: Path
    member: str = ""
    beside: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"{self.path.name}/{self.member}" if self.member else self.path.name

    @property
    def stem(self) -> str:
        """Name without endings and folders, which stands for a device where nothing else does."""
        name = Path(self.member).name if self.member else self.path.name
        for ending in (".gz", ".bz2", ".xz", ".zip"):
            name = name.removesuffix(ending)
        return Path(name).stem

    def open(self) -> IO[bytes]:
        """The bytes, unpacked.

        Raises:
            ImportRefusedError: the file can't be opened.
        """
        try:
            kind = compression(self.path)
            if self.member:
                return zipfile.ZipFile(self.path).open(self.member)
            if kind == "gz":
                return gzip.open(self.path, "rb")  # type: ignore[return-value]
            if kind == "bz2":
                return bz2.open(self.path, "rb")
            if kind == "xz":
                return lzma.open(self.path, "rb")
            return self.path.open("rb")
        except (OSError, RuntimeError, NotImplementedError, *_BROKEN) as error:
            raise ImportRefusedError(f"can't be opened: {error}") from None

    def head(self, size: int = SAMPLE) -> bytes:
        """The first bytes.

        Raises:
            ImportRefusedError: they can't be read.
        """
        with self.open() as handle:
            try:
                return handle.read(size)
            except (OSError, RuntimeError, *_BROKEN) as error:
                raise ImportRefusedError(f"can't be unpacked: {error}") from None


def compression(path: Path) -> str:
    """How a file is compressed, by its first bytes; empty where it is not."""
    with path.open("rb") as handle:
        head = handle.read(8)
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")


def contents(path: Path) -> list[Content]:
    """The file itself, or the tables of an archive.

    Raises:
        ImportRefusedError: the archive is broken, or holds none.
    """
    if compression(path) != "zip":
        return [Content(path)]
    try:
        with zipfile.ZipFile(path) as archive:
            names = [one.filename for one in archive.infolist() if not one.is_dir()]
    except (OSError, *_BROKEN) as error:
        raise ImportRefusedError(f"not a readable archive: {error}") from None
    if any(name in ("xl/workbook.xml", "xl/workbook.bin") for name in names) or "mimetype" in names:
        return [Content(path)]
    tables = [name for name in names if not name.lower().endswith(_NOT_TABLES) and not name.startswith("__MACOSX/")]
    packed = [name for name in tables if name.lower().endswith((".zip", ".7z", ".rar", ".tar", ".tgz"))]
    if packed:
        raise ImportRefusedError(
            f"the archive holds another archive, {listed(packed)}; unpack it, and import what is in it"
        )
    if not tables:
        raise ImportRefusedError(f"the archive holds no table: {listed(names) or 'nothing at all'}")
    others = tuple(name for name in names if name not in tables and not name.startswith("__MACOSX/"))
    return [Content(path, name, () if i else others) for i, name in enumerate(sorted(tables))]


def find_encoding(content: Content, given: str | None) -> tuple[str, str]:
    """Encoding of a text, and how it was found, in words.

    All of the file is read: a sign that is none in UTF-8 may stand at its end.

    Raises:
        ImportRefusedError: it is in none that can be told.
    """
    if given:
        _check(content, given, f"it is not in {given}, as --encoding says")
        return given, f"{given} as given"
    head = content.head(4_096)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, encoding.removesuffix("-sig").upper()
    guess = _without_mark(head)
    if guess is not None:
        _check(content, guess, "it holds bytes that are no text; give --encoding where it is one")
        return guess, guess.upper()
    if _decodes(content, "utf-8") is None:
        return "utf-8", "UTF-8"
    _check(content, "cp1252", "it is neither in UTF-8 nor in cp1252; give --encoding, such as shift_jis or gb18030")
    return "cp1252", "cp1252, since it is not in UTF-8"


def _without_mark(head: bytes) -> str | None:
    """UTF-16 where every other byte is mostly zero, as in a text of digits and Latin letters; None for other bytes."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < len(head) // 4 or min(even, odd) > len(head) // 40:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _check(content: Content, encoding: str, problem: str) -> None:
    error = _decodes(content, encoding)
    if error is not None:
        raise ImportRefusedError(f"not readable as text: {problem} ({error})")


def _decodes(content: Content, encoding: str) -> str | None:
    """Why all of a file can't be decoded; None where it can."""
    decoder = codecs.getincrementaldecoder(encoding)()
    read = 0
    with content.open() as handle:
        try:
            while block := handle.read(BLOCK):
                decoder.decode(block)
                read += len(block)
            decoder.decode(b"", final=True)
        except UnicodeError as error:
            place = getattr(error, "start", 0) + read
            return f"at byte {place}"
        except (OSError, RuntimeError, *_BROKEN) as error:
            raise ImportRefusedError(f"can't be unpacked: {error}") from None
    return None


def open_text(content: Content, encoding: str) -> io.TextIOWrapper:
    """The text of a file, line ends as they are."""
    return io.TextIOWrapper(content.open(), encoding=encoding, newline="")


def sample(content: Content, encoding: str) -> tuple[str, bool]:
    """The beginning of a text, and whether that is all of it; the last line is whole."""
    with open_text(content, encoding) as handle:
        text = handle.read(SAMPLE)
        whole = not handle.read(1)
    if not whole:
        cut = max(text.rfind("\n"), text.rfind("\r"))
        text = text[: cut + 1] if cut > 0 else text
    return text, whole
