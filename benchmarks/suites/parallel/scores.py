"""chrF++ and BLEU from summed sufficient statistics, equal to sacrebleu's corpus scores; sacrebleu itself counts the n-grams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

CHRF_ORDERS = 8  # 6 of characters, 2 of words: chrF++
BLEU_ORDERS = 4
CHRF_COLUMNS = tuple(f"chrf_{order}_{part}" for order in range(CHRF_ORDERS) for part in ("hypothesis", "reference", "match"))
BLEU_COLUMNS = (
    "bleu_hypothesis",
    "bleu_reference",
    *(f"bleu_correct_{n}" for n in range(1, BLEU_ORDERS + 1)),
    *(f"bleu_total_{n}" for n in range(1, BLEU_ORDERS + 1)),
)


def statistics(metric: Any, hypothesis: str, reference: str) -> Sequence[int]:
    """One sentence's counts by a sacrebleu metric (CHRF(word_order=2): 24, BLEU: 10), in the order of the columns above."""
    return metric._extract_corpus_statistics([hypothesis], [[reference]])[0]


def chrf(sums: np.ndarray) -> np.ndarray:
    """chrF++ (0 to 100, beta 2, effective order) of summed counts, float64 [..., 24] -> [...]."""
    counts = np.asarray(sums, dtype=np.float64).reshape(*np.shape(sums)[:-1], CHRF_ORDERS, 3)
    hypothesis, reference, match = counts[..., 0], counts[..., 1], counts[..., 2]
    used = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(used.sum(-1), 1)
    precision = np.where(used, match / np.where(used, hypothesis, 1), 0).sum(-1) / orders
    recall = np.where(used, match / np.where(used, reference, 1), 0).sum(-1) / orders
    below = 4 * precision + recall
    return 100 * 5 * precision * recall / np.where(below > 0, below, 1)


def bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU (0 to 100, 4-grams, `exp` smoothing) of summed counts, float64 [..., 10] -> [...]."""
    counts = np.asarray(sums, dtype=np.float64)
    length, reference, correct, total = counts[..., 0], counts[..., 1], counts[..., 2:6], counts[..., 6:10]
    missed = (correct == 0) & (total > 0)
    smoothed = np.where(missed, 0.5 ** np.cumsum(missed, -1), correct)
    precision = smoothed / np.where(total > 0, total, 1)
    scored = (total > 0).all(-1) & (correct > 0).any(-1)
    mean = np.exp(np.log(np.where(np.expand_dims(scored, -1), precision, 1)).mean(-1))
    brevity = np.exp(np.minimum(0, 1 - reference / np.where(length > 0, length, 1)))
    return np.where(scored, 100 * brevity * mean, 0)


def chrf_of_some(sums: np.ndarray) -> np.ndarray:
    """`chrf` of [..., 1 + 24], the first the number of sentences; NaN where there is none: no translations are no score, not a score of 0."""
    return _of_some(chrf, sums)


def bleu_of_some(sums: np.ndarray) -> np.ndarray:
    """`bleu` of [..., 1 + 10], likewise."""
    return _of_some(bleu, sums)


def _of_some(reducer: Callable[[np.ndarray], np.ndarray], sums: np.ndarray) -> np.ndarray:
    counts = np.asarray(sums, dtype=np.float64)
    return np.where(counts[..., 0] > 0, reducer(counts[..., 1:]), np.nan)
