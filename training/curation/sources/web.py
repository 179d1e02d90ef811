"""Crawls: the main text of the HTML pages of a WARC file, and the text of the conversion records of a WET file.

Kept are responses of status 2xx whose type is HTML (where none is given, that look like it); everything else is counted by what it is. A page
is unpacked within the limit, decoded (`charset.py`) and its main text taken by trafilatura. `url` is the target, `date` the capture's.
"""

from __future__ import annotations

import io
import logging
import zlib
from collections import Counter
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

from training.curation import documents
from training.curation.documents import Document, Quarantine, Quarantined
from training.curation.sources import charset
from training.curation.sources.records import Record, records
from training.curation.sources.settings import Sources

HTML = ("text/html", "application/xhtml+xml")


def read(path: Path, settings: Sources, quarantine: Quarantine, skipped: Counter[str]) -> Iterator[Document]:
    """The documents of a WARC or WET file."""
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # what it complains of is counted here
    for record in records(path, settings.largest_record, quarantine):
        try:
            text = _text(record, settings, skipped)
            if text is None:
                continue
            own = record.headers.get("warc-record-id", "").strip("<>").removeprefix("urn:uuid:")
            row = {
                "id": f"{path.name}#{record.number}" + (f":{own}" if own else ""),
                "record": own,
                "text": text,
                "url": record.headers.get("warc-target-uri", "").strip("<>"),
                "date": record.headers.get("warc-date", ""),
            }
            yield documents.document(row, path, record.number, record.offset)
        except ValueError as error:
            quarantine(Quarantined(file=str(path), row=record.number, offset=record.offset, reason=str(error)))


def _text(record: Record, settings: Sources, skipped: Counter[str]) -> str | None:
    """The text of a record, None where it is counted as skipped. Raises ValueError saying what is amiss."""
    kind = record.headers.get("warc-type", "").lower()
    if kind == "conversion":
        try:
            return record.block.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"its text is not UTF-8 at byte {error.start}") from error
    if kind != "response":
        skipped[f"record type {kind or 'unknown'}"] += 1
        return None
    if not record.headers.get("content-type", "application/http").lower().startswith("application/http"):
        skipped["a response that is not HTTP"] += 1
        return None
    page = _page(record.block, settings.largest_record, skipped)
    if page is None:
        return None
    text = main_text(page, settings)
    if not text:
        skipped["no main text"] += 1
    return text or None


def _page(block: bytes, largest: int, skipped: Counter[str]) -> str | None:
    """The HTML of an HTTP response, None where it is counted as skipped. Raises ValueError."""
    from warcio.bufferedreaders import ChunkedDataReader
    from warcio.statusandheaders import StatusAndHeadersParser, StatusAndHeadersParserException

    stream = io.BytesIO(block)
    try:
        head = StatusAndHeadersParser(["HTTP/"]).parse(stream)
    except (StatusAndHeadersParserException, EOFError) as error:
        raise ValueError("it holds no HTTP response") from error
    status = next((word for word in f"{head.protocol} {head.statusline}".split() if word.isdigit() and len(word) == 3), "unknown")
    if not status.startswith("2"):
        skipped[f"status {status}"] += 1
        return None
    message = Message()
    message["content-type"] = (head.get_header("content-type") or "").replace("\r", " ").replace("\n", " ")
    told = (head.get_header("content-type") or "").split(";")[0].strip().lower()
    body = stream.read()
    if (head.get_header("transfer-encoding") or "").lower() == "chunked":
        body = ChunkedDataReader(io.BytesIO(body)).read()
    packing = (head.get_header("content-encoding") or "").strip().lower()
    if packing in ("gzip", "x-gzip", "deflate"):
        body = _unpacked(body, largest)
    elif packing not in ("", "identity"):
        skipped[f"content encoding {packing}"] += 1
        return None
    if told not in HTML and (told or not body[:512].lstrip().lower().startswith((b"<!doctype html", b"<html"))):
        skipped[f"content type {told or 'unknown'}"] += 1
        return None
    return charset.decode(body, str(message.get_param("charset") or ""))


def _unpacked(body: bytes, largest: int) -> bytes:
    """What a compressed body holds; itself where it is not compressed, as crawlers often unpack and leave the header. Raises ValueError."""
    for window in (47, -15):  # gzip or zlib by its head; deflate without one
        machine = zlib.decompressobj(window)
        try:
            found = machine.decompress(body, largest + 1)
        except zlib.error:
            continue
        if len(found) > largest:
            raise ValueError(f"it unpacks to more than the limit of {largest} bytes (sources.largest_record)")
        if not machine.eof:
            raise ValueError("its compressed body is torn")
        return found
    return body


def main_text(html: str, settings: Sources) -> str:
    """The main text of a page, "" for none. Raises ValueError where the page cannot be taken apart."""
    import trafilatura

    try:
        found = trafilatura.extract(
            html,
            favor_precision=settings.favour == "precision",
            favor_recall=settings.favour == "recall",
            include_comments=settings.comments,
            include_tables=settings.tables,
        )
    except Exception as error:  # a page can break lxml and its readers in ways of their own; none may end a crawl
        raise ValueError(f"its main text cannot be taken: {type(error).__name__}: {error}") from error
    return (found or "").strip()
