"""The arithmetic of banding: how probable it is that two documents meet in a band, and which bands serve a threshold best.

A signature of b * r minima is cut into b bands of r. Two documents of Jaccard similarity s agree in one minimum with probability s, in a whole
band with s^r, and in at least one band with 1 - (1 - s^r)^b (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4.2).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import numpy as np
import numpy.typing as npt

Hash = Literal["splitmix", "sha1"]
NODES = 128  # of the quadrature; at 64 the choice is the same


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheme:
    """How a text becomes the keys of its bands; `bands * rows` of the `permutations` are used. near_signatures.py says what `hash` stands for."""

    hash: Hash
    shingle: int
    permutations: int
    bands: int
    rows: int


def caught(similarity: npt.ArrayLike, bands: npt.ArrayLike, rows: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The probability that two documents of this Jaccard similarity become candidates."""
    return np.asarray(1 - (1 - np.power(similarity, rows, dtype=np.float64)) ** np.asarray(bands))


@functools.cache
def optimal(threshold: float, permutations: int) -> tuple[int, int]:
    """(bands, rows) that minimise the area of false positives below the threshold plus that of false negatives above it, weighed alike.

    The criterion of datasketch and text-dedup; of equally good ones the fewest bands.
    """
    pairs = [(bands, rows) for bands in range(1, permutations + 1) for rows in range(1, permutations // bands + 1)]
    columns = np.array(pairs, dtype=np.float64).T[:, :, None]
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    below, above = threshold * (nodes + 1) / 2, threshold + (1 - threshold) * (nodes + 1) / 2
    positives = caught(below, *columns) @ weights * threshold
    negatives = (1 - caught(above, *columns)) @ weights * (1 - threshold)
    return pairs[int(np.argmin(positives + negatives))]
