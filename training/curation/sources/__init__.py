"""Files into documents: crawls (WARC, WET), PDF, subtitles, bilingual pairs, JSONL and Parquet, the Hub's data sets.

    documents_of(path, settings, quarantine)    every document of a file, in order; the name's suffix, or an Origin, says what the file is

    .warc .warc.gz .wet .wet.gz   web.py        main text of 2xx HTML responses; the text of WET's conversion records
    .pdf                          pdf.py        pages in order, words joined that a line's end has cut
    .srt .vtt                     subtitles.py  one film a file, in windows of lines
    .jsonl[.gz|.zst] .parquet                   documents as they are; with an Origin's `kind` subtitles or pairs (bilingual.py)

What cannot be read is quarantined, what is not wanted (an image, a redirect) is counted in `skipped` by reason, and so a file leaves a trace
whatever is in it: one without any would be empty, and is quarantined as that. A URL that is none is remarked on, its document kept. Source, licence and language
that a document does not state come from the first Origin whose pattern its file matches. Ids are unique within a file by construction, and
between files of the same name where the format gives something to tell them by (a WARC record's own id, the digest of a PDF or SRT).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from training.curation import documents
from training.curation.addresses import is_address
from training.curation.documents import CurationError, Document, Quarantine, Quarantined
from training.curation.sources.hub import of_hub
from training.curation.sources.settings import Origin, Sources

__all__ = ["EMPTY", "NO_URL", "SUFFIXES", "Origin", "Sources", "documents_of", "of_hub"]

EMPTY = "an empty file: no document in it"
NO_URL = "its `url` is no address of the web (the document is kept)"
SHOWN = 120  # characters of such a URL
WEB = (".warc", ".warc.gz", ".wet", ".wet.gz")
SUBTITLES = (".srt", ".vtt")
SUFFIXES = (*WEB, ".pdf", *SUBTITLES, *documents.SUFFIXES)


def documents_of(path: Path, settings: Sources, quarantine: Quarantine, skipped: Counter[str] | None = None) -> Iterator[Document]:
    """The documents of a file, in order; `skipped` counts what is left out on purpose. Raises CurationError where the file is none of these."""
    skipped = Counter() if skipped is None else skipped
    origin = settings.origin(path)
    traces = skipped.total()

    def noted(amiss: Quarantined) -> None:
        nonlocal traces
        traces = -1
        quarantine(amiss)

    for made in _read(path, settings, origin, noted, skipped):
        traces = -1
        if made.url and not is_address(made.url):
            told = repr(made.url[:SHOWN]) + (f"... ({len(made.url):,} characters)" if len(made.url) > SHOWN else "")
            quarantine(Quarantined(file=str(path), row=made.place.row, offset=made.place.offset, reason=NO_URL, detail=told, kept=True))
        yield dataclasses.replace(
            made,
            source=made.source or origin.source,
            licence=made.licence or origin.licence,
            language=made.language or origin.language,
        )
    if traces == skipped.total():
        quarantine(Quarantined(file=str(path), row=0, offset=0, reason=EMPTY))


def _read(path: Path, settings: Sources, origin: Origin, quarantine: Quarantine, skipped: Counter[str]) -> Iterator[Document]:
    from training.curation.sources import bilingual, pdf, subtitles, web

    name = path.name.lower()
    if name.endswith(WEB):
        return web.read(path, settings, quarantine, skipped)
    if name.endswith(".pdf"):
        return pdf.read(path, settings, quarantine, skipped)
    if name.endswith(SUBTITLES):
        return subtitles.read(path, settings, quarantine)
    if not documents.suffix_of(path):
        raise CurationError(f"{path}: curation reads {', '.join(SUFFIXES)}")
    rows = documents.read(path, quarantine)
    match origin.kind:
        case "subtitles":
            return subtitles.of_rows(rows, path, settings, origin, quarantine)
        case "pairs":
            return bilingual.of_rows(rows, path, settings, origin, quarantine)
        case _:
            return rows
