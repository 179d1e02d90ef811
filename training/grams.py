"""Character n-grams within words, and scripts, looked up for many texts at once: numpy moves every position of every text one letter on together.

The known n-grams are a table: from a place (the letters read so far) a letter leads to another place, or nowhere. The values of an n-gram and of those
it begins with are added up at its place, so a position of a text costs a look-up a letter and one row. Values are whole numbers: their sums
are the same in any order, so what a text is given depends on no text beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from training.languages import SCRIPTS, script_of

Numbers = npt.NDArray[np.int64]
Symbols = npt.NDArray[np.uint8]
TOGETHER = 1 << 16  # characters that are looked at together: what they take stays in a core's cache
SCRIPT_NAMES = (*sorted(SCRIPTS), "other")  # the columns of `script_counts`
JOINS = "'’\u2011-"  # within a word where they stand between letters; symbols 1 to 4
_SPACE, _HYPHEN, _LAST = 0, 4, 254
_ASKED_FIRST = 255
_LETTER = re.compile(r"[^\W\d_]")


class PointTable:
    """A number from 0 to 254 for each character; `of` is asked once for each, when it is first met."""

    def __init__(self, of: Callable[[str], int]) -> None:
        self._of = of
        self._known = np.full(0x110000, _ASKED_FIRST, dtype=np.uint8)

    def __call__(self, text: str) -> Symbols:
        """The numbers of a text's characters, lone surrogates too; the array is the caller's."""
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        found = self._known[points]
        if new := set(points[found == _ASKED_FIRST].tolist()):
            for point in new:
                self._known[point] = self._of(chr(point))
            found = self._known[points]
        return found


def together(texts: Sequence[str], most: int = TOGETHER) -> Iterator[tuple[list[int], list[str]]]:
    """The texts in groups of at most `most` characters, each with its number; a longer text is cut, at a space where there is one."""
    numbers: list[int] = []
    pieces: list[str] = []
    size = 0
    for number, text in enumerate(texts):
        begin = 0
        while True:
            end = len(text)
            if end - begin > most:
                end = text.rfind(" ", begin + 1, begin + most)
                end = end if end > 0 else begin + most
            if size + end - begin > most and pieces:
                yield numbers, pieces
                numbers, pieces, size = [], [], 0
            numbers.append(number)
            pieces.append(text if end - begin == len(text) else text[begin:end])
            size, begin = size + end - begin, end
            if begin == len(text):
                break
    if pieces:
        yield numbers, pieces


def _column(letter: str) -> int:
    script, _ = script_of(letter)
    return SCRIPT_NAMES.index(script) if script else len(SCRIPT_NAMES)


_script = PointTable(_column)


def script_counts(texts: Sequence[str]) -> Numbers:
    """Letters and vowel signs of each script, [texts, SCRIPT_NAMES], as `scripts_of` counts them. The texts are in normal form C."""
    width = len(SCRIPT_NAMES) + 1
    counts = np.zeros((len(texts), width), dtype=np.int64)
    for numbers, pieces in together(texts):
        of = np.repeat(np.arange(len(pieces)) * width, [len(piece) for piece in pieces])
        found = np.bincount(of + _script("".join(pieces)), minlength=len(pieces) * width)
        np.add.at(counts, numbers, found.reshape(-1, width))
    return counts[:, :-1]


class Grams:
    """The places of known n-grams, and of whatever they begin with. Place 0 is nowhere; a longer beginning has a higher place."""

    def __init__(self, known: Iterable[str]) -> None:
        begins = {gram[:end] for gram in known for end in range(1, len(gram) + 1)}
        letters = sorted({letter for gram in begins for letter in gram} - {" ", *JOINS})
        if _HYPHEN + len(letters) >= _LAST:
            raise ValueError(f"{len(letters)} different letters in the n-grams; at most {_LAST - _HYPHEN - 1} can be told apart")
        self._symbol = {letter: number for number, letter in enumerate([" ", *JOINS, *letters])}
        self._unknown = len(self._symbol)
        self._symbols = PointTable(self._symbol_of)
        ordered = sorted(begins, key=lambda gram: (len(gram), gram))
        self._place = {gram: number for number, gram in enumerate(ordered, start=1)}
        self.longest = len(ordered[-1]) if ordered else 1
        self._width = self._unknown + 1
        inner = 1 + sum(len(gram) < self.longest for gram in ordered)  # no letter leads on from the longest
        self._first = np.zeros(self._width, dtype=np.int32)
        self._next = np.zeros(inner * self._width, dtype=np.int32)
        for gram, place in self._place.items():
            symbol = self._symbol[gram[-1]]
            if len(gram) == 1:
                self._first[symbol] = place
            else:
                self._next[self._place[gram[:-1]] * self._width + symbol] = place

    def values(self, of: Mapping[str, Sequence[int]], width: int) -> npt.NDArray[np.int32]:
        """What `of` says of n-grams, [places, width]; at each place with what it says of those that the place begins with."""
        found = np.zeros((len(self._place) + 1, width), dtype=np.int64)
        for gram, place in self._place.items():  # shorter ones first
            found[place] = found[self._place.get(gram[:-1], 0)]
            if gram in of:
                found[place] += np.asarray(of[gram], dtype=np.int64)
        if np.abs(found).max() > np.iinfo(np.int32).max:
            raise ValueError("the values of n-grams are too large to be added up")
        return found.astype(np.int32)

    def sums(self, texts: Sequence[str], whole: npt.NDArray[np.int32], parted: npt.NDArray[np.int32], size: int) -> tuple[Numbers, ...]:
        """Over the n-grams in the words of each text: the sum of `whole`; that of `parted` over those of up to `size` letters; and how many words' letters.

        For the last two a word ends at an apostrophe too; n-grams have the spaces around a word. The texts are lower-case, in normal form C.
        """
        totals = tuple(np.zeros((len(texts), width), dtype=np.int64) for width in (whole.shape[1], parted.shape[1], 1))
        for numbers, pieces in together(texts):
            lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces)) + 1  # each with the space before it
            starts = np.cumsum(lengths) - lengths
            symbols = self._words(f" {' '.join(pieces)} {' ' * self.longest}")
            count = int(lengths.sum())
            own = np.add.reduceat(whole[self._places(symbols, count, self.longest)], starts, axis=0, dtype=np.int64)
            symbols[(symbols > _SPACE) & (symbols < _HYPHEN)] = _SPACE
            short = np.add.reduceat(parted[self._places(symbols, count, size)], starts, axis=0, dtype=np.int64)
            letters = np.add.reduceat(symbols[:count] != _SPACE, starts, dtype=np.int64)[:, None]
            for total, found in zip(totals, (own, short, letters), strict=True):
                np.add.at(total, numbers, found)
        return totals

    def _symbol_of(self, letter: str) -> int:
        if letter in self._symbol:
            return self._symbol[letter]
        return self._unknown if _LETTER.match(letter) else _SPACE

    def _words(self, text: str) -> Symbols:
        """The symbols of a text that has a space at either end: what is in no word is a space."""
        symbols = self._symbols(text)
        (joins,) = np.nonzero((symbols > _SPACE) & (symbols <= _HYPHEN))
        within = (symbols[joins - 1] > _HYPHEN) & (symbols[joins + 1] > _HYPHEN)
        symbols[joins[~within]] = _SPACE
        return symbols

    def _places(self, symbols: Symbols, count: int, longest: int) -> npt.NDArray[np.int32]:
        """For each of the first positions the place of the longest known beginning there, of at most `longest` letters."""
        here = self._first[symbols[:count]]
        deepest = here
        for further in range(1, longest):
            here = self._next[here * np.int32(self._width) + symbols[further : further + count]]
            deepest = np.maximum(deepest, here)
        return deepest
