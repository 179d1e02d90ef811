"""What near-deduplication found, held against exact Jaccard similarity that is computed here anew, with Python's sets.

A unit is what stands between spaces, lower-cased; in Thai, Lao, Khmer and Burmese each character. A shingle is five units.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.speed.curation_corpus import KINDS, LANGUAGES, Corpus, number_of, shard_size

EDGES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
_UNIT = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]|[^\s\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+")
Labels = npt.NDArray[np.int64]


def shingles(text: str, size: int = 5) -> set[tuple[str, ...]]:
    """The set of a text's shingles."""
    units = _UNIT.findall(text.lower())
    return set(zip(*(units[at:] for at in range(size)), strict=False)) or {tuple(units)}


def jaccard(one: set[Any], other: set[Any]) -> float:
    """|A & B| / |A | B|."""
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def of_ours(corpus: Corpus, output: Path) -> Labels:
    """For each document the number of the one kept for it, from the plan of the near layer."""
    import pyarrow.parquet

    labels = np.arange(corpus.documents)
    for path in sorted((output / "plan").glob("dropped-*.parquet")):
        table = pyarrow.parquet.read_table(path)
        rows = int(path.stem.partition("-")[2]) * shard_size(corpus.documents) + table.column("row").to_numpy()
        labels[rows] = [number_of(kept) for kept in table.column("kept_id").to_pylist()]
    return labels


def of_datatrove(corpus: Corpus, output: Path) -> Labels:
    """For each document a number that its cluster shares, from the files that its third step leaves."""
    labels = np.arange(corpus.documents)
    for path in sorted((output / "clusters").glob("*.clusters")):
        pairs = np.fromfile(path, dtype="<u4").reshape(-1, 2).astype(np.int64)
        labels[int(path.stem) * shard_size(corpus.documents) + pairs[:, 0]] = corpus.documents + pairs[:, 1]
    return labels


def of_text_dedup(corpus: Corpus, output: Path) -> Labels:
    """For each document the least of its cluster."""
    return np.asarray(np.load(output / "labels.npy"), dtype=np.int64)


def planted(corpus: Corpus, most: int, seed: int = 0) -> tuple[Labels, npt.NDArray[np.float64]]:
    """At most so many planted pairs (edited copies and re-crawls with their originals), (pairs, 2), and the exact similarity of each."""
    truth = corpus.truth()
    copies = np.flatnonzero((truth["kind"] == KINDS.index("near")) | (truth["kind"] == KINDS.index("recrawl")))
    copies = np.sort(np.random.default_rng(seed).permutation(copies)[:most])
    pairs = np.stack([copies, truth["of"][copies]], axis=1)
    texts = corpus.texts(pairs.ravel().tolist())
    return pairs, np.array([jaccard(shingles(texts[one]), shingles(texts[other])) for one, other in pairs.tolist()])


def recall(labels: Labels, pairs: Labels, similar: npt.NDArray[np.float64]) -> dict[str, tuple[int, float]]:
    """For each bin of similarity: (how many pairs, share of them that are in one cluster)."""
    together = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    found = {}
    for low, high in zip(EDGES, (*EDGES[1:], np.inf), strict=True):
        here = (similar >= low) & (similar < high)
        name = f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g}"
        found[name] = (int(here.sum()), float(together[here].mean()) if here.any() else float("nan"))
    return found


def spaced(corpus: Corpus, pairs: Labels) -> npt.NDArray[np.bool_]:
    """Which pairs are in a script that spaces words."""
    return np.asarray(corpus.truth()["language"][pairs[:, 0]] == LANGUAGES.index("ind"))


def precision(corpus: Corpus, labels: Labels, threshold: float, most: int, seed: int = 0) -> float:
    """Of a sample of documents that are in a cluster with others, the share that has one of similarity `threshold` there."""
    _, of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    asked = np.random.default_rng(seed).permutation(np.flatnonzero(sizes[of] > 1))[:most]
    order = np.argsort(of, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    members: list[Sequence[int]] = [order[starts[of[at]] : starts[of[at] + 1]].tolist() for at in asked]
    texts = corpus.texts([number for cluster in members for number in cluster])
    sets = {number: shingles(text) for number, text in texts.items()}
    right = [any(jaccard(sets[at], sets[o]) >= threshold for o in c if o != at) for at, c in zip(asked.tolist(), members, strict=True)]
    return float(np.mean(right)) if right else float("nan")
