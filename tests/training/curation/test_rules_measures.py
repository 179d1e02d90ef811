"""The measures of the rules: SailCraft's worked examples, and a brute force that counts as a person would."""

from __future__ import annotations

import math
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curation.rules.measures import Phrases, character_repetition, is_special, letter_words, special_ratio, word_repetition

TEXTS = st.text(alphabet="ab ก็က်1.\n", max_size=80)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("a" * 100, 1.0), ("abcdefghij" * 5, 13 / 41), (string.ascii_letters + string.digits, 0.0), ("short", 0.0), ("", 0.0)],
)
def test_character_repetition_of_the_worked_examples(text: str, wanted: float) -> None:
    assert character_repetition(text, 10) == pytest.approx(wanted)


@given(TEXTS, st.integers(1, 12))
def test_character_repetition_by_brute_force(text: str, n: int) -> None:
    grams = [text[i : i + n] for i in range(len(text) - n + 1)]
    counts = sorted((grams.count(gram) for gram in set(grams)), reverse=True)
    top = min(int(math.sqrt(len(counts))), len(counts) - counts.count(1))
    assert character_repetition(text, n) == pytest.approx(sum(counts[:top]) / len(grams) if grams else 0.0)


def test_word_repetition_of_the_worked_example() -> None:
    assert word_repetition(["a", "b", "c", "d", "e", "a", "b", "c", "d", "e"], 5) == pytest.approx(2 / 6)
    assert word_repetition(["a", "b", "c", "d"], 5) == 0.0
    assert word_repetition(["x"] * 9, 5) == 1.0


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 6))
def test_word_repetition_by_brute_force(found: list[str], n: int) -> None:
    grams = [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]
    repeated = sum(grams.count(gram) > 1 for gram in grams)
    assert word_repetition(found, n) == pytest.approx(repeated / len(grams) if grams else 0.0)


def test_what_is_special() -> None:
    for character in string.punctuation + string.digits + string.whitespace + "“…。၊។๚๑၁១℃→★😀\ufe0f":
        assert is_special(character), character
    for character in "aéกက်្ຫ水ि၏\u200b\u0301":
        assert not is_special(character), character
    assert special_ratio("ab, 1") == pytest.approx(3 / 5)
    assert special_ratio("👍🏽!") == 1.0, "an emoji of several code points counts with all of them"
    assert special_ratio("") == 0.0


@given(TEXTS)
def test_special_ratio_by_brute_force(text: str) -> None:
    assert special_ratio(text) == pytest.approx(sum(map(is_special, text)) / len(text) if text else 0.0)


def test_words_of_digits_are_none_and_specials_at_the_ends_go() -> None:
    assert letter_words("In 2024, covid19 (№5) 10kg--", "eng") == ["in", "covid", "kg"]
    assert letter_words("๑๒ คน", "tha") == ["ค", "น"]


def test_a_list_is_found_as_whole_words_only() -> None:
    """SailCraft seeks flagged words in the text without its spaces: `ass` in `class`, and `sex` in `Wessex` and `Essex`."""
    listed = Phrases(["ass", "Sex", "bad word"], "eng")
    assert listed.occurrences(letter_words("A class in Essex passes; was sexton.", "eng")) == 0
    assert listed.occurrences(letter_words("An ass, a BAD WORD. Bad; word!", "eng")) == 3
    assert listed.covered(letter_words("An ass, a BAD WORD.", "eng")) == 3
    assert not Phrases([], "eng")
    assert not Phrases(["", "12"], "eng")


def test_a_word_of_several_units_is_found_in_scripts_without_spaces() -> None:
    assert Phrases(["និង"], "khm").covered(letter_words("សិទ្ធិនិងសេរីភាព", "khm")) == 2
    assert Phrases(["ความ"], "tha").occurrences(letter_words("ความจริงและความรัก", "tha")) == 2


def test_the_longest_phrase_wins_and_none_overlap() -> None:
    listed = Phrases(["a", "a b", "b c"], "eng")
    assert listed.occurrences(["a", "b", "c"]) == 1
    assert listed.covered(["a", "b", "c"]) == 2


@given(
    st.text(alphabet=st.sampled_from([chr(0x4E00 + k) for k in range(300)] + list("ab😀")), max_size=60),
    st.integers(1, 3),
    st.integers(1, 40),
)
def test_character_repetition_of_more_letters_than_64_bits_hold_n_of(text: str, times: int, n: int) -> None:
    text = "".join(map(chr, range(0xE000, 0xE100))) + text * times
    grams = [text[i : i + n] for i in range(len(text) - n + 1)]
    counts = sorted(Counter(grams).values(), reverse=True)
    top = min(math.isqrt(len(counts)), len(counts) - counts.count(1))
    assert character_repetition(text, n) == pytest.approx(sum(counts[:top]) / len(grams) if grams else 0.0)


@given(st.text(max_size=60))
def test_special_ratio_of_any_text_by_brute_force(text: str) -> None:
    assert special_ratio(text) == pytest.approx(sum(map(is_special, text)) / len(text) if text else 0.0)


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.lists(st.text("abcd ", min_size=1, max_size=5), max_size=5))
def test_phrases_by_brute_force(text: list[str], phrases: list[str]) -> None:
    listed = sorted({tuple(phrase.split()) for phrase in phrases} - {()}, key=len, reverse=True)
    rest, lengths = text, []
    while rest:
        found = next((phrase for phrase in listed if tuple(rest[: len(phrase)]) == phrase), ())
        lengths += [len(found)] if found else []
        rest = rest[max(1, len(found)) :]
    assert (Phrases(phrases, "eng").occurrences(text), Phrases(phrases, "eng").covered(text)) == (len(lengths), sum(lengths))
