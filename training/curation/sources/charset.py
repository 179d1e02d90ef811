"""The text of bytes whose encoding is stated by a header, by themselves, wrongly, or not at all."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

# What browsers take these names for (WHATWG Encoding): the larger set that pages declared so are really written in.
_MEANT = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_DECLARED = re.compile(rb"""<(?:meta|\?xml)\b[^>]*?\b(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_HEAD = 4096  # bytes in which a page declares its encoding
_SAMPLE = 64 * 2**10  # bytes that the guess is made from
DAMAGED = 20  # letters that are right to one that is broken, of text taken for damaged UTF-8


def decode(data: bytes, stated: str = "") -> str:
    """The text. Raises ValueError where no encoding fits.

    In this order: a byte order mark; UTF-8, where the bytes are that, or are but for a broken letter among 20 beyond ASCII (U+FFFD takes its
    place); the encoding `stated` outside (a header); what the page itself declares; the guess of charset-normalizer.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    if b"\0" not in data and (text := _utf8(data)) is not None:
        return text
    for name in _candidates(data, stated):
        try:
            text = data.decode(_MEANT.get(codecs.lookup(name).name, name))
        except (LookupError, UnicodeError, ValueError):
            continue
        if "\0" not in text:
            return text
    raise ValueError("its bytes are text in no encoding that is declared or can be told")


def _utf8(data: bytes) -> str | None:
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd") - data.count("\ufffd".encode())
    if not broken:
        return text
    right = sum(character > "\x7f" for character in text) - broken
    return text if broken * DAMAGED <= right else None


def _candidates(data: bytes, stated: str) -> Iterator[str]:
    if stated:
        yield stated
    if declared := _DECLARED.search(data[:_HEAD]):
        yield declared.group(1).decode("ascii", "replace")
    import charset_normalizer

    if best := charset_normalizer.from_bytes(data[:_SAMPLE]).best():
        yield best.encoding
