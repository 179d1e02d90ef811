"""One stream whatever the number of workers: equal to the rule written out, resumable with other workers, capped by epochs."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.pretraining import stream
from training.pretraining.mapped import Tokens, join, write
from training.pretraining.packing import Corpus, Joined, PackingError, Row
from training.pretraining.stream import Exhausted, Permutation, Stream

END = 0
documents = st.lists(st.lists(st.integers(1, 50), max_size=12), min_size=1, max_size=10)
corpora = st.lists(st.tuples(documents, st.integers(0, 200)), min_size=1, max_size=4).filter(
    lambda found: any(budget for _, budget in found)
)
sequences, computed = st.integers(2, 17), st.booleans()


def make(found: list[tuple[list[list[int]], int]]) -> list[Corpus]:
    return [Corpus.of(f"p{number}", "eng", texts, END, budget) for number, (texts, budget) in enumerate(found)]


def plain(rows: list[Row]) -> list[tuple[list[int], tuple[int, ...]]]:
    return [(row.ids_T.tolist(), row.lengths) for row in rows]


@contextlib.contextmanager
def orders(huge: bool = False) -> Iterator[None]:
    """Orders held in memory, or computed as those of huge corpora are; documents are looked up three at a time either way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "IN_MEMORY", 0 if huge else stream.IN_MEMORY)
        patch.setattr(stream, "BLOCK", 3)
        yield


def drain(made: Stream) -> list[Row]:
    rows = []
    while made.rows_left():
        rows.append(made.row())
    with pytest.raises(Exhausted, match="raise most_epochs, or draw fewer tokens"):
        made.row()
    return rows


def brute_force(found: list[tuple[list[list[int]], int]], sequence: int, seed: int, count: int) -> list[tuple[list[int], tuple[int, ...]]]:
    """The rule in lists and exact fractions: the portion furthest behind its share gives the rest of its document, or what fits the row."""
    drawn = [(texts, budget) for texts, budget in found if budget]

    def endless(number: int, texts: list[list[int]]) -> Iterator[list[int]]:
        for epoch in itertools.count():
            for document in np.random.Generator(np.random.PCG64([seed, number, epoch])).permutation(len(texts)):
                yield [*texts[document], END]

    feeds = [endless(number, texts) for number, (texts, _) in enumerate(drawn)]
    left: list[list[int]] = [[] for _ in drawn]
    taken = [0] * len(drawn)
    rows = []
    for _ in range(count):
        row: list[int] = []
        lengths = []
        while len(row) < sequence:
            chosen = min(range(len(drawn)), key=lambda number: (Fraction(taken[number], drawn[number][1]), number))
            document = left[chosen] or next(feeds[chosen])
            space = sequence - len(row)
            piece, left[chosen] = document[:space], document[space:]
            taken[chosen] += len(piece)
            row += piece
            lengths.append(len(piece))
        rows.append((row, tuple(lengths)))
    return rows


@settings(max_examples=100)
@given(found=corpora, sequence=sequences, seed=st.integers(0, 9), count=st.integers(1, 30), before=st.integers(0, 30))
def test_one_worker_without_caps_reads_by_the_rule(found: list, sequence: int, seed: int, count: int, before: int) -> None:
    expected = brute_force(found, sequence, seed, before + count)
    with orders():
        made = Stream(make(found), sequence, seed)
        assert plain(made.rows(before)) == expected[:before]
        again = Stream(make(found), sequence, seed)
        again.restore(made.state())
        assert plain(made.rows(count)) == plain(again.rows(count)) == expected[before:]
        assert made.state() == again.state()


@settings(max_examples=40)
@given(found=corpora, sequence=sequences, workers=st.integers(1, 5), count=st.integers(1, 6), huge=computed)
def test_workers_share_one_stream(found: list, sequence: int, workers: int, count: int, huge: bool) -> None:
    with orders(huge):
        alone = Stream(make(found), sequence, 1)
        whole = plain(alone.rows(workers * count))
        for worker in range(workers):
            one = Stream(make(found), sequence, 1, worker=worker, workers=workers)
            assert plain(one.rows(count)) == whole[worker::workers]
            assert one.state() == alone.state()


