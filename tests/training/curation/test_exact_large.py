"""What the layer cuts of 20 MB of text in six scripts is what a suffix array says recurs: every span of every round, byte for byte."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from tests.training.curation.test_exact import shards_of
from training.curation.engine import Engine
from training.curation.exact import Exact, cut

pytestmark = pytest.mark.slow

SIZE = 20_000_000  # bytes
ENDS = 0xFF  # after each document: in no UTF-8, so nothing that two suffixes share and a window holds crosses it
LEAST = 100
SCRIPTS = {  # letters that words are made of, and what stands between words
    "latin": ("abdeghiklmnoprstuy", " "),
    "vietnamese": ("aăâbcdđeêghiklmnoôơprstuưyạảấầẩẫậắằẹếềểễệịọốồổộớờợụủứừựỳỵ", " "),
    "thai": ("กขคงจชดตถทนบปผพมยรลวสหอะาิีุูเแโไใ่้", ""),
    "khmer": ("កខគងចជដតថទនបបផពមយរលវសហអាិីុូេែៃោ្", "\u200b"),
    "burmese": ("ကခဂငစဆဇတထဒနပဖဗမယရလဝသဟအာိီုူေဲံ့း်ျြွ", " "),
    "chinese": ("的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年", ""),
}
FRAME = (
    "Here follows what the harbour master had nailed to the gate on",
    "and there it hung until the wind took it, a week after the fair.",
)


def corpus(seed: int, size: int) -> list[str]:
    """Documents of made-up words, a script each but for some in two; a third hold passages copied from others, long and short, or from themselves."""
    rng = random.Random(seed)
    words = {
        name: (["".join(rng.choices(letters, k=rng.randint(1, 8))) for _ in range(4_000)], between)
        for name, (letters, between) in SCRIPTS.items()
    }
    made: list[str] = []
    size_now = 0
    while size_now < size:
        parts = []
        for name in rng.sample(list(words), 1 if rng.random() < 0.9 else 2):
            vocabulary, between = words[name]
            parts.append(between.join(rng.choices(vocabulary, k=rng.randint(5, 600))))
        for _ in range(rng.randint(1, 3) if made and rng.random() < 0.33 else 0):
            copied = rng.choice(made) if rng.random() < 0.9 else parts[0]
            begin = rng.randrange(len(copied))
            parts.insert(rng.randrange(len(parts) + 1), copied[begin : begin + rng.choice((30, 60, 99, 100, 101, 300, 5_000))])
        if rng.random() < 0.01:
            parts.append(rng.choice(("-=", "ๆ", "ха", "。")) * rng.randint(50, 400))
        if rng.random() < 0.01:
            parts = [rng.choice(made)] if made else parts
        if rng.random() < 0.005 and made:  # what stands around a passage that is cut recurs when it is gone
            parts = [FRAME[0] + rng.choice(made)[:400] + FRAME[1]]
        made.append(rng.choice((" ", "\n")).join(parts))
        size_now += len(made[-1].encode())
    return made


def lengths_of_windows(laid: Any, scaled: bool) -> Any:
    """Of each byte how many the window has that starts there, 0 where none does: the definition, by sums over the whole text."""
    ends = laid == ENDS
    opens = ~ends & (((laid & 0xC0) != 0x80) | (not scaled))
    weight = np.where(opens, np.where(scaled & (laid >= 0xE3) & (laid < 0xEA), 3, 1), 0)
    units = np.append(np.flatnonzero(opens), len(laid))
    sums = np.append(0, np.cumsum(weight[units[:-1]]))
    last = np.searchsorted(sums, sums[:-1] + LEAST)  # the unit before which LEAST is reached
    document_end = np.flatnonzero(ends)[np.searchsorted(np.flatnonzero(ends), units[:-1])]
    # a window that reaches the last unit of its document ends where the document does
    reached = np.minimum(last, len(units) - 1)
    end = np.where(units[reached] > document_end, document_end, units[reached])
    held = sums[np.searchsorted(units, document_end)] - sums[:-1] >= LEAST
    found = np.zeros(len(laid), np.int64)
    found[units[:-1]] = np.where(held, end - units[:-1], 0)
    return found


def spans_by_suffix_array(texts: list[bytes], scaled: bool, keep_first: bool) -> list[tuple[int, int, int]]:
    """(document, start, end) of what windows cover that recur, in whole characters, from the suffix array and its shared lengths."""
    pydivsufsort = pytest.importorskip("pydivsufsort", reason="the independent reference is not installed: pip install 'seatrials[dev]'")
    laid = np.frombuffer(b"".join(text + bytes([ENDS]) for text in texts), np.uint8).copy()
    order = pydivsufsort.divsufsort(laid)
    shared = pydivsufsort.kasai(laid, order)
    length = lengths_of_windows(laid, scaled)
    # equal windows are neighbours in the array: each shares its own whole length with the one before
    of_order = length[order]
    same = np.append(False, (shared[: len(order) - 1] >= of_order[1:]) & (of_order[1:] > 0))
    run = np.cumsum(~same)
    first = np.minimum.reduceat(order, np.flatnonzero(~same))[run - 1]
    several = np.bincount(run)[run] > 1
    starts = order[several & (of_order > 0) & ((order != first) | (not keep_first))]
    edges = np.zeros(len(laid) + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + length[starts], -1)
    under = np.diff(np.concatenate([[False], np.cumsum(edges)[:-1] > 0, [False]]).astype(np.int8))
    begins = np.cumsum([0, *(len(text) + 1 for text in texts)])
    found = []
    for left, right in zip(np.flatnonzero(under == 1).tolist(), np.flatnonzero(under == -1).tolist(), strict=True):
        while left < right and laid[left] & 0xC0 == 0x80:
            left += 1
        while right > left and laid[right] & 0xC0 == 0x80:
            right -= 1
        if left < right:
            document = int(np.searchsorted(begins, left, side="right")) - 1
            found.append((document, left - int(begins[document]), right - int(begins[document])))
    return found


@pytest.mark.parametrize(("scaled", "keep"), [(True, "first"), (False, "none")])
def test_twenty_megabytes_are_cut_where_a_suffix_array_cuts_them(tmp_path: Path, scaled: bool, keep: Literal["first", "none"]) -> None:
    texts = corpus(7, SIZE)
    half = len(texts) // 2
    work = tmp_path / "work"
    work.mkdir()
    layer = Exact(least_bytes=LEAST, scaled=scaled, keep=keep, memory_mb=8)  # many passes over the text
    layer.prepare(shards_of(tmp_path / "shards", [texts[:half], texts[half:]]), work, Engine(workers=1))
    left = [text.encode() for text in texts]
    rounds = 0
    while expected := spans_by_suffix_array(left, scaled, keep == "first"):
        found = [tuple(row) for row in np.load(work / f"cuts-{rounds}.npy").tolist()]
        assert found == expected, f"round {rounds}"
        if not rounds:
            assert len(expected) > 1_500
            gone = set("".join(left[document][start:end].decode() for document, start, end in expected))
            assert all(gone & set(letters) for letters, _ in SCRIPTS.values())
        of_document: dict[int, list[tuple[int, int]]] = {}
        for document, start, end in expected:
            of_document.setdefault(document, []).append((start, end))
        for document, spans in of_document.items():
            left[document] = cut(left[document], spans)
        rounds += 1
    assert rounds > 1, "joins recur as well"
    assert not (work / f"cuts-{rounds}.npy").exists()
