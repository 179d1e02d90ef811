"""Evaluation text left in a corpus: found by exact n-grams, with what the layer overlooks, and never passed over in silence."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suites.curation import asked, build
from benchmarks.suites.curation.asked import Asked
from harness.suites import SuiteContext, SuiteError
from tests.benchmarks.test_curation_found import LANGUAGES, artifact, stories
from training.curation.decontaminate import Decontaminate, write_ngrams
from training.curation.documents import Document
from training.curation.engine import Engine

WORDS = ["kapal", "pelabuhan", "Besar", "ikan", "senja", "pasar", "gunung", "ทะเล", "ตลาด", "เรือ", "ၿမို့", "နေ့", "42", "7"]


def sentence(seed: int, words: int = 30) -> str:
    rng = random.Random(seed)
    return " ".join(f"{rng.choice(WORDS)}{rng.randrange(100)}" for _ in range(words))


def brute(texts: list[str], document: str) -> float:
    """The largest share, by looking for every n-gram that is looked for with `in`."""
    data, shares = asked.folded(document), [0.0]
    for text in map(asked.folded, texts):
        last = len(text) - asked.GRAM
        if last >= 0:
            grams = {text[at : at + asked.GRAM] for at in (*range(0, last, asked.STRIDE), last)}
            shares.append(sum(gram in data for gram in grams) / len(grams))
        elif len(text) >= asked.SHORTEST:
            shares.append(float(text in data))
    return max(shares)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 150), st.integers(1, 400)), max_size=4),
)
def test_the_share_is_that_of_a_search_one_by_one(texts: list[tuple[int, int]], pieces: list[tuple[int, int, int]]) -> None:
    told = [sentence(seed, words) for seed, words in texts]
    document = "\n".join(sentence(seed)[start : start + length] for seed, start, length in pieces)
    assert Asked([("s", str(number), one) for number, one in enumerate(told)]).most(document)[0] == pytest.approx(brute(told, document))


def test_what_is_asked_and_who_asks_it_is_told() -> None:
    texts = [("quiz", "a", sentence(1)), ("quiz", "b", sentence(2)), ("quiz", "c", "singkat")]
    found = Asked([*texts, ("again", "a", sentence(1).upper())])
    assert len(found) == 2  # one is a phrase, one is asked twice
    assert found.most(f"Kata orang: {sentence(2)}, begitu.") == (1.0, "quiz b")
    assert found.most(sentence(3)) == (0.0, "")
    half = sentence(1)[: len(sentence(1)) // 2]
    assert 0.3 < found.most(half)[0] < 0.5
    assert Asked([("s", "1", "Ibu kota negara itu di mana letaknya")]).most("x " + "ibu kota, negara itu — di mana letaknya?") == (
        1.0,
        "s 1",
    )


def test_punctuation_and_case_hide_nothing_from_it_where_they_do_from_the_layer(tmp_path: Path) -> None:
    text = sentence(5)
    dressed = "! ".join(text.upper().split())
    write_ngrams([("0", text)], tmp_path / "windows.npz")
    layer = Decontaminate(ngrams=str(tmp_path / "windows.npz"))
    (tmp_path / "plan").mkdir()
    layer.prepare([], tmp_path / "plan", Engine(workers=1))
    judge = layer.judge(tmp_path / "plan")
    plain, hidden = judge([Document(id="a", text=text), Document(id="b", text=dressed)], 0, 0)
    assert (plain.document is None, hidden.document is None) == (True, False)
    assert Asked([("s", "0", text)]).most(dressed) == (1.0, "s 0")


def left(path: Path, texts: list[str], share: float = 0.5) -> dict[str, tuple[float, float]]:
    """language -> (documents that hold evaluation text, documents looked at)."""
    suite = build("curation", LANGUAGES, truth=False, asked=share)
    context = SuiteContext(hub=None, profile_dir=".", artifact=path, asked=lambda: [("s", str(n), one) for n, one in enumerate(texts)])
    rows = [suite.row(sample, ()) for sample in suite.samples(context)]
    assert any(metric.name == "evaluation_left" for metric in suite.metrics)
    return {
        iso: (
            sum(row.values["evaluation_left"] for row in rows if row.language == iso),
            sum(row.values["held_against"] for row in rows if row.language == iso),
        )
        for iso in LANGUAGES
    }


def test_documents_of_the_corpus_are_counted_by_language(tmp_path: Path) -> None:
    kept = [one for language in LANGUAGES for one in stories(language)]
    planted = [Document(id=f"p{number}", text=f"Halo.\n{sentence(number)}", language="eng") for number in range(3)]
    dropped = [("near", Document(id="d", text=sentence(7), language="tha"), "so")]
    path = artifact(tmp_path / "a", [*kept, *planted], dropped)
    assert left(path, [sentence(number) for number in range(8)]) == {"eng": (3.0, 33.0), "tha": (0.0, 30.0)}


def test_what_cannot_be_held_against_anything_is_said(tmp_path: Path) -> None:
    path = artifact(tmp_path / "a", stories("eng"))
    suite = build("curation", ("eng",), truth=False, asked=0.5)
    with pytest.raises(SuiteError, match="run it by pytest -m curation"):
        list(suite.samples(SuiteContext(hub=None, profile_dir=".", artifact=path)))
    with pytest.raises(SuiteError, match="they ask nothing"):
        list(suite.samples(SuiteContext(hub=None, profile_dir=".", artifact=path, asked=list)))
    for truth, share in ((True, 0.5), (False, 1.0), (False, -0.1)):
        with pytest.raises(SuiteError, match=r"asked .* is a share of an evaluation text"):
            build("curation", ("eng",), truth=truth, asked=share)
    assert not any(metric.name == "evaluation_left" for metric in build("curation", ("eng",), truth=False).metrics)
