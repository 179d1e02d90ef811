"""What the rules change in a text before they measure it: spaces, punctuation, words with a piece of a URL, words too long to be any.

In this order. Runs of spaces, tabs and newlines become one; spaces at the ends of lines go. Modifying twice changes nothing more.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator

from training.curation.rules.measures import is_special
from training.curation.rules.parameters import Limits
from training.curation.words import pieces

URL_BITS = ("http", "www", ".com", "href", "//")
_URL_BITS = re.compile("|".join(map(re.escape, URL_BITS)), re.IGNORECASE)
_LINES = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # each ends a line somewhere
_BLANKS = "\x1f\x84\ufeff\ufffc" + "".join(chr(p) for p in range(0x3001) if unicodedata.category(chr(p)) == "Zs" and p != 0x20)
_SPACES = str.maketrans(dict.fromkeys(_LINES, "\n") | dict.fromkeys(_BLANKS, " "))
_ANY_SPACE = re.compile(f"[{re.escape(_LINES + _BLANKS)}]")

# Punctuation of Unicode to that of ASCII; a fullwidth digit is its digit.
_ASCII = {
    **{chr(0xFF00 + p - 0x20): chr(p) for p in range(0x21, 0x7F) if not chr(p).isalpha()},
    **dict.fromkeys("“”„‟«»〝〞《》「」『』", '"'),
    **dict.fromkeys("‘’‚‛‹›〈〉", "'"),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    **dict.fromkeys("【〔", "["),
    **dict.fromkeys("】〕", "]"),
    "…": "...",
    "。": ".",
    "、": ",",
    "〜": "~",
}
_PUNCTUATION = str.maketrans(_ASCII)
_ANY_PUNCTUATION = re.compile(f"[{re.escape(''.join(_ASCII))}]")


def modify(text: str, limits: Limits, language: str) -> tuple[str, dict[str, int]]:
    """The modified text, "" where nothing is left, and how many words were dropped for either cause."""
    if _ANY_SPACE.search(text):
        text = text.replace("\r\n", "\n").translate(_SPACES)
    if limits.punctuation and _ANY_PUNCTUATION.search(text):
        text = text.translate(_PUNCTUATION)
    counts = {"words with a piece of a URL": 0, "words too long": 0}
    lines = []
    for line in text.split("\n"):
        fields = [" ".join(_kept(field, limits, language, counts)) for field in line.split("\t")]
        lines.append("\t".join(field for field in fields if field))
    return "\n".join(line for line in lines if line), {cause: count for cause, count in counts.items() if count}


def _kept(field: str, limits: Limits, language: str, counts: dict[str, int]) -> Iterator[str]:
    """The words that stay. In a script without spaces only the run of other characters goes (a URL glued to Thai), not the whole phrase."""
    longest = limits.longest_word or sys.maxsize
    for word in field.split(" "):
        if len(word) > longest or (limits.url_words and _URL_BITS.search(word)):
            word = "".join(piece for piece in pieces(word, language) if not _dropped(piece, limits.url_words, longest, counts))
        if word:
            yield word


def _dropped(piece: str, url_words: bool, longest: int, counts: dict[str, int]) -> bool:
    if url_words and _URL_BITS.search(piece):
        counts["words with a piece of a URL"] += 1
        return True
    if len(piece) > longest and _length(piece) > longest:
        counts["words too long"] += 1
        return True
    return False


def _length(word: str) -> int:
    """The length without special characters at the ends."""
    start, end = 0, len(word)
    while start < end and is_special(word[start]):
        start += 1
    while start < end and is_special(word[end - 1]):
        end -= 1
    return end - start
