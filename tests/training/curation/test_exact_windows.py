"""What recurs is what a suffix array says recurs, byte for byte, whatever the partitions and the size of the table."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pydivsufsort
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from training.curation import exact_windows

LEAST = 16


def laid(texts: list[str]) -> tuple[Any, Any]:
    """The texts as one array of bytes, and where each starts."""
    data = [text.encode() for text in texts]
    offsets = np.cumsum([0, *(len(each) for each in data)]).astype(np.int64)
    return np.frombuffer(b"".join(data), np.uint8), offsets


def marked(texts: list[str], least: int = LEAST, *, scaled: bool, keep_first: bool, parts: int = 1, slots: int = 2**12) -> Any:
    """The starts of windows that are marked, and the ruler they were measured with."""
    text, offsets = laid(texts)
    rule = exact_windows.ruler(least, scaled)
    anchors, marks = np.zeros(len(text) // 8 + 1, np.uint8), np.zeros(len(text) // 8 + 1, np.uint8)
    for wanted, found in ((None, anchors), (anchors, marks)):
        for part in range(parts):
            exact_windows.sweep(text, offsets, rule, wanted=wanted, keep_first=keep_first, part=part, parts=parts, slots=slots, marks=found)
    return marks


def starts(marks: Any) -> set[int]:
    return set(np.flatnonzero(np.unpackbits(marks, bitorder="little")).tolist())


def windows(texts: list[str], least: int, scaled: bool) -> dict[int, bytes]:
    """Every window by its place in the laid out text: the definition, character by character."""
    found, base = {}, 0
    for text in texts:
        if scaled:
            units = [(character.encode(), 3 if 0x3000 <= ord(character) <= 0x9FFF else 1) for character in text]
        else:
            units = [(bytes([byte]), 1) for byte in text.encode()]
        places = np.cumsum([0, *(len(unit) for unit, _ in units)])
        for first in range(len(units)):
            counted, last = 0, first
            while counted < least and last < len(units):
                counted += units[last][1]
                last += 1
            if counted >= least:
                found[base + int(places[first])] = b"".join(unit for unit, _ in units[first:last])
        base += int(places[-1])
    return found


def by_suffix_array(texts: list[str], least: int, *, scaled: bool, keep_first: bool) -> set[int]:
    """The same from a suffix array of the documents, each ended by a number of its own: neighbours that share a whole window."""
    numbers: list[int] = []
    place: dict[int, int] = {}
    at = 0
    for index, text in enumerate(texts):
        for byte in text.encode():
            place[len(numbers)] = at
            numbers.append(byte + len(texts))
            at += 1
        numbers.append(index)
    array = np.array(numbers, np.int64)
    order = pydivsufsort.divsufsort(array)
    shared = pydivsufsort.kasai(array, order)
    length = {start: len(window) for start, window in windows(texts, least, scaled).items()}
    groups: list[list[int]] = []
    for index, position in enumerate(order.tolist()):
        start = place.get(position, -1)
        # equal windows are neighbours in the array; a smaller one between them would share it and be equal too
        if groups and index and groups[-1] and shared[index - 1] >= length.get(groups[-1][0], 10**9) and start in length:
            groups[-1].append(start)
        else:
            groups.append([start] if start in length else [])
    return {start for group in groups for start in (sorted(group)[1:] if keep_first else group if len(group) > 1 else [])}


def brute(texts: list[str], least: int, *, scaled: bool, keep_first: bool) -> set[int]:
    """The same by comparing every window with every window."""
    found = windows(texts, least, scaled)
    places: dict[bytes, list[int]] = {}
    for start in sorted(found):
        places.setdefault(found[start], []).append(start)
    return {start for group in places.values() if len(group) > 1 for start in group[keep_first:]}


PIECES = st.lists(
    st.sampled_from(["a", "b", "ab", "abba" * 3, "kapal datang ", "ภาษาไทย", "語言模型", "ế", "𠀀", "\n", "x" * 20]), max_size=30
).map("".join)
CORPORA = st.lists(PIECES, min_size=1, max_size=6)


@settings(max_examples=100)
@given(CORPORA, st.booleans(), st.booleans(), st.sampled_from([(1, 2**12), (3, 2**12), (1, 16), (5, 8)]))
@example(["a" * 200], False, True, (1, 2**12))
@example(["ab" * 50, "ba" * 50], True, False, (1, 16))
@example(["a" * 15, "a" * 16, "a" * 17], False, True, (1, 2**12))
def test_marks_are_those_of_a_suffix_array(texts: list[str], scaled: bool, keep_first: bool, table: tuple[int, int]) -> None:
    parts, slots = table
    found = starts(marked(texts, scaled=scaled, keep_first=keep_first, parts=parts, slots=slots))
    assert found == brute(texts, LEAST, scaled=scaled, keep_first=keep_first)
    assert found == by_suffix_array(texts, LEAST, scaled=scaled, keep_first=keep_first)


@settings(max_examples=60)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=80), min_size=1, max_size=4), st.booleans())
def test_marks_of_any_text_are_those_of_a_suffix_array(texts: list[str], scaled: bool) -> None:
    doubled = [*texts, *texts]
    assert starts(marked(doubled, scaled=scaled, keep_first=True)) == by_suffix_array(doubled, LEAST, scaled=scaled, keep_first=True)


def random_corpus(seed: int, size: int) -> list[str]:
    """Documents of random words, among them passages copied from one another."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("aeiounrtkg", k=rng.randint(2, 9))) for _ in range(800)] + ["ทดสอบ", "ภาษา", "語"]
    texts: list[str] = []
    while sum(map(len, texts)) < size:
        words = rng.choices(vocabulary, k=rng.randint(20, 200))
        if texts and rng.random() < 0.4:
            copied = rng.choice(texts)
            begin = rng.randrange(len(copied))
            words.insert(rng.randrange(len(words)), copied[begin : begin + rng.randint(20, 400)])
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("keep_first", [False, True])
def test_a_corpus_of_passages_is_covered_as_a_suffix_array_covers_it(scaled: bool, keep_first: bool) -> None:
    texts = random_corpus(1, 200_000)
    expected = by_suffix_array(texts, 100, scaled=scaled, keep_first=keep_first)
    assert len(expected) > 5_000
    marks = marked(texts, 100, scaled=scaled, keep_first=keep_first, parts=2, slots=2**12)
    assert starts(marks) == expected
    text, offsets = laid(texts)
    length = {start: len(window) for start, window in windows(texts, 100, scaled).items()}
    under = np.zeros(len(text), bool)
    for start in expected:
        under[start : start + length[start]] = True
    covered = np.zeros(len(text), bool)
    for document, start, end in exact_windows.covered(text, offsets, exact_windows.ruler(100, scaled), marks).tolist():
        covered[offsets[document] + start : offsets[document] + end] = True
    assert not (covered & ~under).any()
    border = under & ~covered  # only parts of characters that a window of bytes cut through
    assert border.sum() == 0 if scaled else all(text[place] >= 0x80 for place in np.flatnonzero(border))


