"""The truth of the dirty crawl: what was planted on each page, and what curation should make of it.

One line of `truth.jsonl` a response record of the crawl. KINDS says of each kind of trouble which layers may drop its pages, the intended one
first; `extract` stands for pages that never become documents (skipped or quarantined). Similarity is the exact Jaccard of sets of shingles, by
units of two kinds: words (white space parts them; a character of Thai, Lao, Khmer, Burmese and Han is one by itself) and characters.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from training.languages import SCRIPTS
from training.world.language import WorldError

FILE = "truth.jsonl"
LICENCE, SOURCE = "Apache-2.0", "training/world/crawl"
NEAR, KIN = 0.8, (0.2, 0.65)  # similarity of planted near duplicates at least; and of relatives that are none
SHINGLE = 5  # units
Fate = Literal["keep", "drop", "any"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of trouble: what should become of its pages, the layers that may drop them, and the share of a language's pages it takes."""

    fate: Fate
    layers: tuple[str, ...] = ()
    share: float = 0.0


_SPAM = ("rules", "quality", "perplexity", "language", "lines", "near", "extract")
KINDS: Mapping[str, Kind] = {
    "exact": Kind(fate="drop", layers=("near", "exact"), share=0.04),  # the text of another page under another URL
    "near": Kind(fate="drop", layers=("near",), share=0.05),  # the same, some sentences changed
    "kin": Kind(fate="keep", share=0.02),  # some sentences of another page, too few for a duplicate
    "url": Kind(fate="drop", layers=("url",), share=0.04),  # the same URL once more, with a shorter text
    "passage": Kind(fate="keep", share=0.04),  # a passage that stands in others too
    "stuffing": Kind(fate="drop", layers=_SPAM, share=0.02),
    "repetition": Kind(fate="drop", layers=_SPAM, share=0.02),
    "links": Kind(fate="drop", layers=_SPAM, share=0.02),
    "salad": Kind(fate="drop", layers=("quality", "perplexity", "rules", "language"), share=0.02),
    "wrong_language": Kind(fate="drop", layers=("language",), share=0.03),  # or kept under its own language
    "mixed": Kind(fate="drop", layers=("language",), share=0.02),
    "charset": Kind(fate="keep", share=0.02),  # UTF-8 that is declared as something else
    "mojibake": Kind(fate="drop", layers=("rules", "language", "quality", "perplexity", "extract"), share=0.02),
    "broken_utf8": Kind(fate="any", share=0.01),  # a letter cut in two: kept (without it) or quarantined
    "nul": Kind(fate="any", share=0.01),
    "private": Kind(fate="keep", share=0.05),
    "contaminated": Kind(fate="drop", layers=("decontaminate",), share=0.03),  # or kept without the evaluation text
    "short": Kind(fate="drop", layers=_SPAM, share=0.02),
    "not_html": Kind(fate="drop", layers=("extract",), share=0.01),
    "missing": Kind(fate="drop", layers=("extract",), share=0.01),  # status 404
    "torn": Kind(fate="drop", layers=("extract",)),  # the last record of the crawl, its gzip cut
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of one record. `language` is that of its text, `declared` what the page says; `kind` "" for a page without trouble.

    `group`: pages planted together (a duplicate and its original). `favour`: the record that stays in its place. `jaccard`: with `favour`, by unit.
    `text`: what should be left of it. `passage`: the shared passage or the evaluation text. `private`: kind -> what must not be left.
    """

    record: str
    url: str
    host: str
    language: str
    declared: str
    kind: str = ""
    group: str
    fate: Fate
    layers: tuple[str, ...] = ()
    favour: str = ""
    jaccard: Mapping[str, float] = dataclasses.field(default_factory=dict)
    passage: str = ""
    private: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    text: str = ""
    licence: str = LICENCE
    source: str = SOURCE

    @property
    def masked(self) -> dict[str, int]:
        """How many of each kind of personal data there are to mask."""
        return {name: len(found) for name, found in self.private.items()}


def write(truths: Sequence[Truth], path: Path) -> None:
    """Write one line a record."""
    rows = ({**dataclasses.asdict(one), "masked": one.masked} for one in truths)
    path.write_bytes(b"".join(json.dumps(row, ensure_ascii=False, sort_keys=True).encode() + b"\n" for row in rows))


def read(path: Path) -> list[Truth]:
    """The truth of a crawl, in the order of its records. Raises WorldError naming file and line."""
    found: list[Truth] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise WorldError(f"{path} cannot be read ({error}); make a crawl with python -m training.world.crawl DIR") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            masked = row.pop("masked", {})
            one = Truth(**{**row, "layers": tuple(row["layers"]), "private": {key: tuple(held) for key, held in row["private"].items()}})
            if masked != one.masked:
                raise ValueError("its counts of personal data are not what it lists")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WorldError(f"{path}, line {number}: {error}; the file is not one of python -m training.world.crawl") from error
        found.append(one)
    return found


# -------------------------------------------------------------------------------------------------------------- similarity

_ALONE = "".join(f"{chr(low)}-{chr(high)}" for name in ("Thai", "Lao", "Myanmar", "Khmer", "Han") for low, high in SCRIPTS[name])
_UNIT = re.compile(rf"[{_ALONE}]|[^\s{_ALONE}]+")


def shingles(text: str, unit: Literal["words", "characters"]) -> frozenset[tuple[str, ...]]:
    """The sets of SHINGLE units in a row, in lower case; a shorter text is one shingle, an empty one none."""
    folded = " ".join(text.lower().split())
    units = _UNIT.findall(folded) if unit == "words" else list(folded)
    if not units:
        return frozenset()
    return frozenset(tuple(units[at : at + SHINGLE]) for at in range(max(1, len(units) - SHINGLE + 1)))


def jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """The share of the shingles of either that are of both; 0 where there are none."""
    return len(one & other) / len(one | other) if one or other else 0.0


def similarity(one: str, other: str) -> dict[str, float]:
    """The Jaccard similarity of two texts by either unit."""
    units: tuple[Literal["words", "characters"], ...] = ("words", "characters")
    return {unit: jaccard(shingles(one, unit), shingles(other, unit)) for unit in units}
