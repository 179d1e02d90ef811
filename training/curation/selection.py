"""The second stage of instruction tuning: of each language and category the samples that score best, no two of them alike (5.1).

Within a cell (language, category) of n samples, R and P are the percentiles of reward and perplexity, (rank - 1/2) / n, equal values sharing their
average rank. HIGH perplexity is wanted: 5.1 takes it as a sign that the model has yet to learn such a response, and Figure 4 selects the top right
corner, where reward is high as well. The score is R P / (R + P), half the harmonic mean; as R and P are 1 / 2n at least,
R + P is never 0. Samples are looked at from the best score down, equal ones by id, and one is taken unless its cosine with a sample taken before is
above the limit, .6; a cell ends at its quota. "Taken before" means in the same cell, or with scope="all" in any: then all cells are one list.

The result is that of comparing one by one in float64, whatever the chunk: candidates are compared a chunk at a time, in float32, with all
taken so far and with each other; a cosine that rounding could bring to the other side of the limit is computed again in float64, and so are those
that could be the highest, so the neighbour that is named is the nearest one too. Memory is the taken vectors and one chunk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from training.curation.documents import CurationError

Scope = Literal["cell", "all"]
Cell = tuple[str, str]  # language, category
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
LIMIT = 0.6  # 5.1
CHUNK = 256  # candidates compared at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidates:
    """N scored samples; `vectors_ND` are embeddings, finite and none of them 0, of any length (they may lie on disk)."""

    ids: Sequence[str]
    cells: Sequence[Cell]
    reward: F64
    perplexity: F64
    vectors_ND: npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Of each candidate: whether it is taken; if not, and one like it is, that one's number and their cosine (else -1 and NaN)."""

    taken: Flags
    neighbour: I64
    cosine: F64
    reward_percentile: F64
    perplexity_percentile: F64
    score: F64


