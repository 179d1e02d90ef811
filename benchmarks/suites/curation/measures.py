"""What the suite measures on kept text: how much of the right text is left, what is left that should not be, and in which language it is."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from benchmarks.suites.curation.corpus import Kept
from training.languages import same_set
from training.world.crawl_pages import boilerplate
from training.world.crawl_truth import shingles

WINDOW = 10  # characters: short enough to see a cut, long enough to tell texts apart
STANDS = 0.5  # share of a passage's windows that stand in a text which holds it
LEAST_PIECE = 40  # characters whose language is asked for


@functools.lru_cache(maxsize=1024)
def windows(text: str) -> frozenset[str]:
    """The runs of WINDOW characters of a text, white space left out: extraction and joins change it."""
    folded = "".join(text.split())
    return frozenset(folded[at : at + WINDOW] for at in range(max(0, len(folded) - WINDOW + 1)))


def share(part: str, whole: str) -> float:
    """The share of the windows of `part` that stand in `whole`; 0 where it has none."""
    own = windows(part)
    return len(own & windows(whole)) / len(own) if own else 0.0


def stands(passage: str, text: str) -> bool:
    """Whether most of a passage stands in a text."""
    return share(passage, text) > STANDS


def surrounded(text: str, iso: str, host: str) -> bool:
    """Whether a line that stands on every page of the host is a line of the text still."""
    lines = {" ".join(line.split()) for line in text.split("\n")}
    return any(" ".join(line.split()) in lines for line in boilerplate(iso, host))


def purity(texts: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Of each (text, language): characters in that language or a neighbour's, and characters whose language can be told at all."""
    from training.identification import identify_many

    pieces = [(number, piece) for number, (text, _) in enumerate(texts) for piece in _pieces(text)]
    found = [[0, 0] for _ in texts]
    for (number, piece), identified in zip(pieces, identify_many(piece for _, piece in pieces), strict=True):
        language = texts[number][1]
        among = {identified.language} if identified.language else identified.among
        if not among and identified.why != "foreign":
            continue
        found[number][0] += len(piece) * any(same_set(language, one) for one in among)
        found[number][1] += len(piece)
    return [(right, decided) for right, decided in found]


def _pieces(text: str) -> list[str]:
    """Lines, short ones taken together."""
    pieces, waiting = [], ""
    for line in text.split("\n"):
        waiting = f"{waiting}\n{line}" if waiting else line
        if len(waiting) >= LEAST_PIECE:
            pieces.append(waiting)
            waiting = ""
    return pieces


def place(document: Kept) -> tuple[bytes, str]:
    """Where a document stands among those that are compared."""
    return hashlib.sha256(document.text[:40].encode()).digest(), document.id


def duplicates(kept: Mapping[str, Sequence[Kept]], threshold: float, most: int) -> dict[str, bool]:
    """Document id -> whether another one of its language is a near duplicate; every pair of at most `most` documents a language is compared.

    The sample is drawn by the hash of the text's beginning, so that two of a pair tend to be drawn together.
    """
    found: dict[str, bool] = {}
    for documents in kept.values():
        drawn = sorted(documents, key=place)[:most]
        sets = [shingles(one.text, "words") for one in drawn]
        # pairs that share no shingle have similarity 0, so only the others are compared: the same answer
        holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, own in enumerate(sets):
            found.setdefault(drawn[number].id, False)
            shared: dict[int, int] = defaultdict(int)
            for shingle in own:
                for other in holders[shingle]:
                    shared[other] += 1
                holders[shingle].append(number)
            for other, both in shared.items():
                if both >= threshold * (len(own) + len(sets[other]) - both):
                    found[drawn[number].id] = found[drawn[other].id] = True
    return found
