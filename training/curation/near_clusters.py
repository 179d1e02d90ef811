"""From the keys of bands to clusters of near duplicates: buckets, exact Jaccard, connected components, the kept document.

Documents with the same sequence of shingles are one from the start. Of the others, those that share a band's key are in a bucket; scipy finds what
hangs together through buckets (a group), and groups are compared apart from each other, in any number of processes. Within a group the clusters
are the connected components of {pairs that share a bucket and have J >= threshold}: every such pair is either compared or known to be joined
already, so no star centre that is there by chance can lose one, and no order of documents changes the partition.

Memory here: some 30 bytes a document and 10 for each place in a bucket; texts are never held, shingle sets only of one batch of groups at a time.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from training.curation.narrow import batches
from training.curation.near_bands import Scheme
from training.curation.near_signatures import I64, U64, sets, shingles

F64 = npt.NDArray[np.float64]
AT_ONCE = 200_000  # places in buckets that one task of comparing takes on,
HASHES_AT_ONCE = 2_000_000  # and shingles of their documents, 8 bytes each; a group that has more is a task by itself
Spread = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Buckets:
    """Those who share a key of a band: bucket i is members[starts[i]:starts[i + 1]], ascending, two at least."""

    members: I64
    starts: I64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """What one task compares: buckets over its own numbers, and for each number the rank of preference and where its set lies."""

    numbers: I64
    buckets: Buckets
    rank: I64
    places: Sequence[tuple[Path, int, int]]


def distinct(sequences: U64) -> tuple[I64, I64]:
    """(the first document of each sequence of shingles; for each document which of these it equals, -1 for one without shingles)."""
    some = np.flatnonzero(sequences)
    _, first, inverse = np.unique(sequences[some], return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    of = np.full(len(sequences), -1, dtype=np.int64)
    of[some] = place[inverse]
    return some[first[order]], of


def buckets_of(band: int, files: Sequence[Path], distinct_file: Path) -> Buckets:
    """The buckets of one band over the distinct documents, numbered as in `distinct_file`."""
    keys = np.concatenate([np.load(file, mmap_mode="r")[band] for file in files])[np.load(distinct_file, mmap_mode="r")]
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(np.concatenate([[True], keys[order][1:] != keys[order][:-1], [True]])) if len(keys) else np.zeros(1, np.int64)
    sizes = np.diff(bounds)
    several = sizes > 1
    return Buckets(members=order[spans(bounds[:-1][several], sizes[several])], starts=np.concatenate([[0], np.cumsum(sizes[several])]))


def joined(parts: Sequence[Buckets]) -> Buckets:
    """Buckets one after the other."""
    sizes = [np.diff(part.starts) for part in parts]
    return Buckets(
        members=np.concatenate([np.empty(0, dtype=np.int64), *(part.members for part in parts)]),
        starts=np.concatenate([[0], np.cumsum(np.concatenate([np.empty(0, dtype=np.int64), *sizes]))]),
    )


def components(buckets: Buckets, number: int) -> I64:
    """The connected component of each of `number` documents, all in a bucket taken as alike."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    centres = np.repeat(buckets.members[buckets.starts[:-1]], np.diff(buckets.starts))
    edges = coo_array((np.ones(len(centres), dtype=bool), (centres, buckets.members)), shape=(number, number))
    return connected_components(edges, directed=False)[1].astype(np.int64)


