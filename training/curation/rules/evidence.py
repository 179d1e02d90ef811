"""The figures behind the limits: every measure on real text of the mirror and on the small world's, and what the rules let through.

    python -m training.curation.rules.evidence --hub DIR [--language khm ...]     # the table of README.md
    python -m training.curation.rules.evidence --hub DIR --speed                  # documents a second of one core, of rules and pii

Passages of a set are joined in order to documents of at least LEAST characters, as a page would hold them. Nothing is copied: text is read,
measured and forgotten.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from training.curation.rules import reasons
from training.curation.rules.measures import Phrases, character_repetition, letter_words, special_ratio, word_repetition
from training.curation.rules.modify import modify
from training.curation.rules.parameters import load
from training.languages import LANGUAGES, by_code

LEAST = {"Latin": 500, "Han": 150}  # characters of a document; other scripts write a page of a paragraph or two in
LEAST_OTHER = 300
MOST_DOCUMENTS = 200  # of a set, from its beginning
WORLD_DOCUMENTS = 200
NO_PAGES = frozenset({"exam"})  # questions with four options each: the options of one question repeat one another, as no page does


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """The measures of one document after the modifications, and every reason that would drop it."""

    words: int
    character_repetition: float
    word_repetition: float
    special: float
    stopwords: float
    lost: float  # share of the characters that the modifications took
    reasons: frozenset[str]


def joined(texts: Iterable[str], least: int) -> Iterator[str]:
    """Texts in a row, a line each, until they have `least` characters; what is left at the end goes with the document before it."""
    made: list[list[str]] = [[]]
    for text in texts:
        if sum(map(len, made[-1])) >= least:
            made.append([])
        made[-1].append(text)
    if len(made) > 1 and sum(map(len, made[-1])) < least:
        made[-2].extend(made.pop())
    yield from ("\n".join(part) for part in made if part)


def real(hub: Path, iso: str) -> dict[str, list[str]]:
    """set -> documents of the language in the mirror."""
    from training.world.evidence import passages

    script = by_code(iso).script
    found = {}
    for name, group in groupby(passages(hub, iso), key=lambda passage: passage.key.partition("/")[0]):
        if name in NO_PAGES:
            continue
        found[name] = list(joined((passage.text for passage in group), LEAST.get(script, LEAST_OTHER)))[:MOST_DOCUMENTS]
    return found


def world(iso: str) -> list[str]:
    """Documents of the small world."""
    from training.recipe import WorldText
    from training.world.text import documents

    return [made.text for made in documents(WorldText(language=iso, documents=WORLD_DOCUMENTS))]


def measure(texts: Sequence[str], iso: str) -> list[Measured]:
    """The measures of each document, with the n-grams of its language's limits."""
    limits = load()[iso]
    stopwords = Phrases(limits.stopwords.split(), iso)
    measured = []
    for text in texts:
        modified, _ = modify(text, limits, iso)
        found = letter_words(modified, iso)
        one = Measured(
            words=len(found),
            character_repetition=character_repetition(modified, limits.character_n),
            word_repetition=word_repetition(found, limits.word_n),
            special=special_ratio(modified),
            stopwords=stopwords.covered(found) / max(1, len(found)),
            lost=1 - len(modified) / len(text),
            reasons=reasons(modified, iso, limits, stopwords),
        )
        measured.append(one)
    return measured


def quantile(values: Sequence[float], q: float) -> float:
    """The value that a share q of the values does not exceed, one of them."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def row(iso: str, name: str, found: Sequence[Measured]) -> str:
    """A line of the table: the ends of each measure that the limits are about, and the share let through."""
    through = sum(not one.reasons for one in found) / len(found)
    causes = Counter(reason for one in found for reason in one.reasons)
    cells = [
        iso,
        name,
        str(len(found)),
        f"{min(one.words for one in found)}",
        f"{quantile([one.character_repetition for one in found], 0.99):.3f}",
        f"{quantile([one.word_repetition for one in found], 0.99):.3f}",
        f"{quantile([one.special for one in found], 0.99):.3f}",
        f"{quantile([one.stopwords for one in found], 0.01):.3f} / {quantile([one.stopwords for one in found], 0.5):.3f}",
        f"{sum(one.lost for one in found) / len(found):.3f}",
        f"{through:.3f}",
        ", ".join(f"{reason} {count}" for reason, count in causes.most_common()),
    ]
    return f"| {' | '.join(cells)} |"


def speed(hub: Path, iso: str) -> str:
    """A line of the table of speed: CPU time of one core over real pages of about 2,000 characters."""
    import time

    from training.curation.documents import Document
    from training.curation.pii import Pii
    from training.curation.rules import Rules

    passages = [text for texts in real(hub, iso).values() for text in texts]
    pages = [Document(id="", text=text, language=iso) for text in joined(passages, 2_000)]
    characters = sum(len(page.text) for page in pages)
    cells = [iso, str(len(pages)), f"{characters // len(pages)}"]
    for layer in (Rules(), Pii()):
        judge = layer.judge(Path())
        judge(pages[:3], 0, 0)  # what is compiled and read once
        begun = time.process_time()
        judge(pages, 0, 0)
        seconds = time.process_time() - begun
        cells += [f"{len(pages) / seconds:,.0f}", f"{characters / seconds / 1e6:.2f}"]
    return f"| {' | '.join(cells)} |"


SPEED_HEAD = "| language | pages | characters | rules: documents/s | M characters/s | pii: documents/s | M characters/s |\n|---|---|---|---|---|---|---|"
HEAD = (
    "| language | text | documents | words, least | characters .99 | words .99 | special .99 | stopwords .01 / .5 | lost | through | failing |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The figures behind the limits of the rules.")
    parser.add_argument("--hub", type=Path, required=True, help="local mirror of the data sets")
    parser.add_argument("--language", nargs="*", default=[language.iso for language in LANGUAGES])
    parser.add_argument("--speed", action="store_true", help="measure speed instead")
    given = parser.parse_args()
    print(SPEED_HEAD if given.speed else HEAD)
    for iso in given.language:
        if given.speed:
            print(speed(given.hub, iso), flush=True)
            continue
        for name, texts in {**real(given.hub, iso), "world": world(iso)}.items():
            print(row(iso, name, measure(texts, iso)), flush=True)


if __name__ == "__main__":
    main()