def odd_ranks(values: F64) -> I64:
    """2 rank - 1 of each value, a whole number: equal values share their average rank. The percentile is this over 2n."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (2 * last - counts)[place].astype(np.int64)


def scores(reward: I64, perplexity: I64) -> F64:
    """R P / (R + P) of the odd ranks of one cell: one division of whole numbers, so that equal scores are equal floats and ids decide."""
    return np.asarray(reward * perplexity / ((reward + perplexity) * (2 * len(reward))))


def select(
    candidates: Candidates, quotas: Mapping[Cell, int], *, limit: float = LIMIT, scope: Scope = "cell", chunk: int = CHUNK
) -> Selection:
    """Score, rank and take. Raises CurationError where quotas and candidates do not speak of the same cells."""
    names = sorted(set(candidates.cells))
    _same(names, candidates.cells, quotas)
    number = {name: at for at, name in enumerate(names)}
    cell_N = np.array([number[cell] for cell in candidates.cells], dtype=np.int64)
    quota = np.array([quotas[name] for name in names], dtype=np.int64)
    total = len(candidates.ids)
    reward_N, perplexity_N, score_N = np.empty(total), np.empty(total), np.empty(total)
    rows = np.split(np.argsort(cell_N, kind="stable"), np.cumsum(np.bincount(cell_N, minlength=len(names)))[:-1]) if total else []
    for own in rows:
        reward, perplexity = odd_ranks(candidates.reward[own]), odd_ranks(candidates.perplexity[own])
        reward_N[own], perplexity_N[own] = reward / (2 * len(own)), perplexity / (2 * len(own))
        score_N[own] = scores(reward, perplexity)
    by_id = np.empty(total, dtype=np.int64)
    by_id[sorted(range(total), key=candidates.ids.__getitem__)] = np.arange(total)
    found = Selection(
        taken=np.zeros(total, dtype=bool),
        neighbour=np.full(total, -1),
        cosine=np.full(total, np.nan),
        reward_percentile=reward_N,
        perplexity_percentile=perplexity_N,
        score=score_N,
    )
    for own in rows if scope == "cell" else [np.arange(total)] if total else []:
        _take(own[np.lexsort((by_id[own], -score_N[own]))], cell_N, quota, candidates.vectors_ND, limit, chunk, found)
    return found


def _same(names: Sequence[Cell], cells: Sequence[Cell], quotas: Mapping[Cell, int]) -> None:
    """Refuse a cell that only one side knows: a misspelt name would quietly select nothing."""
    if stray := sorted(set(quotas) - set(names)):
        some = [name for name in stray if quotas[name]]
        if some:
            told = ", ".join("/".join(name) for name in some[:5])
            raise CurationError(
                f"the quotas name {len(some)} cells that no candidate is of: {told}{' ...' if len(some) > 5 else ''}; "
                f"correct the names (candidates are of {_few(names)}), or set these quotas to 0"
            )
    if stray := [name for name in names if name not in quotas]:
        told = ", ".join(f"{'/'.join(name)} ({cells.count(name):,})" for name in stray[:5])
        raise CurationError(
            f"{len(stray)} cells of the candidates have no quota: {told}{' ...' if len(stray) > 5 else ''}; "
            f"correct the names (quotas are for {_few(sorted(quotas))}), or give these a quota of 0 to leave them out"
        )


def _few(names: Sequence[Cell]) -> str:
    return (", ".join("/".join(name) for name in names[:5]) + (" ..." if len(names) > 5 else "")) or "none"


def _take(order: I64, cell_N: I64, quota: I64, vectors_ND: npt.NDArray[Any], limit: float, chunk: int, found: Selection) -> None:
    """Go through the candidates in `order` and write into `found` which are taken and which are like one that is."""
    left = quota.copy()
    wanted = int(sum(min(left[cell], count) for cell, count in enumerate(np.bincount(cell_N[order], minlength=len(left)))))
    width = vectors_ND.shape[1]
    taken_AD, rows_A, count = np.empty((wanted, width), dtype=np.float32), np.empty(wanted, dtype=np.int64), 0
    # |float32 - exact| of a cosine: the two roundings of the unit vectors and those of a sum of D products, in any order (Higham 2002, 3.1); twice that
    margin = (width + 4) * 2.0**-23
    for first in range(0, len(order), chunk):
        if count == wanted:
            return
        window = order[first : first + chunk]
        window = window[left[cell_N[window]] > 0]
        unit_CD = _unit(vectors_ND[window])
        before_CA = unit_CD @ taken_AD[:count].T
        inside_CC = unit_CD @ unit_CD.T
        highest_C = before_CA.max(axis=1, initial=-2.0)
        own: list[int] = []  # those of this chunk that are taken, by their places in it
        start = count
        for at, row in enumerate(window.tolist()):
            if not left[cell_N[row]]:
                continue
            beside = inside_CC[at, own]
            highest = max(float(highest_C[at]), float(beside.max(initial=-2.0)))
            if highest > limit - margin:
                close = np.flatnonzero(np.concatenate([before_CA[at, :start], beside]) >= highest - 2 * margin)
                exact = _cosines(vectors_ND, row, rows_A[close])
                nearest = int(np.argmax(exact))  # of equally near ones the one taken first
                if exact[nearest] > limit:
                    found.neighbour[row], found.cosine[row] = rows_A[close[nearest]], exact[nearest]
                    continue
            taken_AD[count], rows_A[count] = unit_CD[at], row
            found.taken[row] = True
            left[cell_N[row]] -= 1
            own.append(at)
            count += 1


def _unit(vectors_CD: npt.NDArray[Any]) -> F32:
    """Vectors of length 1."""
    wide = np.asarray(vectors_CD, dtype=np.float32).astype(np.float64)
    return (wide / np.sqrt((wide * wide).sum(axis=1, keepdims=True))).astype(np.float32)


def _cosines(vectors_ND: npt.NDArray[Any], row: int, rows: I64) -> F64:
    """Cosines of one with some, in float64 from the float32 values; each is the same whoever is asked for beside it."""
    one = np.asarray(vectors_ND[row], dtype=np.float32).astype(np.float64)
    some = np.asarray(vectors_ND[rows], dtype=np.float32).astype(np.float64)
    # the root of the product, not the product of roots: the cosine of equal vectors is 1, of (5, 0) and (3, 4) it is .6
    return np.clip((some * one).sum(axis=1) / np.sqrt((some * some).sum(axis=1) * (one * one).sum()), -1.0, 1.0)
