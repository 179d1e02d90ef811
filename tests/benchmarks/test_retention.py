"""Retention: the parts are lm-eval's own tasks; mathematics runs from a mirror and is judged as lm-eval judges it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from benchmarks.suites.retention import PARTS
from harness import evaluation
from harness.lm_eval_declared import members
from harness.suites import SuiteError, SuiteSpec, load
from tests.harness.checkpoints import checkpoint


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_a_task_that_lm_eval_has(part):
    suite = load(SuiteSpec(suite="retention", languages=("eng",), options={"part": part}), part)
    assert {metric.direction for metric in suite.metrics} == {"higher"}
    assert len(members(part, PARTS[part].task, None)) == (57 if part == "knowledge" else 1)


def test_knowledge_has_the_mean_of_its_subjects():
    suite = load(SuiteSpec(suite="retention", languages=("eng",), options={"part": "knowledge"}), "knowledge")
    assert {"acc", "acc_macro"} <= {metric.name for metric in suite.metrics}


def test_code_is_not_run_unasked(tmp_path):
    suite = load(SuiteSpec(suite="retention", languages=("eng",), options={"part": "code"}), "code")
    with pytest.raises(SuiteError, match="confirm_run_unsafe_code=True"):
        list(suite.samples(_context(tmp_path)))


@pytest.mark.parametrize(("languages", "options"), [(("ind",), {"part": "code"}), (("eng",), {"part": "cooking"})])
def test_what_it_is_not(languages, options):
    with pytest.raises(SuiteError, match=r"English|one of mathematics"):
        load(SuiteSpec(suite="retention", languages=languages, options=options), "retention")


def test_mathematics_from_a_mirror(tmp_path):
    """A model that knows nothing has 0; the gold answer in its place has 1 by both filters."""
    problems = [{"question": f"What is {i} and {i}?", "answer": f"{i} + {i} = {2 * i}\n#### {2 * i}"} for i in range(8)]
    for split in ("train", "test"):
        _write(tmp_path, f"openai/gsm8k/main/{split}.jsonl", problems)
    spec = SuiteSpec(suite="retention", languages=("eng",), options={"part": "mathematics", "shots": 2})
    told = evaluation.Order(
        checkpoint=checkpoint(context=1024),
        model_digest="a" * 64,
        tokenizer_digest="b" * 64,
        suites={"mathematics": spec},
        store=tmp_path / "store",
        output=tmp_path / "out",
        profile_dir=str(tmp_path),
        hub=str(tmp_path),
        threads=1,
    )
    evaluation.run(told)
    rows = evaluation.read_rows(tmp_path / "out" / "mathematics.parquet")
    assert len(rows) == 8
    assert {value for row in rows for value in row.values.values()} == {0.0}
    suite = load(spec, "mathematics")
    for sample in suite.samples(_context(tmp_path)):
        assert sample.requests[0].context.count("Question:") == 3
        gold = sample.data[1]["answer"].replace("####", "The answer is")
        assert suite.row(sample, [{"text": f" {gold}."}]).values == {"exact_match,strict-match": 0.0, "exact_match,flexible-extract": 1.0}
        assert suite.row(sample, [{"text": f" {sample.data[1]['answer']}"}]).values["exact_match,strict-match"] == 1.0


def _context(hub: Path):
    from harness.suites import SuiteContext

    return SuiteContext(hub=str(hub), profile_dir=str(hub))


def _write(hub: Path, name: str, rows: list[dict]) -> None:
    path = hub / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    listed = hub / "MANIFEST.json"
    entries = json.loads(listed.read_text()) if listed.exists() else {}
    entries[name] = {"rows": len(rows), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    listed.write_text(json.dumps(entries))