@settings(max_examples=100)
@given(CORPORA, st.booleans())
def test_ranges_are_in_order_apart_and_on_borders_of_characters(texts: list[str], scaled: bool) -> None:
    text, offsets = laid(texts)
    rule = exact_windows.ruler(LEAST, scaled)
    ranges = exact_windows.covered(text, offsets, rule, marked(texts, scaled=scaled, keep_first=False)).tolist()
    for (document, _, end), (following, start, _) in itertools.pairwise(ranges):
        assert (document, end) < (following, start)
    for document, start, end in ranges:
        data = texts[document].encode()
        assert 0 <= start < end <= len(data)
        data[:start].decode()
        data[start:end].decode()


def test_a_match_never_crosses_documents() -> None:
    halves = ["x" + "abcdefgh", "ijklmnop" + "y", "abcdefghijklmnop"]
    assert starts(marked(halves, scaled=False, keep_first=False)) == set()


def test_equal_passages_match_in_documents_of_different_scripts() -> None:
    """The measure is of the passage: 100 letters of Thai in an English page are what they are in a Thai one, and so is English in Thai."""
    thai, latin = "ภาษาไทยง่ายมาก" * 8, "a notice in English, the same on every page of the site, "
    corpora = [[f"Some English before. {thai}", f"ข่าวเช้าวันนี้ {thai}"], [f"ก {latin * 2}", f"b {latin * 2}"]]
    for texts in corpora:
        assert len(starts(marked(texts, 100, scaled=True, keep_first=True))) > 0


def test_thai_is_measured_in_letters_and_chinese_in_bytes() -> None:
    thai = "".join(chr(0x0E01 + (7 * index * index + index) % 46) for index in range(99))
    han = "".join(chr(0x4E00 + 37 * index) for index in range(34))
    assert starts(marked([thai, thai], 100, scaled=True, keep_first=True)) == set()
    assert starts(marked([thai + "ก", thai + "ก"], 100, scaled=True, keep_first=True)) == {300}
    assert starts(marked([han[:33], han[:33]], 100, scaled=True, keep_first=True)) == set()
    assert starts(marked([han, han], 100, scaled=True, keep_first=True)) == {102}
