"""What the tests of near share: a run of the layer over documents, and the layer's definition once more, by brute force in plain Python."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.curation.documents import Document, write
from training.curation.engine import Engine
from training.curation.near import Near

HERE = Engine(workers=1)
UNSPACED = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u4e00-\u9fff])")


def documents(texts: Iterable[str], language: str = "ind") -> list[Document]:
    return [Document(id=f"d{number}", text=text, language=language) for number, text in enumerate(texts)]


def shards(made: Sequence[Document], directory: Path, size: int = 0) -> list[Path]:
    """The documents as Parquet shards of `size`, all in one by default."""
    directory.mkdir(parents=True, exist_ok=True)
    size = size or max(1, len(made))
    paths = [directory / f"{first // size:05d}.parquet" for first in range(0, max(1, len(made)), size)]
    for number, path in enumerate(paths):
        write(path, made[number * size : (number + 1) * size])
    return paths


def run(layer: Near, made: Sequence[Document], directory: Path, size: int = 0, engine: Engine = HERE) -> dict[str, str]:
    """Dropped id -> what the judge says of it."""
    paths, work = shards(made, directory / "shards", size), directory / "work"
    work.mkdir()
    layer.prepare(paths, work, engine)
    judge = layer.judge(work)
    size = size or max(1, len(made))
    said: dict[str, str] = {}
    for number in range(len(paths)):
        part = made[number * size : (number + 1) * size]
        for first in range(0, len(part), 7):  # batches that end anywhere
            for document, decision in zip(part[first : first + 7], judge(part[first : first + 7], number, first), strict=True):
                assert (decision.document is document) != (decision.reason == "near duplicate")
                if decision.reason:
                    said[document.id] = decision.detail
    return said


def kept(said: dict[str, str]) -> dict[str, str]:
    """Dropped id -> id kept."""
    return {dropped: detail.removeprefix("kept is ").rsplit(" (", 1)[0] for dropped, detail in said.items()}


def partition(said: dict[str, str]) -> set[frozenset[str]]:
    """The clusters of two and more."""
    found: dict[str, set[str]] = {}
    for dropped, one in kept(said).items():
        found.setdefault(one, {one}).add(dropped)
    return {frozenset(cluster) for cluster in found.values()}


def shingle_set(text: str, n: int) -> set[tuple[str, ...]]:
    """The definition: lower case, white space parts, a character of an unspaced script is a unit."""
    units = UNSPACED.sub(r" \1 ", text.lower()).split()
    return {tuple(units[at : at + n]) for at in range(max(1, len(units) - n + 1))} if units else set()


def jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other) if one and other else 0.0


def alike(made: Sequence[Document], n: int, threshold: float) -> list[tuple[int, int]]:
    """All pairs of at least the threshold."""
    found = [shingle_set(document.text, n) for document in made]
    return [(i, j) for i, j in itertools.combinations(range(len(made)), 2) if jaccard(found[i], found[j]) >= threshold]


def clusters(number: int, pairs: Iterable[tuple[int, int]]) -> set[frozenset[str]]:
    """Connected components of two and more, by merging sets."""
    of = [{at} for at in range(number)]
    for i, j in pairs:
        if of[i] is not of[j]:
            of[i] |= of[j]
            for at in of[j]:
                of[at] = of[i]
    return {frozenset(f"d{at}" for at in cluster) for cluster in of if len(cluster) > 1}


def pair(similarity: float, units: int, random_words: random.Random) -> tuple[str, str]:
    """Two texts of distinct words whose sets of single words have this Jaccard similarity, to 1 / units."""
    common = round(similarity * units)
    words = [f"{random_words.getrandbits(40):x}" for _ in range(units)]
    cut = common + (units - common) // 2
    one, other = words[:cut], words[:common] + words[cut:]
    random_words.shuffle(other)
    return " ".join(one), " ".join(other)
