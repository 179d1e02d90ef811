"""The records of a WARC file one by one, and on to the next one where a record, or the gzip it lies in, is broken.

Records are framed here and not by a library, because a library ends at the first torn gzip member or wrong Content-Length, or passes over it
in silence. After a broken record reading goes on at the next line that starts one; after a torn member, at the next member that does. Memory
holds one record; a larger one than is asked for is passed over as it streams by, and so is what a small compressed file unpacks to.
"""

from __future__ import annotations

import bisect
import dataclasses
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from training.curation.documents import CurationError, Quarantine, Quarantined

LONGEST_HEAD = 64 * 2**10  # bytes of a record's headers
PIECE = 256 * 2**10
_GZIP = b"\x1f\x8b\x08"
_START = re.compile(rb"WARC/\d\.\d+\s*\Z")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A record: its number in the file (from 1), the byte it starts at (in a gzip: where its member does), header names in lower case."""

    number: int
    offset: int
    headers: Mapping[str, str]
    block: bytes


class _Torn(Exception):
    """A gzip member that cannot be unpacked to its end, and the byte it starts at."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset


def records(path: Path, largest: int, quarantine: Quarantine) -> Iterator[Record]:
    """The whole records of a file, in order. Raises CurationError where the file cannot be opened or read at all."""
    try:
        with path.open("rb") as file:
            yield from _records(_Stream(file, path.name.lower().endswith(".gz")), str(path), largest, quarantine)
    except OSError as error:
        raise CurationError(f"{path} cannot be read: {error}") from error


def _records(stream: _Stream, name: str, largest: int, quarantine: Quarantine) -> Iterator[Record]:
    number = 0
    while True:
        try:
            while (line := stream.line(LONGEST_HEAD)) and not line.strip():
                pass
            if not line:
                return
            number += 1
            offset = stream.offset(stream.position - len(line))
            stream.settle()
            found = _record(stream, line, number, offset, largest)
            if isinstance(found, Record):
                yield found
                continue
            quarantine(Quarantined(file=name, row=number, offset=offset, reason=found))
            stream.to_record()
        except _Torn as torn:
            quarantine(Quarantined(file=name, row=max(number, 1), offset=torn.offset, reason=f"a torn gzip member: {torn}"))
            if not stream.to_member(torn.offset + 1):
                return


def _record(stream: _Stream, line: bytes, number: int, offset: int, largest: int) -> Record | str:
    """The record that starts with `line`, or what is wrong with it; the stream then stands where the search for the next begins."""
    if not _START.match(line):
        return f"no record starts here, but {line[:40]!r}"
    headers: dict[str, str] = {}
    last, size = "", len(line)
    while (line := stream.line(LONGEST_HEAD)).strip():
        size += len(line)
        if size > LONGEST_HEAD:
            return f"its headers are longer than {LONGEST_HEAD} bytes"
        text = line.decode("utf-8", "replace")
        if text[0] in " \t" and last:
            headers[last] += " " + text.strip()
        else:
            last, _, value = text.partition(":")
            last = last.strip().lower()
            headers[last] = value.strip()
    if not line:
        return "the file ends in its headers"
    told = headers.get("content-length", "")
    if not (told.isascii() and told.isdigit()):
        return f"its Content-Length is {told!r}" if told else "it has no Content-Length"
    if int(told[:20]) > largest:
        return f"a record of {told[:20]} bytes, over the limit of {largest} (sources.largest_record)"
    start = stream.position
    block = stream.take(int(told))
    if len(block) < int(told):
        stream.back(start)
        return f"the file ends after {len(block)} of its {told} bytes"
    if stream.line(PIECE).strip():
        stream.back(start)
        return f"its Content-Length, {told}, is wrong: it does not end there"
    return Record(number=number, offset=offset, headers=headers, block=block)


