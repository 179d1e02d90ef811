"""Layer `rules`: what can be said of a document without a model: SailCraft's modifications and filters, in its order.

    python -m training.curation rules --input a.jsonl --output out/ [--set rules.flagged=words.toml] [--set rules.parameters=ours.toml]

The text is first modified (modify.py), then measured (measures.py) against the limits of its language (parameters.toml); the first limit that it
does not keep is the reason why it is dropped. SailCraft's last two filters, language and perplexity, are the layers `language` and `perplexity`.
README.md states the definitions, the figures behind our own limits, and where we differ from SailCraft.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from training.curation.documents import CurationError, Document
from training.curation.layer import Decision, Judge, Layer
from training.curation.rules.measures import Phrases, character_repetition, letter_words, special_ratio, word_repetition
from training.curation.rules.modify import modify
from training.curation.rules.parameters import Limits, flagged_words, load
from training.recipe import later

EMPTY = "nothing left"
REASONS = (
    EMPTY,
    "number of words",
    "character repetition",
    "word repetition",
    "special characters",
    "stopwords",
    "flagged words",
)  # in the order in which they are tried


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules(Layer):
    """`parameters` is a TOML file laid over parameters.toml, language by language; `flagged` a TOML file of `iso = ["word", ...]`. "" is none.

    A document of a language without a table, or of none, is judged by the table `default`. The limits are those of pages. Where documents are
    single sentences, `least_words` stands for every language's least number of words (0: its own), and `stopwords` off asks for none: every
    ninth sentence in Cebuano and every sixth in Javanese has too few.
    """

    name: ClassVar[str] = "rules"
    files: ClassVar[tuple[str, ...]] = ("parameters", "flagged")
    version: ClassVar[int] = 2

    parameters: str = ""
    flagged: str = ""
    least_words: int = later(0)
    stopwords: bool = later(True)

    def __post_init__(self) -> None:
        """Refuse a number of words that is none."""
        if self.least_words < 0:
            raise CurationError(f"rules.least_words is {self.least_words}; 0 is each language's own, else it is 1 or more")

    def limits(self) -> dict[str, Limits]:
        """iso -> limits, as the settings change them."""
        found = load(self.parameters)
        if self.least_words:
            found = {iso: dataclasses.replace(own, words=(self.least_words, own.words[1])) for iso, own in found.items()}
        return found if self.stopwords else {iso: dataclasses.replace(own, least_stopwords=0.0) for iso, own in found.items()}

    def judge(self, work: Path) -> Judge:
        """The judge; raises CurationError where a file of the settings cannot be read or holds what is none."""
        limits = self.limits()
        stopwords = {iso: Phrases(found.stopwords.split(), iso) for iso, found in limits.items()}
        flagged = {iso: Phrases(listed, iso) for iso, listed in flagged_words(self.flagged).items()}

        def one(document: Document) -> Decision:
            iso = document.language
            mine = limits.get(iso, limits["default"])
            text, counts = modify(document.text, mine, iso)
            if not text:
                return Decision(reason=EMPTY, detail="by the modifications", counts=counts)
            lists = stopwords.get(iso, stopwords["default"]), flagged.get(iso) or flagged.get("default")
            for reason, detail in _failures(text, iso, mine, *lists):
                return Decision(reason=reason, detail=f"{reason} {detail}", counts=counts)
            return Decision(document=document if text == document.text else dataclasses.replace(document, text=text), counts=counts)

        def judge(documents: Sequence[Document], shard: int, first: int) -> list[Decision]:
            return [one(document) for document in documents]

        return judge


def _failures(text: str, iso: str, limits: Limits, stopwords: Phrases, flagged: Phrases | None) -> Iterator[tuple[str, str]]:
    """The limits that the text does not keep, in the order of REASONS: (reason, value and limit). Later ones are measured only when asked for."""
    words = letter_words(text, iso)
    least, most = limits.words
    if not least <= len(words) <= most:
        yield "number of words", f"{len(words)} < {least}" if len(words) < least else f"{len(words)} > {most}"
    yield from _over("character repetition", character_repetition(text, limits.character_n), limits.character_repetition)
    yield from _over("word repetition", word_repetition(words, limits.word_n), limits.word_repetition)
    yield from _over("special characters", special_ratio(text), limits.special)
    if stopwords and limits.least_stopwords:
        share = stopwords.covered(words) / max(1, len(words))
        if share < limits.least_stopwords:
            yield "stopwords", f"{share:.4f} < {limits.least_stopwords}"
    if flagged:
        yield from _over("flagged words", min(1.0, flagged.occurrences(words) / max(1, len(words))), limits.flagged)


def _over(reason: str, value: float, limit: float) -> Iterator[tuple[str, str]]:
    if value > limit:
        yield reason, f"{value:.4f} > {limit}"


def reasons(text: str, iso: str, limits: Limits, stopwords: Phrases) -> frozenset[str]:
    """Every limit that a modified text does not keep, not the first alone: what the evidence counts."""
    return frozenset(reason for reason, _ in _failures(text, iso, limits, stopwords, None)) if text else frozenset({EMPTY})
