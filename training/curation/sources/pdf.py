"""The text of a PDF, pages in order, words whole that the end of a line has cut.

A hyphen at a line's end before a small letter is taken out, unless it is the hyphen of a doubled word: where the end of the first part is the
beginning of the second (three letters or more) it stays, so that "anak-/anak" and "kebiru-/biruan" keep theirs. A compound that happens to
break at its own hyphen loses it: the page does not tell the two apart. Glyphs that have no character become U+FFFD.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from training.curation import documents
from training.curation.documents import CurationError, Document, Quarantine, Quarantined
from training.curation.sources.settings import Sources

DOUBLED = 3  # letters that the two parts of a doubled word share at least
_CUT = re.compile(r"([^\W\d_]+)([-\u2010\u00ad])[ \t]*\n\s*([^\W\d_]+)")
_NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")


def read(path: Path, settings: Sources, quarantine: Quarantine, skipped: Counter[str]) -> Iterator[Document]:
    """The one document of a file; none where it cannot be read, or has no text."""
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it complains of is quarantined here
    try:
        size = path.stat().st_size
        if size > settings.largest_pdf:
            quarantine(_amiss(path, 1, f"a PDF of {size} bytes, over the limit of {settings.largest_pdf} (sources.largest_pdf)"))
            return
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise CurationError(f"{path} cannot be read: {error}") from error
    pages: list[str] = []
    try:
        reader = pypdf.PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            quarantine(_amiss(path, 1, "encrypted: it opens with a password only"))
            return
        count = len(reader.pages)
    except Exception as error:  # a broken file can raise anything in its reader; none may end the run
        quarantine(_amiss(path, 1, f"a broken or unreadable PDF: {type(error).__name__}: {error}"))
        return
    for number in range(1, count + 1):
        try:
            pages.append(_NO_CHARACTER.sub("\ufffd", reader.pages[number - 1].extract_text()).strip())
        except Exception as error:  # the same, of one page
            quarantine(_amiss(path, number, f"page {number} cannot be read: {type(error).__name__}: {error}"))
    text = whole_words("\n\n".join(page for page in pages if page))
    if not text.strip():
        skipped["a PDF without text"] += 1
        return
    yield documents.document({"id": f"{path.name}#{digest}", "text": text, "pages": count}, path, 1)


def _amiss(path: Path, row: int, reason: str) -> Quarantined:
    return Quarantined(file=str(path), row=row, offset=-1, reason=reason)


def whole_words(text: str) -> str:
    """`text` with the words joined that a line's end has cut."""
    joined = _CUT.sub(_joined, text)
    return joined.replace("\u00ad", "")


def _joined(found: re.Match[str]) -> str:
    before, hyphen, after = found.groups()
    if hyphen == "\u00ad":
        return before + after
    if not after[0].islower():
        return found.group()
    low = before.lower()
    doubled = any(low.endswith(after[:length].lower()) for length in range(DOUBLED, len(after) + 1))
    return f"{before}-{after}" if doubled else before + after
