"""Near duplicates as two peers find them: text-dedup 0.4.0, whose clusters the sha1 scheme must give, and datasketch.

text-dedup is run as its users run it, in a Python that has it: that of SEATRIALS_TEXT_DEDUP, or this one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.curation import near_kit as kit
from training.curation import documents as shards
from training.curation.documents import Document
from training.curation.near import Near

DRIVER = Path(__file__).parents[3] / "benchmarks" / "speed" / "peers" / "text_dedup_minhash.py"


def real_texts(hub: Path) -> list[str]:
    """Texts of the mirror that repeat each other in every degree: a premise with each of its hypotheses, parallel and single sentences, whole
    passages that stand before each of their questions."""
    texts: list[str] = []
    for path in (
        hub / "afaji/indonli/indonli/train.jsonl",
        *sorted(hub.glob("facebook/belebele/*/*.jsonl")),
        *sorted(hub.glob("un/udhr/*/*.jsonl")),
    ):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:1500]]
        for row in rows:
            strings = [value for value in row.values() if isinstance(value, str) and not value.startswith("http")]
            texts += [" ".join(strings), max(strings, key=len, default="")]
    return [text for text in texts if text.strip()]


@pytest.fixture(scope="module")
def text_dedup() -> str:
    """A Python that has text-dedup."""
    named = os.environ.get("SEATRIALS_TEXT_DEDUP")
    if named:
        return named
    if importlib.util.find_spec("text_dedup"):
        return sys.executable
    pytest.skip("text-dedup is not installed here, and SEATRIALS_TEXT_DEDUP names no Python that has it (0.4.0)")


def test_the_sha1_scheme_gives_text_dedup_s_partition(text_dedup: str, hub: Path, tmp_path: Path) -> None:
    """256 permutations, threshold .7, word 5-grams, no verification. It leaves out texts of fewer than 5 words from the start; so do we here."""
    texts = [text for text in real_texts(hub) if len(re.split(r"\W", text.lower())) >= 5]
    sample = random.Random(0).sample(texts, min(6000, len(texts)))
    (tmp_path / "in").mkdir()
    shards.write(tmp_path / "in/00000.parquet", [Document(id=f"d{number}", text=text) for number, text in enumerate(sample)])
    options = ["--input", tmp_path / "in", "--output", tmp_path / "theirs", "--permutations", "256", "--threshold", "0.7", "--workers", "1"]
    (tmp_path / "theirs").mkdir()
    subprocess.run([text_dedup, DRIVER, *options], check=True, capture_output=True)
    theirs: dict[int, set[str]] = {}
    for number, root in enumerate(np.load(tmp_path / "theirs/labels.npy").tolist()):
        theirs.setdefault(root, set()).add(f"d{number}")
    ours = kit.partition(kit.run(Near(hash="sha1", verify=False, keep="first"), kit.documents(sample), tmp_path, size=1000))
    assert len(ours) > 100
    assert ours == {frozenset(cluster) for cluster in theirs.values() if len(cluster) > 1}


def test_datasketch_finds_the_same_clusters(tmp_path: Path) -> None:
    """Texts alike by .9 and more or by .3 and less: its forest of the same shape, then exact Jaccard, gives the partition that ours gives."""
    datasketch = pytest.importorskip("datasketch")
    source = random.Random(11)
    words = [f"{source.getrandbits(30):x}" for _ in range(5000)]
    made: list[Document] = []
    for _ in range(60):
        units = source.choices(words, k=300)
        for _ in range(source.choice([1, 2, 4])):
            edited = list(units)
            edited[source.randrange(300)] = source.choice(words)
            made.append(Document(id=f"d{len(made)}", text=" ".join(edited)))
    lsh = datasketch.MinHashLSH(threshold=0.7, num_perm=256, params=(25, 10))
    found = [kit.shingle_set(document.text, 5) for document in made]
    pairs = []
    for number, shingles in enumerate(found):
        sketch = datasketch.MinHash(num_perm=256)
        sketch.update_batch([" ".join(shingle).encode() for shingle in shingles])
        pairs += [(number, other) for other in lsh.query(sketch) if kit.jaccard(shingles, found[other]) >= 0.7]
        lsh.insert(number, sketch)
    assert kit.partition(kit.run(Near(), made, tmp_path)) == kit.clusters(len(made), pairs)
