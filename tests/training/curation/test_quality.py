"""The quality layer: exactly the best fifth of each language stays, the classifier tells planted text, and nothing of it is chance."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curation import quality, ranking
from training.curation.documents import CurationError, Document, read, write
from training.curation.engine import Engine
from training.curation.layer import Decision
from training.curation.quality import FACTS, HELD_OUT, Quality, text_key

HERE = Engine(workers=1)
LETTERS = {"eng": "abcdefghijklmnopqrstuvwxyz", "tha": "กขคงจชซดตถทนบปพมยรลวสหอ"}


def written(language: str, good: bool, rng: random.Random) -> str:
    """Forty words of a made vocabulary; good text takes most of them from its first half. Thai is written without spaces."""
    letters = LETTERS[language]
    vocabulary = [letters[i % len(letters)] + letters[i // len(letters)] + letters[3 * i % len(letters)] for i in range(120)]
    half = len(vocabulary) // 2
    chosen = [vocabulary[rng.randrange(half) + (half if (rng.random() < 0.25) == good else 0)] for _ in range(40)]
    return (" " if language == "eng" else "").join(chosen)


def made(count: int, good: bool, seed: int, languages: tuple[str, ...] = ("eng", "tha")) -> list[Document]:
    rng = random.Random(seed)
    return [
        Document(
            id=f"{language}-{good}-{number}", text=written(language, good, rng), language=language, extra={"good": good, "page": number}
        )
        for language in languages
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Examples, and a pool of two shards whose documents of both kinds and languages are mixed; two examples stand in the pool."""
    directory = tmp_path_factory.mktemp("quality")
    good, crawl = made(300, True, 1), made(300, False, 2)
    write(directory / "good.jsonl", good)
    write(directory / "crawl.parquet", crawl)
    pool = [*made(37, True, 3), *made(150, False, 4), good[0], crawl[0]]
    pool.append(Document(id="vie", text="Không có mẫu nào.", language="vie"))
    random.Random(0).shuffle(pool)
    write(directory / "0.parquet", pool[:100])
    write(directory / "1.parquet", pool[100:])
    return directory


def layer(place: Path, **settings: object) -> Quality:
    return Quality(positives=(str(place / "good.jsonl"),), negatives=(str(place / "crawl.parquet"),), **settings)  # type: ignore[arg-type]


def run(one: Quality, place: Path, work: Path) -> tuple[list[Document], list[Decision]]:
    work.mkdir()
    shards = [place / "0.parquet", place / "1.parquet"]
    one.prepare(shards, work, HERE)
    judge, documents, decisions = one.judge(work), [], []
    for number in (1, 0):  # in any order
        own = list(read(shards[number], lambda _: None))
        for first in range(0, len(own), 33):
            decisions += judge(own[first : first + 33], number, first)
        documents += own
    return documents, decisions


@pytest.fixture(scope="module")
def judged(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Document], list[Decision]]:
    work = tmp_path_factory.mktemp("work") / "quality"
    return work, *run(layer(place), place, work)


def test_exactly_the_best_fifth_of_each_language_stays(judged: tuple[Path, list[Document], list[Decision]]) -> None:
    work, documents, decisions = judged
    facts = json.loads((work / FACTS).read_text())
    for language in ("eng", "tha"):
        own = [decision for document, decision in zip(documents, decisions, strict=True) if document.language == language]
        kept = [decision.document for decision in own if decision.document]
        assert len(kept) == math.ceil(0.2 * len(own)) == facts[language]["kept"]
        assert facts[language]["lowest kept"] >= facts[language]["highest dropped"]
        assert min(document.extra["quality"] for document in kept) == facts[language]["lowest kept"]
        assert {decision.reason for decision in own} == {"", "low quality"}
        assert sum(document.extra["good"] for document in kept) / len(kept) > 0.85


def test_the_classifier_tells_held_out_text(judged: tuple[Path, list[Document], list[Decision]]) -> None:
    work, documents, _ = judged
    facts = json.loads((work / FACTS).read_text())
    for language in ("eng", "tha"):
        assert facts[language]["held-out AUC"] > 0.9
        own = [document for document in documents if document.language == language]
        scores = quality.score(work / f"{language}.bin", [document.text for document in own])
        good = np.array([document.extra["good"] for document in own])
        assert ranking.auc(scores[good], scores[~good]) > 0.9


def test_each_held_out_example_is_left_with_its_score(judged: tuple[Path, list[Document], list[Decision]], place: Path) -> None:
    work = judged[0]
    rows = [json.loads(line) for line in (work / HELD_OUT).read_text().splitlines()]
    facts = json.loads((work / FACTS).read_text())
    texts = {
        " ".join(made.text.split())[: quality.EXCERPT]
        for name in ("good.jsonl", "crawl.parquet")
        for made in read(place / name, lambda _: None)
    }
    assert {row["excerpt"] for row in rows} <= texts
    for language in ("eng", "tha"):
        good, bad = (
            np.array([row["score"] for row in rows if row["language"] == language and row["positive"] is want]) for want in (True, False)
        )
        assert len(good) == len(bad) == 30
        assert ranking.auc(good, bad) == facts[language]["held-out AUC"]
    assert {FACTS, HELD_OUT} == set(Quality.leaves)