class _Stream:
    """The unpacked bytes of a file; positions count these, offsets the bytes of the file."""

    def __init__(self, file: BinaryIO, packed: bool) -> None:
        self.file, self.packed = file, packed
        self.held, self.at, self.base = bytearray(), 0, 0  # what is unpacked, where reading stands in it, its position
        self.raw, self.read = b"", 0  # of the file: what is read and not unpacked, and its offset
        self.member: zlib._Decompress | None = None
        self.starts: list[tuple[int, int]] = []  # of members: position and offset

    @property
    def position(self) -> int:
        """Where reading stands."""
        return self.base + self.at

    def offset(self, position: int) -> int:
        """The byte of the file: of the position itself, or of the member that it is in."""
        return self.starts[bisect.bisect_right(self.starts, (position, 2**63)) - 1][1] if self.packed else position

    def line(self, limit: int) -> bytes:
        """The next line with its end, or `limit` bytes of it; b"" at the end of the file."""
        while True:
            end = self.held.find(b"\n", self.at, self.at + limit)
            if end >= 0:
                return self._taken(end + 1 - self.at)
            if len(self.held) - self.at >= limit or not self._fill():
                return self._taken(limit)

    def take(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end of the file."""
        while len(self.held) - self.at < count and self._fill():
            pass
        return self._taken(count)

    def settle(self) -> None:
        """Forget what is read: `back` goes no further than here."""
        del self.held[: self.at]
        self.base, self.at = self.position, 0
        while len(self.starts) > 1 and self.starts[1][0] <= self.base:
            del self.starts[0]

    def back(self, position: int) -> None:
        """Stand at a position again."""
        self.at = position - self.base

    def to_record(self) -> None:
        """Stand at the next line that starts a record, or at the end."""
        fresh = True
        while line := self.line(PIECE):
            if fresh and _START.match(line):
                self.at -= len(line)
                return
            fresh = line.endswith(b"\n")
            self.settle()

    def to_member(self, offset: int) -> bool:
        """Stand at the next member from `offset` on that starts with a record; False where there is none."""
        self.base, self.at = self.base + len(self.held), 0
        self.held.clear()
        self.member, self.raw = None, b""
        while True:
            self.file.seek(offset)
            ahead = self.file.read(PIECE)
            if (found := ahead.find(_GZIP)) < 0:
                if len(ahead) < PIECE:
                    return False
                offset += len(ahead) - len(_GZIP) + 1
                continue
            offset += found
            self.file.seek(offset)
            try:
                begins = zlib.decompressobj(31).decompress(self.file.read(4096), 16).startswith(b"WARC/")
            except zlib.error:
                begins = False
            if begins:
                self.file.seek(offset)
                self.read = offset
                return True
            offset += 1

    def _taken(self, count: int) -> bytes:
        found = bytes(self.held[self.at : self.at + count])
        self.at += len(found)
        return found

    def _fill(self) -> bool:
        piece = self._unpacked() if self.packed else self.file.read(PIECE)
        self.held += piece
        return bool(piece)

    def _unpacked(self) -> bytes:
        """Some more unpacked bytes, b"" at the end of the file."""
        while True:
            if not self.raw:
                self.raw = self.file.read(PIECE)
            if self.member is None:
                if not self.raw.strip(b"\0"):  # padding
                    if not self.raw:
                        return b""
                    self.read, self.raw = self.read + len(self.raw), b""
                    continue
                self.member = zlib.decompressobj(31)
                self.starts.append((self.base + len(self.held), self.read))
            begun = self.starts[-1][1]
            if not self.raw:
                raise _Torn(begun, "the file ends in it")
            try:
                piece = self.member.decompress(self.raw, PIECE)
            except zlib.error as error:
                raise _Torn(begun, str(error)) from error
            left = self.member.unused_data if self.member.eof else self.member.unconsumed_tail
            self.read, self.raw = self.read + len(self.raw) - len(left), left
            if self.member.eof:
                self.member = None
            if piece:
                return piece
