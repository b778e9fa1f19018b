"""Unpacking of compressed record batches, within bounds.

Compression makes the size on the wire say nothing of the size in memory: 1 MiB of gzip may hold 1 GiB, of zstd 32 GiB. So
everything is unpacked piece by piece and given up when it grows beyond what was asked for.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import lz4.frame
import snappy
import zstandard

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
"""Codecs by their number in a record batch's attributes (Kafka protocol, record batch format 2)."""

PIECE_BYTES = 1_048_576
_GZIP_WINDOW = 31  # zlib's way to say: a gzip header, and the largest window
_LARGEST_ZSTD_WINDOW = 1 << 27
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = 16


class TooLargeError(ValueError):
    """What was compressed is larger than may be unpacked."""


def unpack(codec: int, packed: bytes, limit: int) -> bytes:
    """The whole content of some compressed bytes.

    Args:
        codec: how it is compressed, by its number in Kafka's protocol.
        packed: the compressed bytes.
        limit: most bytes of content.

    Raises:
        TooLargeError: the content is longer.
        ValueError: the bytes are damaged, or the codec is unknown.

    >>> unpack(GZIP, zlib.compress(b"abc", wbits=31), 3)
    b'abc'
    """
    pieces: list[bytes] = []
    size = 0
    for piece in pieces_of(codec, packed, min(PIECE_BYTES, limit + 1)):
        size += len(piece)
        if size > limit:
            raise TooLargeError(f"it unpacks to more than {limit} bytes")
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def pieces_of(codec: int, packed: bytes, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """The content piece by piece; none is much longer than ``piece_bytes``.

    Raises:
        ValueError: the bytes are damaged, or the codec is unknown.
    """
    reader = _READERS.get(codec)
    if reader is None:
        raise ValueError(f"compressed by codec {codec}, which is unknown")
    try:
        yield from reader(packed, piece_bytes)
    except (zlib.error, RuntimeError, EOFError, struct.error, snappy.UncompressError, zstandard.ZstdError) as error:
        raise ValueError(f"damaged: {error}") from error


def _gzip_pieces(packed: bytes, piece_bytes: int) -> Iterator[bytes]:
    while packed:
        unzip = zlib.decompressobj(_GZIP_WINDOW)
        while not unzip.eof:
            piece = unzip.decompress(packed, piece_bytes)
            packed = unzip.unconsumed_tail
            if not piece and not packed and not unzip.eof:
                raise ValueError("damaged: it is cut short")
            yield piece
        packed = unzip.unused_data


def _lz4_pieces(packed: bytes, piece_bytes: int) -> Iterator[bytes]:
    while packed:
        frame = lz4.frame.LZ4FrameDecompressor()
        piece = frame.decompress(packed, piece_bytes)
        yield piece
        while not frame.eof:
            piece = frame.decompress(b"", piece_bytes)
            if not piece and frame.needs_input:
                raise ValueError("damaged: it is cut short")
            yield piece
        packed = frame.unused_data or b""


def _zstd_pieces(packed: bytes, piece_bytes: int) -> Iterator[bytes]:
    unzip = zstandard.ZstdDecompressor(max_window_size=_LARGEST_ZSTD_WINDOW)
    with unzip.stream_reader(io.BytesIO(packed), read_across_frames=True) as reader:
        while piece := reader.read(piece_bytes):
            yield piece


def _snappy_pieces(packed: bytes, piece_bytes: int) -> Iterator[bytes]:
    """Blocks of the framing that Kafka's clients use, or one block without framing; a block says how long it is."""
    if not packed.startswith(_XERIAL_MAGIC):
        yield _snappy_block(packed)
        return
    position = _XERIAL_HEADER
    while position < len(packed):
        (size,) = struct.unpack_from(">i", packed, position)
        position += 4
        if size < 0 or position + size > len(packed):
            raise ValueError("damaged: it is cut short")
        yield _snappy_block(packed[position : position + size])
        position += size


def _snappy_block(block: bytes) -> bytes:
    length = shift = 0
    for byte in block[:5]:
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    # Three bytes can say "the same 64 bytes again", so a block that says more than that lies, and would be allocated.
    if length > 32 * len(block) + 64:
        raise ValueError(f"damaged: {len(block)} bytes can't hold the {length} that they say they do")
    unpacked: bytes = snappy.uncompress(block)
    return unpacked


_READERS: dict[int, Callable[[bytes, int], Iterator[bytes]]] = {
    GZIP: _gzip_pieces,
    SNAPPY: _snappy_pieces,
    LZ4: _lz4_pieces,
    ZSTD: _zstd_pieces,
}


class PieceReader:
    """Reads a stream of pieces by lengths, and passes over what is too long to be kept.

    Args:
        pieces: the stream.
        limit: most bytes that are unpacked altogether.
    """

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces, self._limit = pieces, limit
        self._buffer, self._position, self._read = b"", 0, 0

    def _more(self) -> None:
        """Add a piece to the buffer.

        Raises:
            TooLargeError: the limit is reached.
            ValueError: the stream ends.
        """
        if self._read > self._limit:
            raise TooLargeError(f"it unpacks to more than {self._limit} bytes")
        piece = next(self._pieces, None)
        if piece is None:
            raise ValueError("damaged: it is cut short")
        self._read += len(piece)
        self._buffer = self._buffer[self._position :] + piece
        self._position = 0

    def take(self, length: int) -> bytes:
        """The next bytes."""
        while len(self._buffer) - self._position < length:
            self._more()
        taken = self._buffer[self._position : self._position + length]
        self._position += length
        return taken

    def rest(self) -> bytes:
        """What is left of the pieces that have been read."""
        left, self._position = self._buffer[self._position :], len(self._buffer)
        return left

    def skip(self, length: int, seen: Callable[[bytes], object] = lambda _: None) -> None:
        """Pass over the next bytes; ``seen`` gets them piece by piece."""
        while length > 0:
            if self._position == len(self._buffer):
                self._more()
            part = self._buffer[self._position : self._position + length]
            seen(part)
            self._position += len(part)
            length -= len(part)

    def varint(self) -> int:
        """The next zigzag-encoded integer of up to ten bytes."""
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7
            if shift > 63:
                raise ValueError("damaged: an integer of more than ten bytes")
