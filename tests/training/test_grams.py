"""Look-ups in numpy against the same rules written out letter by letter: scripts, words, n-grams and the cutting of long texts."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.grams import JOINS, SCRIPT_NAMES, TOGETHER, Grams, script_counts, together
from training.languages import scripts_of

ODD = "aáb the'’\u2011-_1²\n\u2028กខ汉ЖİΣ\u0301\u0345\ud800\x00ʼª🎉"
odd_texts = st.lists(st.one_of(st.text(st.sampled_from(ODD), max_size=30), st.text(max_size=20)), max_size=6)
KNOWN = [" a", "a ", "th", "the", " the", "the ", "b-t", "a'b", "'b", "áb", "e ", " t", "hea", "aáb"]
VALUES = {gram: [number + 1, -(number**2)] for number, gram in enumerate(KNOWN)}
PARTED = {gram: [1] for gram in KNOWN if len(gram) == 3}
RUN = re.compile(rf"[^\W\d_]+(?:[{re.escape(JOINS)}][^\W\d_]+)*")
WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


@pytest.fixture(scope="module")
def grams() -> Grams:
    return Grams(KNOWN)


def nfc(texts: list[str]) -> list[str]:
    return [unicodedata.normalize("NFC", text) for text in texts]


def by_hand(text: str) -> tuple[list[int], int, int]:
    """The sums over each n-gram of each word, spaces around it."""
    whole, parted = [0, 0], 0
    for word in RUN.findall(text):
        for n in range(1, 8):
            for at in range(len(word) + 3 - n):
                whole = [old + new for old, new in zip(whole, VALUES.get(f" {word} "[at : at + n], [0, 0]), strict=True)]
    words = WORD.findall(text)
    for word in words:
        parted += sum(f" {word} "[at : at + 3] in PARTED for at in range(len(word)))
    return whole, parted, sum(map(len, words))


@given(odd_texts)
def test_sums_are_those_of_each_ngram_of_each_word(grams: Grams, texts: list[str]) -> None:
    texts = [text.lower() for text in nfc(texts)]
    whole, parted, letters = grams.sums(texts, grams.values(VALUES, 2), grams.values(PARTED, 1), 3)
    found = list(zip(whole.tolist(), parted[:, 0].tolist(), letters[:, 0].tolist(), strict=True))
    assert found == [by_hand(text) for text in texts]


@given(odd_texts)
def test_scripts_are_counted_as_one_by_one(texts: list[str]) -> None:
    texts = nfc(texts)
    found = script_counts(texts)
    assert found.shape == (len(texts), len(SCRIPT_NAMES))
    for row, text in zip(found.tolist(), texts, strict=True):
        assert {name: count for name, count in zip(SCRIPT_NAMES, row, strict=True) if count} == dict(scripts_of(text))


@given(st.lists(st.text("ab ", max_size=30), max_size=6), st.integers(2, 12))
def test_groups_hold_every_text_whole_and_in_order(texts: list[str], most: int) -> None:
    whole = ["" for _ in texts]
    order: list[int] = []
    for numbers, pieces in together(texts, most):
        assert len(numbers) == len(pieces)
        assert sum(map(len, pieces)) <= most
        order += numbers
        for number, piece in zip(numbers, pieces, strict=True):
            whole[number] += piece
    assert whole == texts
    assert order == sorted(order)
    assert set(order) == set(range(len(texts)))


def test_a_long_text_has_the_sums_of_its_words(grams: Grams) -> None:
    text, times = "the a'b b-the ", TOGETHER // 5
    one, many = (
        grams.sums([each, "the", each], grams.values(VALUES, 2), grams.values(PARTED, 1), 3) for each in (text, (text * times).strip())
    )
    for few, all_of_them in zip(one, many, strict=True):
        assert (few[[0, 2]] * times == all_of_them[[0, 2]]).all()
        assert (few[1] == all_of_them[1]).all()


def test_more_letters_than_can_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="300 different letters"):
        Grams([chr(0x4E00 + number) for number in range(300)])


def test_values_that_would_not_add_up_are_refused() -> None:
    grams = Grams(["a", "ab"])
    assert grams.values({"a": [2**30], "ab": [5]}, 1).tolist() == [[0], [2**30], [2**30 + 5]]  # nowhere, "a", "ab"
    with pytest.raises(ValueError, match="too large"):
        grams.values({"a": [2**30], "ab": [2**30]}, 1)
