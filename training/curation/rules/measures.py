"""What the rules measure: words, repeated characters, repeated words, special characters, words of a list. Pure functions of the text.

The definitions are SailCraft's (itself after the ROOTS corpus); README.md says where ours differ and why.
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from training.curation.words import LETTER_LIKE, words

Numbers = np.ndarray[Any, np.dtype[np.uint64]]
_POINTS = 0x20000  # a text with characters beyond, seldom met, is counted by sorting: a table of all of Unicode takes longer to fill

# A seam between words and a joiner within one are part of how Khmer and others are written; the variation selectors belong to emoji.
_WRITING = frozenset("\u200b\u200c" + LETTER_LIKE)


@functools.cache
def is_special(character: str) -> bool:
    """Whether a character is no letter and no mark on one: punctuation, digits, spaces, symbols, emoji."""
    if character in _WRITING:
        return False
    return unicodedata.category(character)[0] not in "LM" or 0xFE00 <= ord(character) <= 0xFE0F


def letter_words(text: str, language: str) -> list[str]:
    """The words of the text without special characters at their ends; a word of digits only is none."""
    return words(text, language, _letters)


def _letters(word: str) -> str:
    if word.isalpha():
        return word
    start, end = 0, len(word)
    while start < end and (is_special(word[start]) or unicodedata.category(word[start])[0] == "M"):
        start += 1
    while start < end and is_special(word[end - 1]):
        end -= 1
    return word[start:end]


@functools.lru_cache(maxsize=1)
def _counted(text: str) -> tuple[list[str], list[int], Numbers]:
    """The distinct characters of a text, how often each occurs, and the text as their numbers: what two measures of one text begin with."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    if points.max(initial=0) < _POINTS:
        table = np.bincount(points)
        distinct = np.flatnonzero(table)
        counts = table[distinct]
        table[distinct] = np.arange(len(distinct))
        numbers = table[points]
    else:
        distinct, numbers, counts = np.unique(points, return_inverse=True, return_counts=True)
    return [chr(point) for point in distinct.tolist()], counts.tolist(), numbers.astype(np.uint64)


def special_ratio(text: str) -> float:
    """Special characters over all characters."""
    if not text:
        return 0.0
    characters, counts, _ = _counted(text)
    return sum(count for character, count in zip(characters, counts, strict=True) if is_special(character)) / len(text)


def character_repetition(text: str, n: int) -> float:
    """The share of the most frequent n-grams of characters in all of them.

    Of d distinct n-grams, s of which occur once, the min(floor(sqrt(d)), d - s) most frequent are counted: in text without repetition none is.
    """
    total = len(text) - n + 1
    if total < 1:
        return 0.0
    characters, _, numbers = _counted(text)
    grams = np.sort(_grams(numbers, len(characters), n))
    ends = np.append(np.flatnonzero(grams[1:] != grams[:-1]), total - 1)
    counts = np.diff(ends, prepend=-1)
    repeated = counts[counts > 1]
    top = min(math.isqrt(len(counts)), len(repeated))
    return int(np.sort(repeated)[len(repeated) - top :].sum()) / total if top else 0.0


def _grams(numbers: Numbers, distinct: int, n: int) -> Numbers:
    """A number for each n-gram of a row of numbers below `distinct`: equal for equal n-grams, and for them alone.

    Shorter n-grams are the digits of longer ones, as many as 64 bits hold; where n needs more, what is made is numbered anew and put together again.
    The last digit may lie over the one before it.
    """
    length = 1
    while length < n:
        digits, size = 1, distinct
        while digits * length < n and size * distinct <= 2**64:
            digits, size = digits + 1, size * distinct
        longer = min(n, digits * length)
        grams = np.zeros(len(numbers) - (longer - length), dtype=np.uint64)
        for digit in range(digits):
            start = min(digit * length, longer - length)
            grams *= np.uint64(distinct)
            grams += numbers[start : start + len(grams)]
        length, numbers = longer, grams
        if length < n:
            found, places = np.unique(grams, return_inverse=True)
            distinct, numbers = len(found), places.astype(np.uint64)
    return numbers


def word_repetition(found: Sequence[str], n: int) -> float:
    """The share of n-grams of words that occur more than once, every occurrence counted, in all of them."""
    if len(found) < n:
        return 0.0
    counts = Counter(zip(*(found[i:] for i in range(n)), strict=False))
    return sum(count for count in counts.values() if count > 1) / counts.total()


class Phrases:
    """A list of words and phrases, found in a text as whole words: never within a word, never across the ends of two."""

    def __init__(self, phrases: Iterable[str], language: str) -> None:
        """Cut the phrases as the language's texts are cut, so that a word of several units is found as those units in a row."""
        self._starting: dict[str, list[tuple[str, ...]]] = {}
        for phrase in {tuple(letter_words(phrase, language)) for phrase in phrases} - {()}:
            self._starting.setdefault(phrase[0], []).append(phrase)
        for starting in self._starting.values():
            starting.sort(key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._starting)

    def _found(self, text: Sequence[str]) -> list[int]:
        """The lengths, in words, of the occurrences from left to right, the longest first, none overlapping."""
        lengths, free = [], 0
        for place in [place for place, word in enumerate(text) if word in self._starting]:
            if place < free:
                continue
            for phrase in self._starting[text[place]]:
                if len(phrase) == 1 or tuple(text[place : place + len(phrase)]) == phrase:
                    lengths.append(len(phrase))
                    free = place + len(phrase)
                    break
        return lengths

    def occurrences(self, text: Sequence[str]) -> int:
        """How often a word or phrase of the list occurs."""
        return len(self._found(text))

    def covered(self, text: Sequence[str]) -> int:
        """How many words of the text belong to one of the list."""
        return sum(self._found(text))
