"""Selection against its definition: ranks and scores, one-by-one acceptance in exact sums, and the six invariants of topic 6."""

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.curation.documents import CurationError
from training.curation.selection import Candidates, Cell, Scope, Selection, odd_ranks, scores, select

CELLS = [("ind", "math"), ("ind", "code"), ("tha", "math")]
# Few values and small whole vectors, so that ties of scores, equal vectors and cosines of .6 exactly ((5, 0) and (3, 4)) come up all the time.
VALUES = st.sampled_from([0.0, -1.5, 2.0, 2.5])
VECTORS = st.lists(st.sampled_from([-4, 0, 3, 4, 5]), min_size=3, max_size=3).filter(any)
SAMPLES = st.lists(st.tuples(st.sampled_from(CELLS), VALUES, VALUES, VECTORS), min_size=1, max_size=30)


def candidates(samples: Sequence[tuple[Cell, float, float, Sequence[float]]], ids: Sequence[str] = ()) -> Candidates:
    cells, reward, perplexity, vectors = zip(*samples, strict=True)
    return Candidates(
        ids=ids or [f"s{number:03d}" for number in range(len(samples))],
        cells=list(cells),
        reward=np.array(reward),
        perplexity=np.array(perplexity),
        vectors_ND=np.array(vectors, dtype=np.float32),
    )


def quotas_of(made: Candidates, quota: int) -> dict[Cell, int]:
    return dict.fromkeys(made.cells, quota)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """In float64 with exact sums."""
    a, b = [float(value) for value in one], [float(value) for value in other]
    squares = math.fsum(x * x for x in a) * math.fsum(y * y for y in b)
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(squares)


def percentile(values: Sequence[float], value: float) -> Fraction:
    """(rank - 1/2) / n: as many as are lower, and half of those that are equal."""
    return (sum(other < value for other in values) + Fraction(sum(other == value for other in values), 2)) / len(values)


def by_brute_force(made: Candidates, quotas: dict[Cell, int], limit: float, scope: Scope) -> tuple[list[int], dict[int, tuple[int, float]]]:
    """(taken in their order, alike -> (nearest taken, cosine)): the definition, one candidate after the other."""
    key = {}
    for row, cell in enumerate(made.cells):
        own = [other for other, its in enumerate(made.cells) if its == cell]
        r = percentile([made.reward[other] for other in own], made.reward[row])
        p = percentile([made.perplexity[other] for other in own], made.perplexity[row])
        key[row] = (-r * p / (r + p), made.ids[row])
    taken: list[int] = []
    alike: dict[int, tuple[int, float]] = {}
    left = dict(quotas)
    for row in sorted(key, key=key.__getitem__):
        if not left[made.cells[row]]:
            continue
        near = [(cosine(made.vectors_ND[row], made.vectors_ND[one]), -place, one) for place, one in enumerate(taken)
                if scope == "all" or made.cells[one] == made.cells[row]]  # fmt: skip
        if near and max(near)[0] > limit:
            alike[row] = (max(near)[2], max(near)[0])
        else:
            taken.append(row)
            left[made.cells[row]] -= 1
    return taken, alike


def check(made: Candidates, quotas: dict[Cell, int], limit: float, scope: Scope, chunk: int) -> Selection:
    found = select(made, quotas, limit=limit, scope=scope, chunk=chunk)
    taken, alike = by_brute_force(made, quotas, limit, scope)
    assert np.flatnonzero(found.taken).tolist() == sorted(taken)
    said = {row: (int(found.neighbour[row]), float(found.cosine[row])) for row in np.flatnonzero(found.neighbour >= 0).tolist()}
    assert {row: one for row, (one, _) in said.items()} == {row: one for row, (one, _) in alike.items()}
    assert all(said[row][1] == pytest.approx(alike[row][1], abs=1e-12) for row in alike)
    assert np.isnan(found.cosine[found.neighbour < 0]).all()
    return found


@settings(max_examples=300, deadline=None)
@given(
    SAMPLES,
    st.integers(0, 12),
    st.sampled_from([0.6, 0.0, 0.8, 1.0, -1.0]),
    st.sampled_from(["cell", "all"]),
    st.sampled_from([1, 2, 3, 7, 256]),
)
def test_as_one_by_one(samples: Any, quota: int, limit: float, scope: Scope, chunk: int) -> None:
    made = candidates(samples)
    check(made, quotas_of(made, quota), limit, scope, chunk)


@pytest.mark.parametrize("scope", ["cell", "all"])
@pytest.mark.parametrize("chunk", [1, 16, 256])
def test_as_one_by_one_among_many(scope: Scope, chunk: int) -> None:
    """400 vectors of 24 dimensions around few centres: most cosines lie near the limit."""
    source = np.random.default_rng(7)
    centres = source.standard_normal((12, 24))
    vectors = centres[source.integers(0, 12, 400)] * 0.6**0.5 + source.standard_normal((400, 24)) * 0.4**0.5
    samples = [(CELLS[row % 3], round(source.random(), 2), source.random(), vectors[row].tolist()) for row in range(400)]
    made = candidates(samples)
    found = check(made, {CELLS[0]: 20, CELLS[1]: 400, CELLS[2]: 15}, 0.6, scope, chunk)
    assert 15 < found.taken.sum() < 300
    assert (found.neighbour >= 0).sum() > 50


