"""An evaluation by several processes: the rows of one, each answer paid for once, and a dead rank costs time alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import evaluation, evaluation_ranks
from harness.evaluation import EvaluationError, read_rows
from harness.evaluation_ranks import Ranks
from harness.suites import SuiteSpec
from tests.harness.checkpoints import TEXTS, checkpoint
from training.recipe import encode

ROOT = Path(__file__).resolve().parents[2]


def order(directory: Path, name: str) -> dict:
    items = [
        {
            "id": f"{i}",
            "language": "eng",
            "cluster": f"{i}",
            "context": f"{i} {TEXTS[i % 2]}"[:40],
            "choices": [" a", " bc"],
            "gold": i % 2,
        }
        for i in range(70)
    ]
    (directory / "items.jsonl").write_text("\n".join(json.dumps(item) for item in items))
    path = checkpoint()
    return {
        "schema": 1,
        "checkpoint": str(path),
        "model_digest": f"{path.name:x<64}",
        "tokenizer_digest": "b" * 64,
        "suites": {"choice": encode(SuiteSpec(suite="choice", languages=("eng",), options={"items": "items.jsonl"}))},
        "profile_dir": str(directory),
        "store": str(directory / name),
        "output": str(directory / name / "out"),
        "device": "cpu",
    }


@given(st.integers(0, 200), st.integers(1, 9))
def test_every_item_is_somebody_s_and_nobody_s_twice(count: int, size: int) -> None:
    shares = [Ranks(rank=rank, size=size).share(range(count)) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= evaluation_ranks.BLOCK


def test_two_processes_give_the_rows_of_one(tmp_path: Path) -> None:
    alone = order(tmp_path, "alone")
    evaluation.run(alone)
    told = order(tmp_path, "two")
    (tmp_path / "order.json").write_text(json.dumps(told))
    common = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_PORT": "29555"}
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "harness.evaluation", "--order", str(tmp_path / "order.json")],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    try:
        assert [child.wait(timeout=300) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
    one, two = (read_rows(Path(each["output"]) / "choice.parquet") for each in (alone, told))
    assert [row.sample for row in one] == [row.sample for row in two]
    for mine, theirs in zip(one, two, strict=True):
        assert mine.values == pytest.approx(theirs.values, abs=1e-4)  # batches are others
    kept = [path.read_text().count("\n") for path in (tmp_path / "two" / "answers").rglob("*.jsonl")]
    assert len(kept) == 2
    assert sum(kept) == sum(path.read_text().count("\n") for path in (tmp_path / "alone" / "answers").rglob("*.jsonl"))
    summary = json.loads((tmp_path / "two" / "out" / "summary.json").read_text())
    assert summary["choice"]["computed"] == 0, "both shares were there when rank 0 made the rows"


def test_a_silent_rank_is_given_up(tmp_path: Path) -> None:
    now = [1e9]
    ranks = Ranks(rank=0, size=3, launch="x")
    Ranks(rank=1, size=3, launch="x").say(tmp_path, "ended")
    dead = ranks.wait(tmp_path, clock=lambda: now[0], sleep=lambda _: now.__setitem__(0, now[0] + 60))
    assert dead == [2]
    assert now[0] - 1e9 >= evaluation_ranks.SILENT


def test_what_a_dead_rank_left_rank_0_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(evaluation_ranks, "SILENT", 0.5)
    summary = evaluation.run(order(tmp_path, "half"))
    assert summary["choice"]["rows"] == 70
    assert 0 < summary["choice"]["computed"] < summary["choice"]["cached"] + summary["choice"]["computed"]


def test_a_rank_that_fails_leaves_its_word_to_rank_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = order(tmp_path, "broken")
    told["suites"]["choice"]["options"]["items"] = "gone.jsonl"
    (tmp_path / "order.json").write_text(json.dumps(told))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert evaluation.main(["--order", str(tmp_path / "order.json")]) == 0
    assert "rank 1 ends early" in capsys.readouterr().err
    assert not (tmp_path / "broken" / "out" / "error.json").exists()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(evaluation_ranks, "SILENT", 0.5)
    assert evaluation.main(["--order", str(tmp_path / "order.json")]) == 1
    assert "gone.jsonl" in json.loads((tmp_path / "broken" / "out" / "error.json").read_text())["message"]


def test_vllm_is_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EvaluationError, match="vllm starts the processes it needs itself"):
        evaluation.run({**order(tmp_path, "vllm"), "backend": "vllm"})
