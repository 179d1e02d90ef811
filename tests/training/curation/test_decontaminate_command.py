"""The windows of evaluation texts from the command line: what a suite shows is found in a pool, and no text is left out in silence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from training.curation import documents
from training.curation.__main__ import main
from training.curation.decontaminate import Ngrams, write_ngrams
from training.curation.documents import Document

QUESTIONS = [
    "Which of the four harbours named in the passage has had no lighthouse since the great storm?",
    "เรือลำไหนออกจากท่าก่อนหกโมงเช้าในวันที่ฝนตกหนักที่สุดของปี",
]


def jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_from_an_evaluation_set_to_a_pool_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = jsonl(tmp_path / "eval.jsonl", [{"id": f"q{number}", "text": text} for number, text in enumerate([*QUESTIONS, "Why?"])])
    windows = tmp_path / "windows.npz"
    assert main(["ngrams", "--input", str(asked), "--output", str(windows)]) == 0
    out = capsys.readouterr().out
    assert "the windows of 2 of 3 texts" in out
    assert f"--set decontaminate.ngrams={windows}" in out
    pool = [
        Document(id="clean", text="Nothing is asked here."),
        *(Document(id=f"leak{at}", text=f"Quiz: {text}") for at, text in enumerate(QUESTIONS)),
    ]
    documents.write(tmp_path / "pool.jsonl", pool)
    told = ["decontaminate", "--input", str(tmp_path / "pool.jsonl"), "--output", str(tmp_path / "out"), "--workers", "1"]
    assert main([*told, "--set", f"decontaminate.ngrams={windows}"]) == 0
    kept = [made.id for path in (tmp_path / "out/shards").iterdir() for made in documents.read(path, print)]
    assert kept == ["clean"]
    dropped = [json.loads(line) for line in (tmp_path / "out/dropped/01-decontaminate/00000.jsonl").read_text().splitlines()]
    assert [row["detail"] for row in dropped] == ["100% of q0", "100% of q1"]


def test_the_file_is_that_of_write_ngrams_whatever_the_columns_lie_in(tmp_path: Path) -> None:
    rows = [{"question": QUESTIONS[0], "choices": [QUESTIONS[1], None, " "], "year": 1}, {"question": None, "choices": []}]
    jsonl(tmp_path / "a.jsonl", rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    write_ngrams([("question", QUESTIONS[0]), ("choices", QUESTIONS[1])], tmp_path / "expected.npz")
    expected = Ngrams.read(tmp_path / "expected.npz")
    for name in ("a.jsonl", "a.parquet"):
        asked = ["ngrams", "--input", str(tmp_path / name), "--output", str(tmp_path / "found.npz"), "--column", "question", "choices"]
        assert main(asked) == 0
        found = Ngrams.read(tmp_path / "found.npz")
        assert found.names.tolist() == [f"{name}#1 question", f"{name}#1 choices"]
        assert found.windows.tolist() == expected.windows.tolist()
        assert [table.unique.tolist() for table in found.tables] == [table.unique.tolist() for table in expected.tables]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a"}\nno json\n', "row 2 is no JSON object"),
        ('{"question": "a"}\n', "row 1 has no `text` (it has question): name the columns of the texts with --column"),
        ('{"text": 5}\n', "row 1: its `text` holds a int; a text is a string or a list of strings"),
        ('{"text": "Why?"}\n', "1 texts, and none of them is of 25 bytes or more"),
        ('{"text": " "}\n', "no text in it"),
        (None, "no such file"),
    ],
)
def test_what_cannot_be_looked_for_is_named_and_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "eval.jsonl").write_text(content)
    assert main(["ngrams", "--input", str(tmp_path / "eval.jsonl"), "--output", str(tmp_path / "windows.npz")]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["eval.jsonl"] * (content is not None)


def test_a_parquet_file_without_the_column_and_an_output_nowhere_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"question": QUESTIONS}), tmp_path / "eval.parquet")
    asked = ["ngrams", "--input", str(tmp_path / "eval.parquet"), "--output"]
    assert main([*asked, str(tmp_path / "windows.npz")]) == 2
    assert "eval.parquet has no column `text` (it has question)" in capsys.readouterr().err
    assert main([*asked, str(tmp_path / "none" / "windows.npz"), "--column", "question"]) == 2
    assert "there is no directory" in capsys.readouterr().err
