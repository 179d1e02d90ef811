"""Characters a second that words are found at where a script has no spaces, and how large the words are.

SEATRIALS_HUB=DIR pytest benchmarks/speed/test_segmentation.py -s

CPU time of one process, best of ROUNDS, on the mirror's sentences in texts of 20; nothing is remembered from one round to the next. Rows: language,
characters, M characters/s, characters a word. How right they are: tests/training/curation/test_segmentation.py.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from benchmarks.speed.side_by_side import ROOT
from training.curation import words
from training.pretraining.sources import rows_of

ROUNDS = int(os.environ.get("SEATRIALS_SPEED_ROUNDS", "4"))
SETS = {
    "tha": "universal_dependencies/pud/tha/test.jsonl",
    "lao": "un/udhr/lao/train.jsonl",
    "khm": "ye-kyaw-thu/khPOS/khm/train.jsonl",
    "mya": "ye-kyaw-thu/myPOS/mya/train.jsonl",
}


@pytest.mark.parametrize("language", SETS)
def test_words(language: str) -> None:
    """One row."""
    hub = Path(os.environ.get("SEATRIALS_HUB") or ROOT.parent / "shared" / "data" / "hub")
    if not (hub / SETS[language]).is_file():
        pytest.skip(f"no {SETS[language]} in the mirror: name it in SEATRIALS_HUB")
    sentences = [str(row["text"]) for row in rows_of(hub / SETS[language])][:1000]
    texts = ["\n".join(sentences[start : start + 20]) for start in range(0, len(sentences), 20)]
    seconds = []
    for _ in range(ROUNDS):
        words._remembered.cache_clear()
        words._cut.cache_clear()
        begun = time.process_time()
        found = [words.words(text, language) for text in texts]
        seconds.append(time.process_time() - begun)
    characters, count = sum(map(len, texts)), sum(map(len, found))
    print(f"\n| {language} | {characters:,} | {characters / min(seconds) / 1e6:.2f} | {characters / count:.1f} |")
