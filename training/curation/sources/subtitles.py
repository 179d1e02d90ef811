"""Subtitles into documents: a film's lines in windows of 100 (section 3.1), which never cross a film; the last, short one is kept.

A line is what is on the screen at one time, its own line breaks and mark-up taken out. SRT and WebVTT hold one film a file; in JSONL and
Parquet a row is a line, and rows of one film stand together.
"""

from __future__ import annotations

import hashlib
import html
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from training.curation import documents
from training.curation.documents import CurationError, Document, Quarantine, Quarantined
from training.curation.sources import charset
from training.curation.sources.settings import Origin, Sources

Item = TypeVar("Item")
_BLOCK = re.compile(r"[^\n](?:[^\n]|\n(?!\s*\n))*")
_HEADERS = ("WEBVTT", "NOTE", "STYLE", "REGION")
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>|<\d\d:[\d:.]+>|\{\\[^{}]*\}")


def read(path: Path, settings: Sources, quarantine: Quarantine) -> Iterator[Document]:
    """The documents of an SRT or WebVTT file."""
    try:
        with path.open("rb") as file:
            data = file.read(settings.largest_record + 1)
    except OSError as error:
        raise CurationError(f"{path} cannot be read: {error}") from error
    if len(data) > settings.largest_record:
        reason = f"a file over the limit of {settings.largest_record} bytes (sources.largest_record)"
        quarantine(Quarantined(file=str(path), row=1, offset=0, reason=reason))
        return
    try:
        text = charset.decode(data)
    except ValueError as error:
        quarantine(Quarantined(file=str(path), row=1, offset=0, reason=str(error)))
        return
    digest = hashlib.sha256(data).hexdigest()[:12]
    found = windows(lines_of(text, path, quarantine), settings.window, settings.stride)
    for number, lines in enumerate(found, 1):
        row = {"id": f"{path.name}#{digest}:{number}", "text": "\n".join(lines), "film": path.name.rpartition(".")[0]}
        try:
            yield documents.document(row, path, number)
        except ValueError as error:
            quarantine(Quarantined(file=str(path), row=number, offset=-1, reason=f"window {number}: {error}"))


def lines_of(text: str, path: Path, quarantine: Quarantine) -> Iterator[str]:
    """The lines of a film; a block without its times is quarantined under its number."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for number, found in enumerate(_BLOCK.finditer(text), 1):
        rows = found.group().split("\n")
        timed = next((index for index, row in enumerate(rows) if "-->" in row), None)
        if timed is None:
            if not rows[0].startswith(_HEADERS) and not all(row.strip().isdigit() for row in rows if row.strip()):
                quarantine(
                    Quarantined(file=str(path), row=number, offset=-1, reason=f"block {number} has no line of times: {rows[0][:40]!r}")
                )
            continue
        line = " ".join(html.unescape(_MARKUP.sub("", " ".join(rows[timed + 1 :]))).split())
        if line:
            yield line


def of_rows(rows: Iterable[Document], path: Path, settings: Sources, origin: Origin, quarantine: Quarantine) -> Iterator[Document]:
    """The documents of a file whose rows are lines, the film named in the column `origin.group`."""
    for number, film, lines in films(rows, path, origin.group, quarantine):
        for part, window in enumerate(windows(lines, settings.window, settings.stride), 1):
            yield Document(
                id=f"{path.name}#{number}:{part}",
                text="\n".join(" ".join(line.text.split()) for line in window),
                url=window[0].url,
                language=window[0].language,
                source=window[0].source,
                licence=window[0].licence,
                extra={origin.group: film},
                place=window[0].place,
            )


def films(rows: Iterable[Document], path: Path, group: str, quarantine: Quarantine) -> Iterator[tuple[int, str, Iterator[Document]]]:
    """Rows that stand together and name the same film: a running number, the film, its rows. Rows that name none are quarantined."""

    def named() -> Iterator[Document]:
        for row in rows:
            if row.extra.get(group) in (None, ""):
                reason = f"row {row.id} names no film: it has no `{group}`"
                quarantine(Quarantined(file=str(path), row=row.place.row, offset=row.place.offset, reason=reason))
            else:
                yield row

    for number, (film, found) in enumerate(itertools.groupby(named(), lambda row: str(row.extra[group])), 1):
        yield number, film, found


def windows(items: Iterable[Item], window: int, stride: int) -> Iterator[list[Item]]:
    """`window` items at a time, a new start every `stride`; the last may be short, and always brings an item that none before has."""
    held: list[Item] = []
    fresh = False
    for item in items:
        held.append(item)
        fresh = True
        if len(held) == window:
            yield list(held)
            del held[:stride]
            fresh = False
    if fresh:
        yield held
