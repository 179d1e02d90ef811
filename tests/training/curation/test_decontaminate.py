"""Decontamination: the same as a search by hand, in every script, by evaluation text, and by paragraph where asked."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.curation import decontaminate
from training.curation.decontaminate import Decontaminate, Ngrams, write_ngrams
from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.layer import Decision
from training.recipe import WorldText
from training.windows import normalised
from training.world import text as world

few_letters = st.text(st.sampled_from("ab \nกé"), max_size=60)


def telling(language: str, count: int, split: str = "train") -> list[str]:
    return [document.text for document in world.documents(WorldText(language=language, documents=count, split=split, seed=5))]  # type: ignore[arg-type]


def decided(layer: Decontaminate, texts: list[str]) -> list[Decision]:
    with tempfile.TemporaryDirectory() as work:
        layer.prepare([], Path(work), Engine(workers=1))
        return layer.judge(Path(work))([Document(id=str(number), text=text) for number, text in enumerate(texts)], 0, 0)


def shares_by_hand(document: str, evaluation: list[str], n: int, shortest: int) -> list[float]:
    """Of each evaluation text the share of its windows that stand in the document; a text shorter than a window is one window."""
    data, shares = normalised(document), []
    for text in evaluation:
        asked = normalised(text)
        if len(asked) < shortest:
            shares.append(0.0)
            continue
        width = min(n, len(asked))
        windows = [asked[i : i + width] for i in range(len(asked) - width + 1)]
        shares.append(sum(window in data for window in windows) / len(windows))
    return shares


@given(st.lists(few_letters, max_size=5), st.lists(few_letters, max_size=5), st.integers(1, 12), st.integers(1, 12), st.booleans())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_as_a_search_by_hand(
    tmp_path: Path, documents: list[str], evaluation: list[str], n: int, shortest: int, small: bool
) -> None:
    path = tmp_path / "ngrams.npz"
    write_ngrams([(str(number), text) for number, text in enumerate(evaluation)], path, n, least=shortest)
    before = decontaminate.BLOCK, decontaminate.AT_ONCE
    if small:
        decontaminate.BLOCK, decontaminate.AT_ONCE = 20, 3
    try:
        kept = [decision.document is not None for decision in decided(Decontaminate(ngrams=str(path)), documents)]
        cut = decided(Decontaminate(ngrams=str(path), cut=True), documents)
    finally:
        decontaminate.BLOCK, decontaminate.AT_ONCE = before
    worst = [max(shares_by_hand(text, evaluation, n, shortest), default=0.0) for text in documents]
    assert kept == [share <= 0.5 for share in worst]
    for text, share, decision in zip(documents, worst, cut, strict=True):
        if decision.document is None:
            assert decision.reason == "evaluation text"
        else:
            left = decision.document.text
            assert max(shares_by_hand(left, evaluation, n, shortest), default=0.0) <= 0.5
            assert share > 0.5 or left == text
            remaining = iter(text.split("\n"))
            assert all(line in remaining for line in left.split("\n")), "what is left stands in order"


@pytest.mark.parametrize("language", ["eng", "tha", "khm", "mya", "lao", "cmn", "vie"])
def test_a_planted_text_is_found_in_every_script_and_dress(tmp_path: Path, language: str) -> None:
    train, asked = telling(language, 12), telling(language, 4, "held_out")
    path = tmp_path / "ngrams.npz"
    assert write_ngrams([(f"q{number}", text) for number, text in enumerate(asked)], path) == 4
    planted = f"{train[3]}\n{asked[1].upper().replace(' ', '  ')}\n{train[4]}"
    decisions = decided(Decontaminate(ngrams=str(path)), [*train, planted])
    assert [decision.reason for decision in decisions] == [""] * 12 + ["evaluation text"]
    assert decisions[-1].detail == "100% of q1"
    whole = decided(Decontaminate(ngrams=str(path), cut=True), [planted])[0]
    assert whole.document is not None
    assert whole.document.text == f"{train[3]}\n{train[4]}"
    assert whole.counts == {"evaluation texts found": 1, "paragraphs cut": 1}


def test_a_common_phrase_drops_nothing(tmp_path: Path) -> None:
    """Each evaluation text opens with the same phrase; hits of different texts are not added up."""
    phrase = "Read the passage below and answer the question that follows it with one word only."
    asked = [f"{phrase} {story}" for story in telling("eng", 6, "held_out")]
    path = tmp_path / "ngrams.npz"
    write_ngrams([(str(number), text) for number, text in enumerate(asked)], path)
    assert decided(Decontaminate(ngrams=str(path)), [f"{phrase} Any other text may come here."])[0].document is not None
    assert decided(Decontaminate(ngrams=str(path), share=0.05), [f"{phrase} Any other text may come here."])[0].document is None


def test_equal_texts_give_equal_files_and_hold_no_text(tmp_path: Path) -> None:
    texts = [
        ("a", "The ferry leaves the harbour at six in the morning, every day but Sunday."),
        ("b", "เรือออกจากท่าเวลาหกโมงเช้าทุกวันยกเว้นวันอาทิตย์"),
    ]
    first, second = tmp_path / "1.npz", tmp_path / "2.npz"
    assert write_ngrams([*texts, ("again", texts[0][1].upper()), ("short", "no")], first) == 2
    write_ngrams(texts, second)
    assert first.read_bytes() == second.read_bytes()
    assert b"ferry" not in first.read_bytes()
    assert Ngrams.read(first).names.tolist() == ["a", "b"]


def test_no_evaluation_texts_drop_nothing(tmp_path: Path) -> None:
    assert write_ngrams([], tmp_path / "none.npz") == 0
    assert decided(Decontaminate(ngrams=str(tmp_path / "none.npz")), ["Any text."])[0].document is not None


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(CurationError, match=r"decontaminate\.ngrams names no file"):
        Decontaminate().prepare([], tmp_path, Engine(workers=1))
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04torn")
    for name in ("absent.npz", "torn.npz"):
        with pytest.raises(CurationError, match=f"{name} holds no evaluation n-grams"):
            Decontaminate(ngrams=str(tmp_path / name)).prepare([], tmp_path, Engine(workers=1))
    with pytest.raises(CurationError, match=r"decontaminate\.share is 1"):
        Decontaminate(share=1.0)
