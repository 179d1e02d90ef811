"""What the quality classifier is worth on examples that it has not seen: the area under the ROC curve (AUC), a row a pair of examples.

The AUC of m positives and n negatives is the mean over positives of the share of negatives below each (ties half), and as well the mean over
negatives of the share of positives above each. Both samples vary. So the larger class is dealt out to the examples of the smaller one, k pairs
(or small hands) in all, and a hand is worth

    AUC + (k / m) * sum over its positives (share of negatives below - AUC) + (k / n) * sum over its negatives (share of positives above - AUC)

The mean over hands is the AUC; where m = n the variance of that mean is that of DeLong, DeLong and Clarke-Pearson (1988), so the clustered
mean of `harness/statistics.py` gives an AUC's interval. A classifier that makes no mistake gives ones throughout: k trials and no failure.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.suites import SuiteError

FILE = "facts/*-quality/held_out.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A hand of held-out examples of both classes in a language, and its part `area` of the AUC."""

    name: str
    language: str
    area: float
    shown: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Example:
    score: float
    excerpt: str


def pairs(artifact: Path, suite: str, languages: Sequence[str]) -> Iterator[Pair]:
    """The hands of each language, in order; none of a language without a classifier, or of a corpus that no classifier saw: no gate over them
    passes. Raises SuiteError for scores that cannot be read."""
    found = _read(artifact, suite)
    for iso in languages:
        good, bad = found.get((iso, True), []), found.get((iso, False), [])
        if not good or not bad:
            continue
        areas = hands([one.score for one in good], [one.score for one in bad])
        for number, area in enumerate(areas):
            shown = {what: f"{one.score:.4f} {one.excerpt}" for what, one in (("good", good[number]), ("bad", bad[number]))}
            yield Pair(name=f"{iso}/held-out-{number}", language=iso, area=area, shown=shown)


def hands(good: Sequence[float], bad: Sequence[float]) -> list[float]:
    """Each hand's part of the area, as many as the smaller class has examples; their mean is the AUC."""
    above = np.array(good)[:, None] - np.array(bad)[None, :]
    wins = (np.sign(above) + 1) / 2  # [m, n]
    m, n = wins.shape
    k, area = min(m, n), wins.mean()
    value = np.full(k, area)
    np.add.at(value, np.arange(m) % k, (wins.mean(1) - area) * k / m)
    np.add.at(value, np.arange(n) % k, (wins.mean(0) - area) * k / n)
    return [float(one) for one in value]


def _read(artifact: Path, suite: str) -> dict[tuple[str, bool], list[_Example]]:
    """(language, whether good) -> its held-out examples, in the order of the file."""
    found: dict[tuple[str, bool], list[_Example]] = {}
    path = next(iter(sorted(artifact.glob(FILE))), None)
    for number, line in enumerate(path.read_bytes().splitlines() if path else (), 1):
        try:
            row = json.loads(line)
            if not math.isfinite(row["score"]):
                raise ValueError(f"its score is {row['score']}")
            found.setdefault((row["language"], bool(row["positive"])), []).append(_Example(score=row["score"], excerpt=row["excerpt"]))
        except (ValueError, KeyError, TypeError) as error:
            raise SuiteError(f"suite {suite}: {path}, line {number}: {error}; run the curation again") from error
    return found