def test_examples_in_the_pool_are_not_trained_on(judged: tuple[Path, list[Document], list[Decision]]) -> None:
    facts = json.loads((judged[0] / FACTS).read_text())
    assert facts["eng"]["in the pool"] == 2
    assert facts["eng"]["positives"] + facts["eng"]["negatives"] + facts["eng"]["held out"] == 598
    assert facts["eng"]["held out"] == 60
    assert facts["tha"]["in the pool"] == 0


def test_what_is_held_out_is_never_trained_on_nor_the_same_text_in_both_classes(place: Path, tmp_path: Path) -> None:
    chosen = layer(place)._chosen()
    order = quality._Order(layer(place), "eng", chosen["eng", quality.GOOD], chosen["eng", quality.CRAWL], set(), tmp_path)
    trained, held = order.parts()
    assert not {text_key(text) for _, text in trained} & {text_key(text) for _, text in held}
    assert len(trained) + len(held) == 600
    twice = made(40, True, 8, ("eng",))
    write(tmp_path / "good.jsonl", twice)
    write(tmp_path / "crawl.jsonl", [*twice[:10], *made(30, False, 9, ("eng",))])
    found = Quality(positives=(str(tmp_path / "good.jsonl"),), negatives=(str(tmp_path / "crawl.jsonl"),))._chosen()
    assert {label: len(texts) for (_, label), texts in found.items()} == {quality.GOOD: 30, quality.CRAWL: 30}


def test_other_columns_are_carried_and_a_language_without_examples_is_kept(judged: tuple[Path, list[Document], list[Decision]]) -> None:
    _, documents, decisions = judged
    for document, decision in zip(documents, decisions, strict=True):
        if document.language == "vie":
            assert decision.document == document
            assert decision.counts == {"no classifier of its language": 1}
        elif decision.document:
            assert decision.document.extra["page"] == document.extra["page"]


def test_the_same_examples_give_the_same_scores(judged: tuple[Path, list[Document], list[Decision]], place: Path, tmp_path: Path) -> None:
    """And keep="all" says the same scores of every document, dropping none."""
    _, decisions = run(layer(place, keep="all"), place, tmp_path / "again")
    assert all(decision.document for decision in decisions)
    for name in ("000000.npz", "000001.npz"):
        with np.load(judged[0] / name) as first, np.load(tmp_path / "again" / name) as second:
            np.testing.assert_array_equal(first["scores"], second["scores"])
    for one, other in zip(judged[2], decisions, strict=True):
        if one.document is not None:
            assert other.document is not None
            assert one.document.extra == other.document.extra


@given(st.data())
def test_white_space_does_not_count(judged: tuple[Path, list[Document], list[Decision]], data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(judged[1])).text
    spaced = "".join(data.draw(st.sampled_from([" ", "\n", "\t ", "\r\n"])) if letter == " " else letter for letter in text)
    first, second = quality.score(judged[0] / "eng.bin", [text, f"\n{spaced} "])
    assert first == second


@given(
    st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), st.integers(0, 5))), max_size=40),
    st.sampled_from([0.1, 0.2, 0.25, 0.7, 1.0]),
)
def test_the_best_are_those_of_a_sort_by_hand(rows: list[tuple[int, int | None]], share: float) -> None:
    scores = np.array([math.nan if score is None else score for _, score in rows], dtype=np.float64)
    kept = ranking.best(scores, np.array([group for group, _ in rows], dtype=np.int16), share)
    expected = [score is None for _, score in rows]
    for group in range(3):
        own = sorted((-score, number) for number, (one, score) in enumerate(rows) if one == group and score is not None)
        for _, number in own[: math.ceil(round(share * len(own), 9))]:
            expected[number] = True
    assert kept.tolist() == expected


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_the_area_is_scikit_learns(positive: list[int], negative: list[int]) -> None:
    from sklearn.metrics import roc_auc_score

    expected = roc_auc_score([1] * len(positive) + [0] * len(negative), positive + negative)
    assert ranking.auc(np.array(positive, dtype=np.float64), np.array(negative, dtype=np.float64)) == pytest.approx(expected, abs=1e-12)


def test_a_share_is_the_decimal_that_was_written() -> None:
    assert [ranking.wanted(0.2, count) for count in (0, 1, 5, 6, 35)] == [0, 1, 1, 2, 7]
    assert ranking.wanted(0.07, 100) == 7  # .07 x 100 is 7.000000000000001 in floating point


def test_what_cannot_be_trained_on_is_named(place: Path, tmp_path: Path) -> None:
    with pytest.raises(CurationError, match=r"quality\.positives and quality\.negatives name no shards"):
        Quality().prepare([], tmp_path, HERE)
    with pytest.raises(CurationError, match=r"quality\.share is 0"):
        Quality(share=0)
    write(tmp_path / "few.jsonl", made(3, True, 1, ("eng",)))
    with pytest.raises(CurationError, match=r"quality\.positives hold 3 examples in eng"):
        Quality(positives=(str(tmp_path / "few.jsonl"),), negatives=(str(place / "crawl.parquet"),)).prepare([], tmp_path, HERE)
    write(tmp_path / "none.jsonl", [Document(id="1", text="Which language?")])
    with pytest.raises(CurationError, match="the example 1 has no language"):
        Quality(positives=(str(tmp_path / "none.jsonl"),), negatives=(str(place / "crawl.parquet"),)).prepare([], tmp_path, HERE)
    with pytest.raises(CurationError, match="has no scores of shard 3"):
        Quality().judge(tmp_path)([Document(id="1", text="a")], 3, 0)