def test_what_float32_would_get_wrong() -> None:
    """Cosines nearer to the limit than float32 products tell are decided in float64, in a long vector too."""
    source = np.random.default_rng(1)
    vectors: list[Any] = []
    for pair in range(80):
        one, other = source.standard_normal((2, 1024))
        one /= np.linalg.norm(one)
        other -= (other @ one) * one
        other /= np.linalg.norm(other)
        angle = math.acos(0.6 + (-1) ** pair * 2e-8)
        vectors += [one, math.cos(angle) * one + math.sin(angle) * other]
    made = candidates([((f"l{row // 2}", "x"), 1.0, 1.0, vector.tolist()) for row, vector in enumerate(vectors)])
    for chunk in (1, 256):
        found = check(made, quotas_of(made, 2), 0.6, "cell", chunk)
    assert found.taken[1::2].tolist() == [False, True] * 40
    narrow = made.vectors_ND / np.linalg.norm(made.vectors_ND, axis=1, keepdims=True)
    float32_says = np.array([float(narrow[row] @ narrow[row + 1]) <= 0.6 for row in range(0, 160, 2)])
    assert (float32_says != found.taken[1::2]).any()  # so the case is a case


def test_the_nearest_of_two_that_float32_cannot_tell_apart() -> None:
    source = np.random.default_rng(2)
    samples: list[Any] = []
    for trial in range(60):
        one, two, three = np.linalg.qr(source.standard_normal((300, 3)))[0].T
        for rank, (axis, near) in enumerate([(two, 0.7), (three, 0.7 + (-1) ** trial * 2e-9)]):
            samples.append(((f"l{trial}", "x"), 3.0 - rank, 1.0, (near * one + math.sqrt(1 - near * near) * axis).tolist()))
        samples.append(((f"l{trial}", "x"), 1.0, 1.0, one.tolist()))
    found = check(candidates(samples), {cell: 3 for cell, *_ in samples}, 0.6, "cell", 256)
    assert found.taken.tolist() == [True, True, False] * 60


def test_the_limit_itself_is_no_likeness() -> None:
    made = candidates([(CELLS[0], 2.0, 1.0, [5, 0]), (CELLS[0], 1.0, 1.0, [3, 4])])
    assert select(made, quotas_of(made, 2)).taken.all()
    made = dataclasses.replace(made, vectors_ND=np.array([[5, 0], [3.0001, 4]], dtype=np.float32))
    found = select(made, quotas_of(made, 2))
    assert found.taken.tolist() == [True, False]
    assert found.neighbour.tolist() == [-1, 0]
    assert found.cosine[1] == pytest.approx(0.6, abs=1e-4)


def test_embeddings_of_other_types_and_lengths() -> None:
    """float16, float64 and long or short vectors give the same as their directions do."""
    source = np.random.default_rng(3)
    vectors = source.integers(-3, 4, (60, 5)) + np.eye(60, 5) * 0.5
    made = candidates([(CELLS[0], float(row), 1.0, [1.0]) for row in range(60)])
    expected = select(dataclasses.replace(made, vectors_ND=vectors.astype(np.float32)), {CELLS[0]: 60}).taken
    for other in (vectors.astype(np.float16), vectors, vectors * 2.0**60, vectors * 2.0**-60):
        assert (select(dataclasses.replace(made, vectors_ND=other), {CELLS[0]: 60}).taken == expected).all()


# ----------------------------------------------------------------------------------------------------------- ranks and scores


@given(st.lists(VALUES, min_size=1, max_size=20))
def test_percentiles(values: list[float]) -> None:
    found = odd_ranks(np.array(values)) / (2 * len(values))
    assert found.tolist() == [float(percentile(values, value)) for value in values]
    assert found.mean() == pytest.approx(0.5)


def test_percentiles_as_scipy_ranks_them() -> None:
    from scipy.stats import rankdata

    values = np.random.default_rng(0).integers(0, 50, 1000).astype(float)
    assert (odd_ranks(values) == 2 * rankdata(values) - 1).all()


def test_a_constant_cell_is_in_the_middle() -> None:
    made = candidates([(CELLS[0], 5.0, float(row), [1.0, row]) for row in range(5)])
    found = select(made, quotas_of(made, 5))
    assert found.reward_percentile.tolist() == [0.5] * 5
    assert found.perplexity_percentile.tolist() == [0.1, 0.3, 0.5, 0.7, 0.9]


