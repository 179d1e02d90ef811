"""A small character n-gram model: what is embedded where no KenLM model is at hand. Interpolated Witten-Bell smoothing, order 5, numpy alone.

p(w | h) = (c(hw) + T(h) p(w | h')) / (c(h) + T(h)), with c(h) how often a character follows h, T(h) how many distinct ones do, h' one character
shorter; where nothing follows h, it is p(w | h'); below no context all characters are equally likely (Witten and Bell 1991; Chen and
Goodman 1999, 2.4). What the alphabet does not hold is one character, the unknown. A text starts after ORDER - 1 marks; its end is not predicted.
"""

from __future__ import annotations

import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.curation.documents import CurationError
from training.whole import whole

ORDER = 5
BITS = np.uint64(12)  # of a character's number: five of them fit 64 bits
UNKNOWN, START, FIRST = 0, 1, 2  # numbers: of what the alphabet does not hold, of the marks before a text, of the first letter
LARGEST = (1 << int(BITS)) - FIRST  # letters an alphabet can hold
BLOCK = 1 << 19  # characters that are scored at once

Keys = np.ndarray[Any, np.dtype[np.uint64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]


def plain(text: str) -> str:
    """A text as it is modelled: composed, in lower case, digits alike, white space one space."""
    folded = unicodedata.normalize("NFC", text).lower()
    return " ".join("".join("0" if letter.isdigit() else letter for letter in folded).split())


class CharacterModel:
    """Bits a character of texts. `train` or `load` makes one; equal texts give an equal model."""

    def __init__(self, letters: Keys, base: float, grams: Sequence[Keys], gain: Sequence[Floats], passed: Sequence[Floats]) -> None:
        """`letters` are the alphabet's code points, sorted; `base` what each character has of the unigrams whatever its count.

        `grams[k]` are the n-grams of k + 1 characters, sorted; `gain[k]` their c(hw) / (c(h) + T(h)), [grams]; `passed[k]` the T / (c + T) of each
        as a context, [grams].
        """
        self.letters, self.base, self.grams, self.gain, self.passed = letters, base, list(grams), list(gain), list(passed)

    @classmethod
    def train(cls, texts: Iterable[str]) -> CharacterModel:
        """A model of the texts. Raises CurationError where they hold no character."""
        held = [made for text in texts if (made := plain(text))]
        if not held:
            raise CurationError("there is no text to make a character model of")
        found = Counter(letter for text in held for letter in text)
        alphabet = sorted(sorted(found, key=lambda letter: (-found[letter], letter))[:LARGEST])
        letters = np.array([ord(letter) for letter in alphabet], dtype=np.uint64)
        row = _joined(held, letters)
        keys, grams, counts = row, [], []
        for length in range(1, ORDER + 1):
            if length > 1:
                keys = _longer(keys, row)
            start = np.uint64(sum(START << (int(BITS) * place) for place in range(length)))  # a context that is never predicted
            each, count = np.unique(np.append(keys[row != START], start), return_counts=True)
            grams.append(each)
            counts.append(count - (each == start))
        total, distinct = int(counts[0].sum()), int((counts[0] > 0).sum())
        gain, passed = [counts[0] / (total + distinct)], []
        for shorter in range(ORDER - 1):
            context = np.searchsorted(grams[shorter], grams[shorter + 1] >> BITS)
            follow = np.bincount(context, weights=counts[shorter + 1], minlength=len(grams[shorter]))
            kinds = np.bincount(context, weights=counts[shorter + 1] > 0, minlength=len(grams[shorter]))
            gain.append(counts[shorter + 1] / np.maximum(follow + kinds, 1)[context])
            passed.append(np.where(kinds > 0, kinds / np.maximum(follow + kinds, 1), 1.0))
        return cls(letters, distinct / (total + distinct) / (len(letters) + 1), grams, gain, passed)

    def log2(self, texts: Sequence[str]) -> list[Floats]:
        """log2 of the probability of each character of each text, the text as `plain` has it."""
        held = [plain(text) for text in texts]
        if not any(held):
            return [np.zeros(0) for _ in held]
        row = keys = _joined(held, self.letters)
        here = _places(self.grams[0], keys, np.ones(len(row), dtype=bool))  # of the n-gram that ends at each character; -1: never seen
        chance = self.base + np.where(here >= 0, self.gain[0][here], 0.0)
        for shorter in range(ORDER - 1):
            keys = _longer(keys, row)
            before = np.append(-1, here[:-1])  # of the context
            here = _places(self.grams[shorter + 1], keys, (before >= 0) & (here >= 0))
            chance *= np.where(before >= 0, self.passed[shorter][before], 1.0)
            chance += np.where(here >= 0, self.gain[shorter + 1][here], 0.0)
        return np.split(np.log2(chance[row != START]), np.cumsum([len(text) for text in held])[:-1])

    def bits(self, texts: Sequence[str]) -> Floats:
        """Bits a character of each text, [texts]; NaN for a blank one."""
        found: list[float] = []
        waiting: list[str] = []
        for number, text in enumerate(texts):
            waiting.append(text)
            if sum(map(len, waiting)) >= BLOCK or number == len(texts) - 1:
                found += [-float(each.mean()) if len(each) else float("nan") for each in self.log2(waiting)]
                waiting = []
        return np.array(found, dtype=np.float64)

    def save(self, path: Path) -> None:
        """Write the model, whole or not at all."""
        parts = {f"{what}{k}": part for what in ("grams", "gain", "passed") for k, part in enumerate(getattr(self, what))}
        with whole(path) as aside, aside.open("wb") as file:
            np.savez(file, letters=self.letters, base=np.array(self.base), **parts)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> CharacterModel:
        """Read a model that `save` wrote. Raises CurationError."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                parts = [
                    [stored[f"{what}{k}"] for k in range(count)]
                    for what, count in (("grams", ORDER), ("gain", ORDER), ("passed", ORDER - 1))
                ]
                return cls(stored["letters"], float(stored["base"]), *parts)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CurationError(f"{path} is no character model ({error}): let the perplexity layer make it again") from error


def _joined(texts: Sequence[str], letters: Keys) -> Keys:
    """The numbers of all characters, ORDER - 1 marks before each text."""
    marks = np.full(ORDER - 1, START, dtype=np.uint64)
    parts = []
    for text in texts:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
        place = np.minimum(np.searchsorted(letters, points), len(letters) - 1)
        parts += [marks, np.where(letters[place] == points, place + FIRST, UNKNOWN).astype(np.uint64)]
    return np.concatenate(parts)


def _longer(keys: Keys, row: Keys) -> Keys:
    """The n-grams that end at each character, one character longer than `keys`."""
    return (np.append(np.uint64(START), keys[:-1]) << BITS) | row


def _places(grams: Keys, keys: Keys, asked: np.ndarray[Any, np.dtype[np.bool_]]) -> Ints:
    """Where each key that is asked for stands among sorted n-grams; -1 for one that does not, or is not asked for."""
    found = np.full(len(keys), -1, dtype=np.int64)
    at = np.flatnonzero(asked)
    place = np.minimum(np.searchsorted(grams, keys[at]), len(grams) - 1)
    true = grams[place] == keys[at]
    found[at[true]] = place[true]
    return found
