"""What the rules measure: words, repeated characters, repeated words, special characters, words of a list. Pure functions of the text.

The definitions are SailCraft's (itself after the ROOTS corpus); README.md says where ours differ and why.
"""

from __future__ import annotations

import functools
import heapq
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from training.curation.words import LETTER_LIKE, words

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
    return [word for made in words(text, language) if (word := _letters(made))]


@functools.lru_cache(maxsize=2**16)
def _letters(word: str) -> str:
    if word.isalpha():
        return word
    start, end = 0, len(word)
    while start < end and (is_special(word[start]) or unicodedata.category(word[start])[0] == "M"):
        start += 1
    while start < end and is_special(word[end - 1]):
        end -= 1
    return word[start:end]


def special_ratio(text: str) -> float:
    """Special characters over all characters."""
    return sum(count for character, count in Counter(text).items() if is_special(character)) / len(text) if text else 0.0


def character_repetition(text: str, n: int) -> float:
    """The share of the most frequent n-grams of characters in all of them.

    Of d distinct n-grams, s of which occur once, the min(floor(sqrt(d)), d - s) most frequent are counted: in text without repetition none is.
    """
    counts = Counter(text[i : i + n] for i in range(len(text) - n + 1))
    repeated = [count for count in counts.values() if count > 1]
    top = min(math.isqrt(len(counts)), len(repeated))
    return sum(heapq.nlargest(top, repeated)) / (len(text) - n + 1) if top else 0.0


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
        lengths, place = [], 0
        while place < len(text):
            step = 1
            for phrase in self._starting.get(text[place], ()):
                if len(phrase) == 1 or tuple(text[place : place + len(phrase)]) == phrase:
                    step = len(phrase)
                    lengths.append(step)
                    break
            place += step
        return lengths

    def occurrences(self, text: Sequence[str]) -> int:
        """How often a word or phrase of the list occurs."""
        return len(self._found(text))

    def covered(self, text: Sequence[str]) -> int:
        """How many words of the text belong to one of the list."""
        return sum(self._found(text))
