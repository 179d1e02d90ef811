"""MinHash signatures: our kernel beside Daft's `minhash`, on the same texts and shingles, by speed and by accuracy.

SEATRIALS_SPEED_DOCUMENTS=20000 SEATRIALS_SPEED_ROUNDS=3 pytest benchmarks/speed/test_signatures.py -s

One thread, CPU seconds of this process, the best of the rounds, old and new in turn; both have made their imports and compiled. Daft's words stand between
single spaces, so its texts are folded first, in Daft: lower case, a space around every character of a script without spaces, one space for
any run. Accuracy: the mean absolute error of the share of equal minima over pairs whose Jaccard is counted; in theory sqrt(j (1 - j) / n).
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.speed.curation_corpus import generate
from training.curation.near_bands import Scheme

DOCUMENTS = int(os.environ.get("SEATRIALS_SPEED_DOCUMENTS", "20000"))
ROUNDS = int(os.environ.get("SEATRIALS_SPEED_ROUNDS", "3"))
DIRECTORY = Path(os.environ.get("SEATRIALS_SPEED_DIRECTORY", ".seatrials/speed"))
PERMUTATIONS, WORDS = 256, 5
PAIRS = 2_000


def texts_of() -> Any:
    """The generated corpus's texts as one Arrow array."""
    import pyarrow
    import pyarrow.parquet

    made = generate(DIRECTORY.absolute(), DOCUMENTS, workers=1)
    tables = [pyarrow.parquet.read_table(path, columns=["text"]) for path in sorted((made.directory / "shards").glob("*.parquet"))]
    return pyarrow.concat_tables(tables).column("text").combine_chunks()


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of all threads of this process, and what the work gave."""
    before = time.process_time()
    found = work()
    return time.process_time() - before, found


def test_signatures() -> None:
    """Prints a line each; asserts that ours err as theory says."""
    pytest.importorskip("daft")
    import daft
    from daft.functions import lower, minhash, regexp_replace

    from training.curation import near_signatures as ours
    from training.curation.near_signatures import UNSPACED

    texts = texts_of()
    scheme = Scheme(hash="splitmix", shingle=WORDS, permutations=PERMUTATIONS, bands=32, rows=PERMUTATIONS // 32)
    alone = "[" + "".join(f"\\x{{{low:X}}}-\\x{{{high:X}}}" for low, high in UNSPACED) + "]"
    frame = daft.from_pydict({"text": texts})

    def mine() -> Any:
        return ours.signatures(ours.shingles(texts, scheme), scheme)

    def theirs() -> Any:
        apart = regexp_replace(lower(daft.col("text")), f"({alone})", " $1 ")
        folded = regexp_replace(regexp_replace(apart, r"\s+", " "), r"^ | $", "")
        signed = minhash(folded, num_hashes=PERMUTATIONS, ngram_size=WORDS, hash_function="xxhash3_64")
        column = frame.select(signed.alias("signature")).to_arrow().column("signature").combine_chunks()
        return column.flatten().to_numpy().reshape(len(texts), PERMUTATIONS)

    ours.warm()
    times: dict[str, list[float]] = {"ours": [], "Daft": []}
    minima: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, work in (("ours", mine), ("Daft", theirs)):
            seconds, minima[name] = cpu(work)
            times[name].append(seconds)
    sets = [frozenset(part.tolist()) for part in split(ours.sets(ours.shingles(texts, scheme)))]
    pairs = alike(minima["ours"])
    jaccard = np.array([len(sets[a] & sets[b]) / max(1, len(sets[a] | sets[b])) for a, b in pairs])
    told = np.flatnonzero((jaccard > 0) & (jaccard < 1))
    theory = float(np.sqrt(2 / np.pi) * np.sqrt(jaccard[told] * (1 - jaccard[told]) / PERMUTATIONS).mean())
    errors = {}
    size = sum(len(text.as_py().encode()) for text in texts) / 1e6
    for name, rows in minima.items():
        estimated = np.array([np.mean(rows[a] == rows[b]) for a, b in (pairs[place] for place in told)])
        errors[name] = float(np.abs(estimated - jaccard[told]).mean())
        best = min(times[name])
        print(
            f"\n{name}: {len(texts) / best:,.0f} documents/s/core ({size / best:.1f} MB/s), {best:.2f} CPU s; mean error {errors[name]:.4f}"
        )
    print(f"{len(told)} pairs; in theory {theory:.4f}; {min(times['Daft']) / min(times['ours']):.1f} times as fast")
    assert errors["ours"] < 1.15 * theory


def split(found: Any) -> list[Any]:
    """Each document's shingles."""
    return [found.hashes[start:end] for start, end in itertools.pairwise(found.offsets)]


def alike(minima: Any) -> list[tuple[int, int]]:
    """Pairs that share a minimum of a few: some of every similarity, no more than PAIRS."""
    found: dict[tuple[int, int], None] = {}
    for column in range(0, PERMUTATIONS, 8):
        order = np.argsort(minima[:, column], kind="stable")
        same = np.flatnonzero(minima[order[1:], column] == minima[order[:-1], column])
        for place in same.tolist():
            found[tuple(sorted((int(order[place]), int(order[place + 1]))))] = None  # type: ignore[index]
            if len(found) == PAIRS:
                return list(found)
    return list(found)