@settings(max_examples=40)
@given(found=corpora, sequence=sequences, before=st.integers(1, 4), after=st.integers(1, 4), count=st.integers(0, 5), huge=computed)
def test_a_state_goes_on_with_another_number_of_workers(
    found: list, sequence: int, before: int, after: int, count: int, huge: bool
) -> None:
    with orders(huge):
        whole = plain(Stream(make(found), sequence, 1).rows(before * count + after * 3))
        first = Stream(make(found), sequence, 1, worker=before - 1, workers=before)
        first.rows(count)
        state = json.loads(json.dumps(first.state()))
        assert all(len(numbers) == 4 for numbers in state.values())
        for worker in range(after):
            second = Stream(make(found), sequence, 1, worker=worker, workers=after)
            second.restore(state)
            assert plain(second.rows(3)) == whole[before * count + worker :: after]


@settings(max_examples=40)
@given(found=corpora, sequence=sequences, epochs=st.integers(1, 3), huge=computed)
def test_a_capped_stream_reads_every_token_as_often_as_it_may(found: list, sequence: int, epochs: int, huge: bool) -> None:
    with orders(huge):
        portions = make(found)
        made = Stream(portions, sequence, 1, most_epochs=epochs)
        rows = drain(made)
    allowed: Counter[int] = Counter()
    for portion in made.portions:
        allowed.update({token: epochs * times for token, times in Counter(portion.ids_N.tolist()).items()})
    drawn = Counter(np.concatenate([row.ids_T for row in rows]).tolist()) if rows else Counter[int]()
    left = allowed - drawn
    assert not drawn - allowed
    assert left.total() < sequence
    assert all(facts["epochs"] <= epochs for facts in made.facts().values())


@settings(max_examples=20)
@given(found=corpora, sequence=sequences, workers=st.integers(2, 4), epochs=st.sampled_from([0.3, 1, 2.5]))
def test_workers_stop_at_the_same_row(found: list, sequence: int, workers: int, epochs: float) -> None:
    made = [Stream(make(found), sequence, 1, most_epochs=epochs, worker=worker, workers=workers) for worker in range(workers)]
    rows = [plain(drain(one)) for one in made]
    assert len({len(part) for part in rows}) == 1
    assert list(itertools.chain.from_iterable(zip(*rows, strict=True))) == plain(Stream(make(found), sequence, 1, most_epochs=epochs).rows(
        workers * len(rows[0])
    ))  # fmt: skip


def test_the_weight_of_a_portion_that_stopped_goes_to_the_others_in_proportion() -> None:
    budgets = {"small": 500, "one": 100, "two": 300}
    portions = [Corpus.of(name, "eng", [[1] * 9] * (5 if name == "small" else 400), END, budget) for name, budget in budgets.items()]
    made = Stream(portions, 10, 0, most_epochs={"small": 2})
    made.rows(20)
    before = made.facts()
    assert before["small"]["stopped"]
    assert before["small"]["epochs"] == 2
    made.rows(80)
    after = made.facts()
    gained = {name: after[name]["tokens"] - before[name]["tokens"] for name in budgets}
    assert gained["small"] == 0
    assert gained == {"small": 0, "one": 200, "two": 600}
    assert made.rows_left() is None


def test_a_language_is_told_with_the_text_that_its_portions_share_counted_once() -> None:
    web, books, other = (Corpus.of("", "", [[1] * 9] * documents, END, 0) for documents in (10, 30, 5))
    shared = Joined([web.ids_N, books.ids_N])  # type: ignore[list-item]
    starts_D1 = np.arange(0, 401, 10)
    made = Stream(
        [
            Corpus(name="all", language="ind", ids_N=shared, starts_D1=starts_D1, budget=300),
            Corpus(name="replay", language="ind", ids_N=web.ids_N, starts_D1=web.starts_D1, budget=100),
            Corpus(name="tha", language="tha", ids_N=other.ids_N, starts_D1=other.starts_D1, budget=100),
        ],
        50,
        0,
    )
    made.rows(20)
    assert made.languages() == {
        "ind": {"tokens": 800, "corpus_tokens": 400, "epochs": 2.0},
        "tha": {"tokens": 200, "corpus_tokens": 50, "epochs": 4.0},
    }


def test_a_fraction_of_an_epoch() -> None:
    made = Stream([Corpus.of("p", "eng", [[1] * 9] * 10, END, 1)], 5, 0, most_epochs=0.35)
    assert len(drain(made)) == 7
    assert made.facts()["p"] == {"language": "eng", "tokens": 35, "documents": 10, "corpus_tokens": 100, "epochs": 0.35, "stopped": True}


def _rows(directory: str, worker: int) -> tuple[list[list[int]], dict[str, list[int]]]:
    """What one process of three reads of the corpora under a directory."""
    portions = [
        join([Tokens.open(path)], path.name, path.name, 100 + number) for number, path in enumerate(sorted(Path(directory).iterdir()))
    ]
    made = Stream(portions, 16, 5, most_epochs=3, worker=worker, workers=3)
    return [row.ids_T.tolist() for row in made.rows(10)], made.state()