def test_high_reward_and_high_perplexity_are_wanted() -> None:
    """Table 6: good and hard before good and easy, and before bad ones."""
    made = candidates([(CELLS[0], reward, perplexity, [1.0, reward, perplexity]) for reward in (1, 9) for perplexity in (1, 9)])
    found = select(made, quotas_of(made, 1), limit=1.0)
    assert found.taken.tolist() == [False, False, False, True]
    assert found.score.tolist() == [0.125, 0.1875, 0.1875, 0.375]


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=25), st.data())
def test_scores(pairs: list[tuple[float, float]], data: st.DataObject) -> None:
    """Invariants 1 and 6: symmetric, at most R and P, equal where the fractions are, never lower when reward or perplexity rises."""
    reward, perplexity = (np.array(values) for values in zip(*pairs, strict=True))
    r, p = odd_ranks(reward), odd_ranks(perplexity)
    n = len(pairs)
    found = scores(r, p)
    assert (found == scores(p, r)).all()
    assert (found <= np.minimum(r, p) / (2 * n)).all()
    assert (found > 0).all()
    exact = [Fraction(int(a), 2 * n) * Fraction(int(b), 2 * n) / (Fraction(int(a + b), 2 * n)) for a, b in zip(r, p, strict=True)]
    assert found.tolist() == [float(value) for value in exact]
    row, more = data.draw(st.integers(0, n - 1)), data.draw(st.floats(0, 5))
    for raised in (reward, perplexity):
        before = raised[row]
        raised[row] += more
        assert scores(odd_ranks(reward), odd_ranks(perplexity))[row] >= found[row]
        raised[row] = before


# ------------------------------------------------------------------------------------------------------------- the invariants


@settings(max_examples=150, deadline=None)
@given(SAMPLES, st.integers(0, 8), st.sampled_from(["cell", "all"]), st.randoms(use_true_random=False))
def test_invariants_of_a_selection(samples: Any, quota: int, scope: Scope, source: random.Random) -> None:
    made = candidates(samples)
    found = select(made, quotas_of(made, quota), scope=scope)
    taken = np.flatnonzero(found.taken).tolist()
    together = [(a, b) for a in taken for b in taken if a < b and (scope == "all" or made.cells[a] == made.cells[b])]
    assert all(cosine(made.vectors_ND[a], made.vectors_ND[b]) <= 0.6 for a, b in together)  # (2)
    for row in np.flatnonzero(found.neighbour >= 0).tolist():  # (3)
        one = int(found.neighbour[row])
        assert found.taken[one]
        assert not found.taken[row]
        assert (-found.score[one], made.ids[one]) < (-found.score[row], made.ids[row])
        assert found.cosine[row] > 0.6
        assert found.cosine[row] == pytest.approx(cosine(made.vectors_ND[row], made.vectors_ND[one]), abs=1e-12)
    for cell, count in Counter(made.cells).items():  # (4)
        own = [row for row, its in enumerate(made.cells) if its == cell]
        alike = sum(bool(found.neighbour[row] >= 0) for row in own)
        assert sum(bool(found.taken[row]) for row in own) == min(quota, count - alike)
    order = list(range(len(samples)))
    source.shuffle(order)
    shuffled = candidates([samples[row] for row in order], [made.ids[row] for row in order])
    again = select(shuffled, quotas_of(made, quota), scope=scope)
    assert {shuffled.ids[row] for row in np.flatnonzero(again.taken).tolist()} == {made.ids[row] for row in taken}  # (5)
    assert [again.neighbour[place] < 0 for place in range(len(order))] == [found.neighbour[row] < 0 for row in order]


def test_scopes_differ() -> None:
    """The same vector in two cells: both are taken, or the better one."""
    made = candidates([(CELLS[0], 1.0, 1.0, [1, 0]), (CELLS[1], 1.0, 1.0, [1, 0]), (CELLS[1], 0.0, 0.0, [0, 1])])
    assert select(made, quotas_of(made, 2), scope="cell").taken.tolist() == [True, True, True]
    found = select(made, quotas_of(made, 2), scope="all")
    assert found.taken.tolist() == [False, True, True]  # of two samples the better has percentile .75, an only one .5
    assert found.neighbour.tolist() == [1, -1, -1]


def test_cells_that_one_side_does_not_know() -> None:
    made = candidates([(CELLS[0], 1.0, 1.0, [1, 0]), (CELLS[1], 1.0, 1.0, [1, 0])])
    with pytest.raises(CurationError, match=r"1 cells of the candidates have no quota: ind/code \(1\); correct the names .*quota of 0"):
        select(made, {CELLS[0]: 1})
    with pytest.raises(CurationError, match=r"name 1 cells that no candidate is of: tha/math; .*set these quotas to 0"):
        select(made, dict.fromkeys(CELLS, 1))
    assert select(made, {**dict.fromkeys(CELLS, 1), CELLS[2]: 0, CELLS[1]: 0}).taken.tolist() == [True, False]
