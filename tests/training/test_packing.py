"""Packed rows lose nothing, keep their boundaries and their mixture, and go on from a few numbers (algorithms.md, topic 2)."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.pretraining.packing import Corpus, cu_seqlens
from training.pretraining.stream import Stream

END = 0
documents = st.lists(st.lists(st.integers(1, 50), max_size=12), min_size=1, max_size=10)
corpora = st.lists(st.tuples(documents, st.integers(0, 200)), min_size=1, max_size=4).filter(
    lambda found: any(budget for _, budget in found)
)


def make(found: list[tuple[list[list[int]], int]]) -> list[Corpus]:
    return [Corpus.of(f"p{number}", "eng", texts, END, budget) for number, (texts, budget) in enumerate(found)]


def segments(made: Stream, rows: int) -> list[list[int]]:
    """The segments of the next rows, in order."""
    found = []
    for row in made.rows(rows):
        bounds = np.cumsum((0, *row.lengths))
        found += [row.ids_T[a:b].tolist() for a, b in itertools.pairwise(bounds)]
    return found


@settings(max_examples=150, deadline=None)
@given(found=corpora, sequence=st.integers(2, 17), seed=st.integers(0, 9), rows=st.integers(1, 12))
def test_boundaries(found: list, sequence: int, seed: int, rows: int) -> None:
    batch = Stream(make(found), sequence, seed).rows(rows)
    bounds = cu_seqlens(batch)
    assert bounds.dtype == np.int32
    assert bounds[0] == 0
    assert bounds[-1] == rows * sequence
    assert (np.diff(bounds) > 0).all()
    assert set(range(0, rows * sequence + 1, sequence)) <= set(bounds.tolist())
    flat = np.concatenate([row.ids_T for row in batch])
    # Independent reference: boundaries follow from the ids alone, an end-of-document token or a row's end.
    expected = sorted({0, *(np.flatnonzero(flat == END) + 1).tolist(), *range(sequence, len(flat) + 1, sequence)})
    assert bounds.tolist() == expected
    assert sum(sum(row.lengths) for row in batch) == len(flat)


@settings(max_examples=150, deadline=None)
@given(texts=documents, sequence=st.integers(2, 17), seed=st.integers(0, 9), epochs=st.integers(1, 3))
def test_an_epoch_holds_every_token_of_every_document_once(texts: list, sequence: int, seed: int, epochs: int) -> None:
    corpus = Corpus.of("p", "eng", texts, END, 1)
    whole = len(corpus.ids_N)
    made = Stream([corpus], sequence, seed)
    drawn = [token for row in made.rows(-(-epochs * whole // sequence)) for token in row.ids_T.tolist()]
    for epoch in range(epochs):
        part = drawn[epoch * whole : (epoch + 1) * whole]
        assert Counter(part) == Counter(corpus.ids_N.tolist())
        cut = [index + 1 for index, token in enumerate(part) if token == END]
        unpacked = sorted(part[a:b] for a, b in zip([0, *cut[:-1]], cut, strict=True))
        assert unpacked == sorted([*text, END] for text in texts)


@settings(max_examples=60, deadline=None)
@given(found=corpora, sequence=st.integers(8, 40), rows=st.integers(1, 40))
def test_any_run_of_rows_has_the_mixture_of_the_recipe(found: list, sequence: int, rows: int) -> None:
    made = Stream(make(found), sequence, 0)
    made.rows(rows)
    drawn = rows * sequence
    total = sum(portion.budget for portion in made.portions)
    longest = max(int(np.diff(portion.starts_D1).max()) for portion in made.portions)
    for portion in made.portions:
        taken = made.facts()[portion.name]["tokens"]
        assert abs(taken - drawn * portion.budget / total) <= min(longest, sequence) * len(made.portions)


def test_the_order_depends_on_the_seed_and_on_the_epoch() -> None:
    corpus = Corpus.of("p", "eng", [[number] for number in range(1, 21)], END, 1)
    first, again, other = (segments(Stream([corpus], 40, seed), 2) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first[:20] != first[20:]


def test_a_document_longer_than_rows_goes_on_in_later_ones() -> None:
    made = Stream([Corpus.of("p", "eng", [list(range(1, 11))], END, 1)], 4, 0)
    assert segments(made, 3) == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, END], [1]]
    assert made.facts()["p"] == {"language": "eng", "tokens": 12, "documents": 1, "corpus_tokens": 11, "epochs": 1.0909, "stopped": False}


def test_a_long_document_does_not_hold_up_the_other_portions() -> None:
    long = Corpus.of("long", "eng", [[1] * 1000], END, 100)
    short = Corpus.of("short", "ind", [[2] * 3], END, 100)
    made = Stream([long, short], 40, 0)
    for number in range(1, 21):
        made.row()
        assert abs(made.facts()["long"]["tokens"] - number * 20) <= 20


def test_empty_documents_are_one_token() -> None:
    assert segments(Stream([Corpus.of("p", "eng", [[], []], END, 1)], 3, 0), 1) == [[END], [END], [END]]


def test_a_portion_without_budget_is_not_read_even_if_empty() -> None:
    made = Stream([Corpus.of("replay", "eng", [], END, 0), Corpus.of("p", "eng", [[1]], END, 5)], 4, 0)
    assert list(made.facts()) == ["p"]
