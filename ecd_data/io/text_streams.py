"""Long text files, plain or compressed, read in pieces from front to back, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ecd_data.errors import FormatError
from ecd_data.io.compression import CODECS, DAMAGE_ERRORS, STREAMS

PIECE_BYTES = 1 << 22  # that are read at a time
MAX_LINE = 1 << 24  # bytes: a longer line is not text
MAX_FILE = 1 << 38  # bytes: no calculation writes more, so it is a decompression bomb
LONGEST_SECTION = 1 << 28  # bytes of a section that are kept: limits memory


def read_pieces(path: Path) -> Iterator[bytes]:
    """The text of a file, plain or compressed, in pieces of some megabytes that end at line ends.

    A compressed file that is cut gives the text before the cut.

    Raises
    ------
    FormatError : the file cannot be read, is damaged, or is not text.
    """
    rest, total = b"", 0
    try:
        with path.open("rb") as file:
            for data in _decompress(file):
                total += len(data)
                end = data.rfind(b"\n") + 1
                if total > MAX_FILE or len(rest) > MAX_LINE or b"\0" in data[:4096]:
                    raise ValueError("it is not text")
                if end:
                    yield rest + data[:end]
                rest = data[end:] if end else rest + data
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist: check the path") from error
    except DAMAGE_ERRORS as error:
        raise FormatError(f"{path} cannot be read ({error}): copy or download it again") from error
    if rest:
        yield rest


def _decompress(file: IO[bytes]) -> Iterator[bytes]:
    head = file.read(8)
    file.seek(0)
    for magic, (_, start) in STREAMS.items():
        if head.startswith(magic):
            yield from _inflate(file, start)
            return
    for magic, codec in CODECS.items():
        if head.startswith(magic):
            import pyarrow as pa

            file = pa.CompressedInputStream(pa.PythonFile(file), codec)
    while data := file.read(PIECE_BYTES):
        yield data


def _inflate(file: IO[bytes], start: Callable[[], Any]) -> Iterator[bytes]:
    """The content of the compressed streams in a file, up to the cut where the last one is cut."""
    stream = start()
    while data := file.read(PIECE_BYTES // 16):
        while data:
            yield stream.decompress(data)
            if not stream.eof:
                break
            data, stream = stream.unused_data.lstrip(b"\0"), start()


class LastLines:
    """The last line that contains each of some marks, its position, and how often each mark occurs."""

    def __init__(self, marks: Iterable[bytes]) -> None:
        self.counts = dict.fromkeys(marks, 0)
        self.lines: dict[bytes, str] = {}
        self.positions: dict[bytes, int] = dict.fromkeys(self.counts, -1)
        self.length = 0

    def feed(self, piece: bytes) -> None:
        """Search the next piece, which must begin and end at line ends."""
        for mark in self.counts:
            place = piece.rfind(mark)
            if place < 0:
                continue
            self.counts[mark] += piece.count(mark)
            self.positions[mark] = self.length + place
            start, end = piece.rfind(b"\n", 0, place) + 1, piece.find(b"\n", place)
            self.lines[mark] = piece[start : end if end >= 0 else len(piece)].decode(errors="replace")
        self.length += len(piece)


class LastSection:
    """The text from the last line that contains `start` up to the next `stop`, at most about LONGEST_SECTION bytes."""

    def __init__(self, start: bytes, stop: bytes) -> None:
        self.start, self.stop = start, stop
        self._kept: list[bytes] = []
        self._open = False
        self.complete = False

    @property
    def text(self) -> bytes:
        """The text, b"" where no line contains `start`."""
        return b"".join(self._kept)

    def feed(self, piece: bytes) -> None:
        """Search the next piece, which must begin and end at line ends."""
        place = piece.rfind(self.start)
        if place >= 0:
            piece = piece[piece.rfind(b"\n", 0, place) + 1 :]
            self._kept, self._open, self.complete = [], True, False
        if not self._open:
            return
        end = piece.find(self.stop, piece.find(self.start) + 1 if place >= 0 else 0)
        self._kept.append(piece if end < 0 else piece[:end])
        self.complete = end >= 0
        self._open = end < 0 and sum(map(len, self._kept)) < LONGEST_SECTION
