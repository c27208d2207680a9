"""Long text files read once from front to back, decompressed on the way, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ecd_data.errors import FormatError
from ecd_data.io.compression import CODECS, DAMAGE, STREAMS

PIECE = 1 << 22  # bytes at a time
LONGEST_LINE = 1 << 24
LONGEST_FILE = 1 << 38  # no output of a calculation: a bomb


def pieces(path: Path) -> Iterator[bytes]:
    """The text of a file, plain or compressed, in pieces of some megabytes that end where a line ends.

    A compressed file that is cut gives what there is. Raises FormatError for a file that cannot be read, is damaged, or
    is no text.
    """
    rest, total = b"", 0
    try:
        with path.open("rb") as file:
            for data in _decompressed(file):
                total += len(data)
                end = data.rfind(b"\n") + 1
                if total > LONGEST_FILE or len(rest) > LONGEST_LINE or b"\0" in data[:4096]:
                    raise ValueError("it is no text")
                if end:
                    yield rest + data[:end]
                rest = data[end:] if end else rest + data
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist: check the path") from error
    except DAMAGE as error:
        raise FormatError(f"{path} cannot be read ({error}): copy or download it again") from error
    if rest:
        yield rest


def _decompressed(file: IO[bytes]) -> Iterator[bytes]:
    head = file.read(8)
    file.seek(0)
    for magic, (_, start) in STREAMS.items():
        if head.startswith(magic):
            yield from _inflated(file, start)
            return
    for magic, codec in CODECS.items():
        if head.startswith(magic):
            import pyarrow as pa

            file = pa.CompressedInputStream(pa.PythonFile(file), codec)
    while data := file.read(PIECE):
        yield data


def _inflated(file: IO[bytes], start: Callable[[], Any]) -> Iterator[bytes]:
    """What streams that follow each other hold; one that is cut gives what it holds up to there."""
    stream = start()
    while data := file.read(PIECE // 16):
        while data:
            yield stream.decompress(data)
            if not stream.eof:
                break
            data, stream = stream.unused_data.lstrip(b"\0"), start()


class Marks:
    """The last line that holds each of some marks, where it is, and how often each was seen."""

    def __init__(self, marks: Iterable[bytes]) -> None:
        self.counts = dict.fromkeys(marks, 0)
        self.lines: dict[bytes, str] = {}
        self.places: dict[bytes, int] = dict.fromkeys(self.counts, -1)
        self.length = 0

    def feed(self, piece: bytes) -> None:
        """Look through the next piece, which begins and ends with whole lines."""
        for mark in self.counts:
            place = piece.rfind(mark)
            if place < 0:
                continue
            self.counts[mark] += piece.count(mark)
            self.places[mark] = self.length + place
            start, end = piece.rfind(b"\n", 0, place) + 1, piece.find(b"\n", place)
            self.lines[mark] = piece[start : end if end >= 0 else len(piece)].decode(errors="replace")
        self.length += len(piece)


class LastSection:
    """The text from the last line that holds `start` up to the next one that holds `stop`, at most `limit` bytes."""

    def __init__(self, start: bytes, stop: bytes, limit: int = 1 << 28) -> None:
        self.start, self.stop, self.limit = start, stop, limit
        self._kept: list[bytes] = []
        self._open = False
        self.complete = False

    @property
    def text(self) -> bytes:
        """What was found, b"" where there is none."""
        return b"".join(self._kept)

    def feed(self, piece: bytes) -> None:
        """Look through the next piece, which begins and ends with whole lines."""
        place = piece.rfind(self.start)
        if place >= 0:
            piece = piece[piece.rfind(b"\n", 0, place) + 1 :]
            self._kept, self._open, self.complete = [], True, False
        if not self._open:
            return
        end = piece.find(self.stop, piece.find(self.start) + 1 if place >= 0 else 0)
        self._kept.append(piece if end < 0 else piece[:end])
        self.complete = end >= 0
        self._open = end < 0 and sum(map(len, self._kept)) < self.limit
