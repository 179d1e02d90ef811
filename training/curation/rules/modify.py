"""What the rules change in a text before they measure it: spaces, punctuation, words with a piece of a URL, words too long to be any.

In this order. Runs of spaces, tabs and newlines become one; spaces at the ends of lines go. Modifying twice changes nothing more.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from training.curation.rules.measures import is_special
from training.curation.rules.parameters import Limits
from training.curation.words import longest, pieces

URL_BITS = ("http", "www", ".com", "href", "//")
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
    text = _tidied(text, " ".join)
    most = limits.longest_word or sys.maxsize
    urls = limits.url_words and has_url_bits(text)
    # Most texts hold nothing to drop. Where phrases are longer than a word may be, the text is cut, and the measures find it so.
    if not urls and (max(map(len, text.split()), default=0) <= most or longest(text, language) <= most):
        return text, {}
    counts = {"words with a piece of a URL": 0, "words too long": 0}
    text = _tidied(text, lambda words: " ".join(_kept(words, urls, most, language, counts)))
    return text, {cause: count for cause, count in counts.items() if count}


def has_url_bits(text: str) -> bool:
    """Whether one of URL_BITS stands in the text, in whatever case."""
    lower = text.lower()
    return any(bit in lower for bit in URL_BITS)


def _tidied(text: str, join: Callable[[list[str]], str]) -> str:
    """The text with its words joined again, and without empty fields and lines."""
    lines = ("\t".join(filter(None, (join(field.split()) for field in line.split("\t")))) for line in text.split("\n"))
    return "\n".join(filter(None, lines))


def _kept(words: Sequence[str], urls: bool, most: int, language: str, counts: dict[str, int]) -> Iterator[str]:
    """The words that stay. In a script without spaces only the run of other characters goes (a URL glued to Thai), not the whole phrase."""
    for word in words:
        if len(word) > most or (urls and has_url_bits(word)):
            word = "".join(piece for piece in pieces(word, language) if not _dropped(piece, urls, most, counts))
        if word:
            yield word


def _dropped(piece: str, urls: bool, most: int, counts: dict[str, int]) -> bool:
    if urls and has_url_bits(piece):
        counts["words with a piece of a URL"] += 1
        return True
    if len(piece) > most and _length(piece) > most:
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
