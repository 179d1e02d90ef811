"""The documents that language identification is measured on: their length, that none comes twice, and what is said of right and wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.speed import short_documents
from benchmarks.speed.short_documents import LONGEST, SHORTEST, cut, generated, mixed, read, real, write
from benchmarks.speed.test_identification import accuracy, of_lid176, of_ours
from training.languages import LANGUAGES


def test_sentences_are_taken_together_and_long_ones_cut() -> None:
    texts = ["Short one. Another short one.", "word " * 150, "x" * 450, "An end that is too short."]
    found = list(cut(texts))
    assert all(SHORTEST <= len(text) <= LONGEST for text in found)
    assert "".join(" ".join(texts).split()).startswith("".join("".join(found).split()))
    assert list(cut([])) == list(cut([" ", "too short"])) == []


def test_every_text_comes_once_and_the_order_is_the_same_every_time(tmp_path: Path) -> None:
    asked = [("eng", f"text\u2028 {number % 40}\ud800") for number in range(50)]
    assert len(mixed(asked)) == 40
    assert mixed(asked) == mixed(asked) != sorted(mixed(asked))
    clean = [(iso, text.replace("\ud800", "\x00")) for iso, text in mixed(asked)]
    write(tmp_path / "asked.jsonl", clean)
    assert read(tmp_path / "asked.jsonl") == clean


def test_generated_words_repeat_or_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_documents, "LANGUAGES", [one for one in LANGUAGES if one.iso in ("ceb", "lao")])
    for kind in ("repeating", "unrepeated"):
        asked = generated(kind, 20)
        assert {iso for iso, _ in asked} == {"ceb", "lao"}
        assert all(SHORTEST <= len(text) <= LONGEST for _, text in asked)
        words = [word for iso, text in asked if iso == "ceb" for word in text.split()]
        assert (len(set(words)) == len(words)) == (kind == "unrepeated")


def test_real_documents_of_what_the_mirror_has(tmp_path: Path) -> None:
    assert real(tmp_path, 5) == []
    source = tmp_path / "indonlp/NusaX-MT/parallel"
    source.mkdir(parents=True)
    rows = [{"ind": f"kata {number} " * 15, "eng": None, "jav": "", "sun": "x"} for number in range(9)]
    (source / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(real(tmp_path, 5)) == 5
    assert {iso for iso, _ in real(tmp_path, 5)} == {"ind"}


def test_the_shares_of_right_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [("ind", "a"), ("ind", "b"), ("ind", "c"), ("ind", "d"), ("eng", "e")]
    (tmp_path / "ours").write_text(json.dumps([["ind", ["ind"]], [None, ["ind", "zsm"]], ["zsm", ["zsm"]], [None, []], ["eng", ["eng"]]]))
    (tmp_path / "theirs").write_text(json.dumps(["id", "ms", "fr", "id", "ms"]))
    means = accuracy(asked, {"ours": of_ours(tmp_path / "ours"), "theirs": of_lid176(tmp_path / "theirs")})
    assert means == {"ours": (0.25 + 1) / 2, "theirs": 0.5 / 2}
    printed = capsys.readouterr().out
    assert "| right | ours | 0.625 | 0.400 | 0.875 | 0.250 |" in printed
    assert "| ind | 4 | 0.250 0.750 0.500 | 0.500 0.750 0.250 |" in printed
    assert "| eng | 1 | 1.000 1.000 0.000 | 0.000 0.000 0.000 |" in printed