def spans(starts: I64, lengths: I64) -> I64:
    """The indices start, start + 1, ... of each span, one span after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def verified(
    buckets: Buckets,
    addresses: I64,
    rank: I64,
    shards: Sequence[Path],
    first_rows: I64,
    scheme: Scheme,
    threshold: float,
    aside: Path,
    spread: Spread,
) -> tuple[I64, F64, int]:
    """(component of each distinct document, its Jaccard with the preferred one there, pairs compared), by exact comparison of candidates.

    `addresses`: global row of each distinct document; `rank`: the lower the rather kept; `first_rows`: global row where each shard begins.
    """
    component, jaccard, compared = np.arange(len(addresses)), np.ones(len(addresses)), 0
    if not len(buckets.members):
        return component, jaccard, compared
    candidates = np.unique(buckets.members)
    rows = addresses[candidates]
    shard_of = np.searchsorted(first_rows, rows, side="right") - 1
    # a text may stand in many buckets but is read once, its set kept on disk
    items = [(number, shards[number], rows[shard_of == number] - first_rows[number]) for number in np.unique(shard_of).tolist()]
    places: list[tuple[Path, int, int]] = []
    for file, offsets in spread(functools.partial(_write_sets, aside=aside, scheme=scheme), items):
        places += [(file, start, stop) for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    groups = list(_groups(buckets, components(buckets, len(addresses)), candidates, rank, places))
    for group, (roots, similar, pairs) in zip(groups, spread(functools.partial(compare, threshold=threshold), groups), strict=True):
        component[group.numbers] = group.numbers[roots]
        jaccard[group.numbers] = similar
        compared += pairs
    return component, jaccard, compared


def _write_sets(item: tuple[int, Path, I64], aside: Path, scheme: Scheme) -> tuple[Path, I64]:
    """The shingle sets of some rows of a shard in a file, and where each begins."""
    import pyarrow

    number, shard, rows = item
    parts, counts = [], [np.zeros(1, dtype=np.int64)]
    for first, batch in batches(shard, ("text",)):
        low, high = np.searchsorted(rows, [first, first + batch.num_rows])
        if low < high:
            found = sets(shingles(batch.column("text").take(pyarrow.array(rows[low:high] - first)), scheme))
            parts.append(found.hashes)
            counts.append(np.diff(found.offsets))
    file = aside / f"sets-{number:05d}.npy"
    np.save(file, np.concatenate(parts))
    return file, np.cumsum(np.concatenate(counts))


def _groups(buckets: Buckets, group: I64, candidates: I64, rank: I64, places: Sequence[tuple[Path, int, int]]) -> Iterator[Group]:
    """The buckets in parts of AT_ONCE places or HASHES_AT_ONCE shingles at most, or of one group, no group in two."""
    of = group[buckets.members[buckets.starts[:-1]]]
    order = np.argsort(of, kind="stable")
    sizes = np.diff(buckets.starts)[order]
    members = buckets.members[spans(buckets.starts[:-1][order], sizes)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    ends = np.flatnonzero(np.concatenate([of[order][1:] != of[order][:-1], [True]])) + 1  # buckets after which a group is complete
    shingled = np.bincount(np.searchsorted(of[order][ends - 1], group[candidates]), [stop - start for _, start, stop in places], len(ends))
    work = starts[ends] / AT_ONCE + np.cumsum(shingled) / HASHES_AT_ONCE  # of all groups so far, in tasks
    first, at = 0, -1
    while first < len(sizes):
        before = float(work[at]) if first else 0.0
        at = max(at + 1, int(np.searchsorted(work, before + 1, side="right")) - 1)
        last = int(ends[at])
        numbers, local = np.unique(members[starts[first] : starts[last]], return_inverse=True)
        mine = [places[at] for at in np.searchsorted(candidates, numbers).tolist()]
        yield Group(
            numbers=numbers,
            buckets=Buckets(members=local, starts=starts[first : last + 1] - starts[first]),
            rank=rank[numbers],
            places=mine,
        )
        first = last


def compare(group: Group, threshold: float) -> tuple[I64, F64, int]:
    """(root of each number, its exact Jaccard with the preferred of its component, pairs compared)."""
    opened = {file: np.load(file, mmap_mode="r") for file in {file for file, _, _ in group.places}}
    hashes = np.asarray(np.concatenate([opened[file][start:stop] for file, start, stop in group.places]))
    offsets = np.cumsum([0, *(stop - start for _, start, stop in group.places)])
    parents = np.arange(len(group.numbers))
    pairs = _join(hashes, offsets, group.buckets.members, group.buckets.starts, threshold, parents)
    return parents, _similar(hashes, offsets, parents, group.rank), int(pairs)


# ---------------------------------------------------------------------------------------------------------------- kernels


@numba.njit(cache=True, nogil=True)
def _root(parents: Any, at: int) -> int:
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at


@numba.njit(cache=True, nogil=True)
def _jaccard(hashes: Any, offsets: Any, one: int, other: int) -> float:
    """|A & B| / |A | B| of two sorted sets."""
    a, a_end, b, b_end = offsets[one], offsets[one + 1], offsets[other], offsets[other + 1]
    total, both = a_end - a + b_end - b, 0
    while a < a_end and b < b_end:
        x, y = hashes[a], hashes[b]
        both += x == y
        a += x <= y
        b += y <= x
    return both / (total - both)


@numba.njit(cache=True, nogil=True)
def _alike(hashes: Any, offsets: Any, one: int, other: int, threshold: float) -> bool:
    a, b = offsets[one + 1] - offsets[one], offsets[other + 1] - offsets[other]
    return min(a, b) / max(a, b) >= threshold and _jaccard(hashes, offsets, one, other) >= threshold


@numba.njit(cache=True, nogil=True)
def _join(hashes: Any, offsets: Any, members: Any, starts: Any, threshold: float, parents: Any) -> int:
    """Join alike pairs of a bucket in `parents`, where the lowest number of a component is its root; returns how many were compared.

    First all with the first, which mostly is all there is to do; then what is still apart, component against component, until they join.
    """
    compared = 0
    for bucket in range(len(starts) - 1):
        inside = members[starts[bucket] : starts[bucket + 1]]
        for other in inside[1:]:
            x, y = _root(parents, inside[0]), _root(parents, other)
            if x != y:
                compared += 1
                if _alike(hashes, offsets, inside[0], other, threshold):
                    parents[max(x, y)] = min(x, y)
        roots = np.array([_root(parents, member) for member in inside])
        order = np.argsort(roots, kind="mergesort")
        cuts = [0] + [at for at in range(1, len(order)) if roots[order[at]] != roots[order[at - 1]]] + [len(order)]
        for g in range(len(cuts) - 2):
            for h in range(g + 1, len(cuts) - 1):
                for pair in range((cuts[g + 1] - cuts[g]) * (cuts[h + 1] - cuts[h])):
                    x, y = _root(parents, roots[order[cuts[g]]]), _root(parents, roots[order[cuts[h]]])
                    if x == y:
                        break
                    compared += 1
                    one = inside[order[cuts[g] + pair // (cuts[h + 1] - cuts[h])]]
                    other = inside[order[cuts[h] + pair % (cuts[h + 1] - cuts[h])]]
                    if _alike(hashes, offsets, one, other, threshold):
                        parents[max(x, y)] = min(x, y)
    for at in range(len(parents)):
        parents[at] = _root(parents, at)
    return compared


@numba.njit(cache=True, nogil=True)
def _similar(hashes: Any, offsets: Any, parents: Any, rank: Any) -> Any:
    preferred = np.arange(len(parents))
    for at in range(len(parents)):
        if rank[at] < rank[preferred[parents[at]]]:
            preferred[parents[at]] = at
    return np.array([_jaccard(hashes, offsets, at, preferred[parents[at]]) for at in range(len(parents))])
