"""Whether a document of the corpus still holds what the profile's suites ask: exact n-grams, looked for one by one.

Nothing here is the layer's (`training/curation/decontaminate.py`): texts are compared by their letters, marks and digits alone, so punctuation hides
nothing either; an n-gram is a string of bytes and no hash of one. Every STRIDE-th n-gram of an evaluation text, and its last, is looked for at every
place of a document. A text shorter than an n-gram is held where all of it stands there; one shorter than half of it is a phrase.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

GRAM = 50  # bytes: what stands between training and evaluation text elsewhere too
SHORTEST = GRAM // 2
STRIDE = 5


def folded(text: str) -> bytes:
    """The letters, marks and digits of a text, in compatible forms and without case."""
    return "".join(one for one in unicodedata.normalize("NFKC", text).casefold() if unicodedata.category(one)[0] in "LMN").encode()


class Asked:
    """The evaluation texts (suite, sample, text), each once, and how much of which a document holds."""

    def __init__(self, texts: Iterable[tuple[str, str, str]]) -> None:
        self.names: list[str] = []
        self._sought: list[int] = []  # n-grams of each text that are looked for
        self._grams: dict[bytes, list[int]] = defaultdict(list)
        self._short: dict[bytes, list[tuple[bytes, int]]] = defaultdict(list)
        met = set()
        for suite, sample, text in texts:
            if len(data := folded(text)) < SHORTEST or data in met:
                continue
            met.add(data)
            number = len(self.names)
            self.names.append(f"{suite} {sample}")
            if len(data) < GRAM:
                self._sought.append(0)
                self._short[data[:SHORTEST]].append((data, number))
                continue
            last = len(data) - GRAM
            grams = {data[at : at + GRAM] for at in (*range(0, last, STRIDE), last)}
            self._sought.append(len(grams))
            for gram in grams:
                self._grams[gram].append(number)

    def __len__(self) -> int:
        """How many texts are long enough to be looked for."""
        return len(self.names)

    def most(self, text: str) -> tuple[float, str]:
        """The largest share of an evaluation text that a document holds, and which one it is; (0, "") where it holds none of any."""
        data = folded(text)
        met: Counter[int] = Counter()
        for gram in {data[at : at + GRAM] for at in range(len(data) - GRAM + 1)} & self._grams.keys():
            met.update(self._grams[gram])
        shares = [(times / self._sought[number], number) for number, times in met.items()]
        if self._short:
            for at in range(len(data) - SHORTEST + 1):
                for whole, number in self._short.get(data[at : at + SHORTEST], ()):
                    if data.startswith(whole, at):
                        shares.append((1.0, number))
        share, number = max(shares, key=lambda one: (one[0], -one[1]), default=(0.0, -1))
        return share, self.names[number] if shares else ""
