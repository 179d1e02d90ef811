"""Scores of all documents in a first pass, and which of them stay: what the layers share that keep the best of each language.

Scores lie in `work`, a file a shard, by row. Of the N documents of a language that have a score exactly ceil(share x N) stay; of equal ones the earlier
(shard, then row). A document without a score (NaN: there is no model of its language) is not ranked. A score takes 8 bytes of memory.
"""

from __future__ import annotations

import dataclasses
import fractions
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training import parquet
from training.curation.documents import ROW_GROUP, CurationError
from training.curation.engine import Engine

Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Scorer = Callable[[Path], tuple[list[str], Floats]]  # of a shard: the language and the score of each row


def rows(shard: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Texts and languages of a Parquet shard, a batch at a time, in order."""
    import pyarrow.parquet

    for batch in parquet.batches(pyarrow.parquet.ParquetFile(shard), ROW_GROUP, ["text", "language"]):
        yield batch.column("text").to_pylist(), batch.column("language").to_pylist()


def languages(shards: Sequence[Path]) -> list[str]:
    """The languages that shards hold, "" for unknown, sorted; reads that column alone."""
    import pyarrow.compute
    import pyarrow.parquet

    found: set[str] = set()
    for shard in shards:
        for batch in parquet.batches(pyarrow.parquet.ParquetFile(shard), ROW_GROUP, ["language"]):
            found.update(pyarrow.compute.unique(batch.column("language")).to_pylist())
    return sorted(found)


@dataclasses.dataclass(frozen=True)
class ByLanguage:
    """A scorer: each document of a shard by its language's model (a file), NaN where there is none. `score(model, texts)` is pickled by name."""

    score: Callable[[Path, Sequence[str]], Floats]
    models: dict[str, Path]

    def __call__(self, shard: Path) -> tuple[list[str], Floats]:
        """Language and score of each row."""
        isos: list[str] = []
        scores: list[Floats] = []
        for texts, told in rows(shard):
            part = np.full(len(texts), np.nan)
            for iso in sorted(set(told) & self.models.keys()):
                own = [number for number, one in enumerate(told) if one == iso]
                part[own] = self.score(self.models[iso], [texts[number] for number in own])
            isos += told
            scores.append(part)
        return isos, np.concatenate([*scores, np.zeros(0)])


def wanted(share: float, documents: int) -> int:
    """How many of so many documents a share is: rounded up, the share taken as the decimal that was written (.2 of 35 is 7)."""
    return math.ceil(fractions.Fraction(str(share)) * documents)


def best(scores: Floats, groups: np.ndarray[Any, Any], share: float) -> Flags:
    """Which documents are among the best `share` of their group; those without a score (NaN) all are."""
    kept = np.ones(len(scores), dtype=bool)
    scored = ~np.isnan(scores)
    for group in np.unique(groups[scored]):
        own = np.flatnonzero(scored & (groups == group))
        order = np.argsort(-scores[own], kind="stable")
        kept[own[order[wanted(share, len(own)) :]]] = False
    return kept


def reach(scores: Floats, groups: np.ndarray[Any, Any], least: Sequence[float]) -> Flags:
    """Which documents reach the least score of their group (by its number); those without a score (NaN) all do."""
    return np.isnan(scores) | (scores >= np.array([*least, 0.0])[groups])


def rank(
    shards: Sequence[Path], work: Path, engine: Engine, scorer: Scorer, keep: Callable[[Floats, np.ndarray[Any, Any], list[str]], Flags]
) -> dict[str, dict[str, Any]]:
    """Score every shard, decide with `keep(scores, language numbers, languages)`, and leave both in `work` for `Ranked`.

    Returns, of each language: how many documents were scored and kept, the lowest score kept and the highest dropped (None where there is none).
    """
    names: dict[str, int] = {}
    sizes, numbers, scores = [], [], []
    for isos, values in engine.map(scorer, shards):
        sizes.append(len(values))
        numbers.append(np.array([names.setdefault(iso, len(names)) for iso in isos], dtype=np.int16))
        scores.append(values)
    every = np.concatenate([*scores, np.zeros(0)])
    of_language = np.concatenate([*numbers, np.zeros(0, dtype=np.int16)])
    kept = keep(every, of_language, list(names))
    ends = np.cumsum(sizes)
    for shard, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        np.savez(_file(work, shard), scores=every[end - size : end], kept=kept[end - size : end])
    facts = {}
    for name, number in sorted(names.items()):
        own = (of_language == number) & ~np.isnan(every)
        stay, go = every[own & kept], every[own & ~kept]
        facts[name] = {
            "documents": int(own.sum()),
            "kept": len(stay),
            "lowest kept": float(stay.min()) if len(stay) else None,
            "highest dropped": float(go.max()) if len(go) else None,
        }
    return facts


class Ranked:
    """What `rank` left in `work`, by shard and row."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._shard, self._scores, self._kept = -1, np.zeros(0), np.zeros(0, dtype=bool)

    def of(self, shard: int, first: int, count: int) -> tuple[list[float], list[bool]]:
        """Scores (NaN for none) of `count` rows from row `first` of a shard, and whether they stay. Raises CurationError."""
        if shard != self._shard:
            try:
                with np.load(_file(self.work, shard), allow_pickle=False) as stored:
                    self._scores, self._kept = stored["scores"], stored["kept"]
            except OSError as error:
                raise CurationError(f"{self.work} has no scores of shard {shard}: run the layer's first pass over these shards") from error
            self._shard = shard
        if first + count > len(self._scores):
            raise CurationError(f"shard {shard} has more rows than were scored: run the layer's first pass over these shards again")
        return self._scores[first : first + count].tolist(), self._kept[first : first + count].tolist()


def _file(work: Path, shard: int) -> Path:
    return work / f"{shard:06d}.npz"


def auc(positive: Floats, negative: Floats) -> float:
    """How likely a positive scores above a negative, ties half (the area under the ROC curve): Mann and Whitney's U over n x m."""
    if not len(positive) or not len(negative):
        raise CurationError("the area under a ROC curve needs scores of both classes")
    _, place, counts = np.unique(np.concatenate([positive, negative]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    n, m = len(positive), len(negative)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))