def test_processes_read_one_stream_from_the_same_files(tmp_path: Path) -> None:
    for name in ("ind", "tha"):
        texts = np.random.default_rng(len(name)).integers(1, 60_000, (40, 9))
        write(tmp_path / name, list(texts), dtype="uint16", end=END, name=name, language=name, tokenizer="t", bytes=1)
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(_rows, [str(tmp_path)] * 3, range(3)))
    portions = [join([Tokens.open(path)], path.name, path.name, 100 + number) for number, path in enumerate(sorted(tmp_path.iterdir()))]
    alone = Stream(portions, 16, 5, most_epochs=3)
    whole = [row.ids_T.tolist() for row in alone.rows(30)]
    assert [rows for rows, _ in found] == [whole[worker::3] for worker in range(3)]
    assert all(state == alone.state() for _, state in found)


# ---------------------------------------------------------------------------------------------------------- permutations


@given(size=st.integers(1, 5000), seed=st.integers(0, 99), block=st.integers(1, 700))
def test_a_computed_order_holds_every_document_once(size: int, seed: int, block: int) -> None:
    made = Permutation(size, seed, 0, 0)
    whole = np.concatenate([made[slice(start, start + block)] for start in range(0, size, block)])
    assert np.array_equal(np.sort(whole), np.arange(size))


def test_a_computed_order_looks_drawn() -> None:
    size, draws = 1000, 200
    drawn = np.stack([Permutation(size, seed, 1, 2)[slice(0, size)] for seed in range(draws)])
    # each document's mean place, each order's number of ascents and of fixed points, and neighbours' correlation, within 5 deviations
    assert abs(drawn.mean(axis=0) - (size - 1) / 2).max() < 5 * size / np.sqrt(12 * draws)
    ascents = (np.diff(drawn, axis=1) > 0).sum()
    assert abs(ascents - draws * (size - 1) / 2) < 5 * np.sqrt(draws * (size + 1) / 12)
    assert abs((drawn == np.arange(size)).sum() - draws) < 5 * np.sqrt(draws)
    assert abs(np.corrcoef(drawn[:, :-1].ravel(), drawn[:, 1:].ravel())[0, 1]) < 5 / np.sqrt(draws * size)


def test_computed_orders_differ_by_seed_portion_and_epoch() -> None:
    found = {tuple(Permutation(100, *numbers)[slice(0, 100)].tolist()) for numbers in itertools.product((0, 1), repeat=3)}
    assert len(found) == 8


def test_a_huge_order_is_not_held() -> None:
    made = Permutation(10**12, 0, 0, 0)
    assert len(set(made[slice(10**11, 10**11 + 1000)].tolist())) == 1000


# ---------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("portions", "settings_", "words"),
    [
        ([Corpus.of("p", "eng", [[1]], END, 0)], {}, "no portion has a token"),
        ([Corpus.of("hollow", "eng", [], END, 5)], {}, "portion hollow has a budget of tokens and no document"),
        ([Corpus.of("p", "eng", [[1]], END, 5)] * 2, {}, "two portions are named p"),
        ([Corpus.of("p", "eng", [[1]], END, 5)], {"sequence": 1}, "nothing to predict"),
        ([Corpus.of("p", "eng", [[1]], END, 5)], {"worker": 2, "workers": 2}, "no worker 2 of 2"),
        ([Corpus.of("p", "eng", [[1]], END, 5)], {"most_epochs": {"q": 1}}, "caps q, which is no portion; the portions are p"),
        ([Corpus.of("p", "eng", [[1]], END, 5)], {"most_epochs": 0}, "most_epochs of p is 0"),
    ],
)
def test_what_cannot_be_streamed_is_named(portions: list[Corpus], settings_: dict[str, Any], words: str) -> None:
    with pytest.raises(PackingError, match=words):
        Stream(portions, **{"sequence": 4, "seed": 0, **settings_})


@pytest.mark.parametrize(
    ("state", "words"), [({"q": [0, 0, 0, 0]}, "portions q, not p"), ({"p": [9, 0, 9, 0]}, "beyond"), ({"p": [9, 0, 0, 9]}, "beyond")]
)
def test_a_state_of_something_else_is_refused(state: dict[str, list[int]], words: str) -> None:
    made = Stream([Corpus.of("p", "eng", [[1]], END, 5)], 4, 0)
    with pytest.raises(PackingError, match=words):
        made.restore(state)
    assert made.state() == {"p": [0, 0, 0, 0]}
