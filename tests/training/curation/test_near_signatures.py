"""Shingles, signatures and keys: against plain Python, against datasketch, against theory; and golden values, since plans must not move."""

from __future__ import annotations

import hashlib
import random
import re
from typing import Literal

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.curation import near_kit as kit
from training.curation import near_signatures as near
from training.curation.near_bands import Scheme

TEXTS = st.text(st.sampled_from("ab Bz\n\t\u200bกขລກកမ中文éÉßИ😀-."), max_size=30)
SCRIPTS = [
    "Semua orang dilahirkan merdeka dan mempunyai martabat dan hak-hak yang sama.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "មនុស្សទាំងអស់ កើតមកមានសេរីភាព",
    "လူတိုင်းသည် တူညီ လွတ်လပ်သော",
    "人人生而自由，在尊严和权利上一律平等。",
]


def scheme(
    hash: Literal["splitmix", "sha1"] = "splitmix", shingle: int = 5, permutations: int = 256, bands: int = 25, rows: int = 10
) -> Scheme:
    return Scheme(hash=hash, shingle=shingle, permutations=permutations, bands=bands, rows=rows)


def found(texts: list[str], of: Scheme) -> near.Shingles:
    return near.shingles(pyarrow.array(texts, pyarrow.string()), of)


def of_each(made: near.Shingles) -> list[list[int]]:
    return [made.hashes[start:stop].tolist() for start, stop in zip(made.offsets[:-1], made.offsets[1:], strict=True)]


@given(st.lists(TEXTS, max_size=8), st.integers(1, 6))
def test_equal_shingles_have_equal_hashes_and_others_others(texts: list[str], n: int) -> None:
    made = found(texts, scheme(shingle=n))
    expected = [kit.shingle_set(text.replace("\u200b", " "), n) for text in texts]
    got = of_each(near.sets(made))
    assert [len(hashes) for hashes in got] == [len(shingles) for shingles in expected]
    assert all(hashes == sorted(set(hashes)) for hashes in got)
    for i in range(len(texts)):
        for j in range(i):
            assert len(set(got[i]) & set(got[j])) == len(expected[i] & expected[j])
    assert made.characters.tolist() == [len(text) for text in texts]


@given(st.lists(st.text(max_size=20), max_size=5))
def test_any_text_whatever_its_code_points(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    made = found(texts, scheme(shingle=2))
    assert made.characters.tolist() == [len(text) for text in texts]
    assert [bool(hashes) for hashes in of_each(made)] == [bool(text.replace("\u200b", " ").strip()) for text in texts]


def test_white_space_and_case_do_not_count() -> None:
    made = of_each(found(["Satu dua\ttiga", "  satu  DUA \n tiga\u3000", "satu dua tiga", "satu duatiga"], scheme(shingle=2)))
    assert made[0] == made[1] == made[2] != made[3]


def test_slices_nulls_and_other_string_types() -> None:
    whole = pyarrow.array(["x", None, "satu dua", "", "tiga"], pyarrow.string())
    made = near.shingles(whole.slice(1), scheme(shingle=1))
    assert [len(hashes) for hashes in of_each(made)] == [0, 2, 0, 1]
    for other in (whole.cast(pyarrow.large_string()), whole.dictionary_encode()):
        assert near.shingles(other.slice(1), scheme(shingle=1)).hashes.tolist() == made.hashes.tolist()
    assert near.shingles(pyarrow.array(["", None], pyarrow.string()), scheme()).offsets.tolist() == [0, 0, 0]


def test_a_short_text_is_one_shingle_and_no_prefix_of_another() -> None:
    made = of_each(found(["satu", "satu dua", "satu dua tiga empat lima", "satu dua tiga empat lima enam"], scheme()))
    assert [len(hashes) for hashes in made] == [1, 1, 1, 2]
    assert made[2][0] == made[3][0]
    assert len({hashes[0] for hashes in made}) == 3


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("hash", ["splitmix", "sha1"])
def test_agreement_of_signatures_is_jaccard(similarity: float, hash: Literal["splitmix", "sha1"]) -> None:
    """Over pairs: mean within 4 standard errors, spread as of 256 independent permutations (binomial), within a fifth."""
    words, of = random.Random(f"{similarity}{hash}"), scheme(hash, shingle=1, bands=256, rows=1)
    pairs = [kit.pair(similarity, 200, words) for _ in range(200)]
    one, other = (near.signatures(found(list(side), of), of) for side in zip(*pairs, strict=True))
    estimates = (one == other).mean(axis=1)
    spread = (similarity * (1 - similarity) / 256) ** 0.5
    assert abs(estimates.mean() - similarity) < 4 * spread / 200**0.5
    assert 0.8 < estimates.std() / spread < 1.2


def test_sha1_signatures_are_datasketch_s_with_the_same_permutations() -> None:
    datasketch = pytest.importorskip("datasketch")
    random_numbers = np.random.RandomState(42)
    permutations = [random_numbers.randint(low, 2**61 - 1, size=64, dtype=np.uint64) for low in (1, 0)]
    of = scheme("sha1", permutations=64, bands=8, rows=8)
    ours = near.signatures(found(SCRIPTS, of), of)
    for text, signature in zip(SCRIPTS, ours, strict=True):
        theirs = datasketch.MinHash(num_perm=64, permutations=np.array(permutations), scheme="legacy")
        units = re.split(r"\W", text.lower())
        theirs.update_batch([" ".join(units[at : at + 5]).encode() for at in range(max(1, len(units) - 4))])
        assert signature.tolist() == theirs.hashvalues.tolist()


@pytest.mark.parametrize("hash", ["splitmix", "sha1"])
def test_keys_are_equal_where_the_rows_of_a_band_are(hash: Literal["splitmix", "sha1"]) -> None:
    of = scheme(hash, shingle=1, permutations=12, bands=5, rows=2)
    texts = [" ".join(random.Random(seed).choices("abcdefgh", k=6)) for seed in range(60)] + [" "]
    made = found(texts, of)
    minima = near.signatures(made, of)
    keys, sequences = near.keys(minima, made, np.zeros(len(texts), np.uint64), of)
    for band in range(5):
        rows = minima[:, 2 * band : 2 * band + 2]
        assert ((keys[band][:, None] == keys[band][None, :]) == (rows[:, None] == rows[None, :]).all(axis=2)).all()
    assert [number for number, key in enumerate(sequences) if not key] == [60]
    same = [[a == b for b in of_each(made)] for a in of_each(made)]
    assert (sequences[:, None] == sequences[None, :]).tolist() == same
    salted, _ = near.keys(minima, made, np.full(len(texts), 7, np.uint64), of)
    assert not np.isin(salted[:, :-1], keys).any()


def test_golden_signatures() -> None:
    """What this version of the layer makes of five scripts. If it moves, plans move: raise Near.version."""
    for hash, expected in (("splitmix", "b024daaec6f3903a"), ("sha1", "b15bc45bbaa39e1f")):
        of = scheme(hash)
        made = found(SCRIPTS, of)
        keys, sequences = near.keys(near.signatures(made, of), made, np.arange(5, dtype=np.uint64), of)
        assert hashlib.sha256(keys.astype("<u8").tobytes() + sequences.astype("<u8").tobytes()).hexdigest()[:16] == expected
