"""What stands under the gate table: what the scores in it do not show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.plugin.summary import notes


def row(stage: str, suite: str, folder: Path | None) -> dict[str, Any]:
    return {"stage": stage, "metric": f"{suite}.margin", "rows": str(folder) if folder else None}


def test_cut_samples_are_said_once_a_stage_and_gated_suite(tmp_path: Path) -> None:
    def entry(truncated: int) -> dict[str, Any]:
        return {"rows": 40, "facts": {"truncated": truncated}}

    (tmp_path / "summary.json").write_text(json.dumps({"choice": entry(3), "cause": entry(0), "language": entry(9)}))
    rows = [
        row("stage1", "choice", tmp_path),
        row("stage1", "choice", tmp_path),
        row("stage1", "cause", tmp_path),
        row("base", "choice", None),
    ]
    assert notes(rows) == ["stage1: choice: 3 of 40 samples longer than the model's window"]


def test_a_summary_that_is_not_there_or_broken_costs_its_notes_alone(tmp_path: Path) -> None:
    assert notes([row("stage1", "choice", tmp_path)]) == []
    for text in ("[]", "{", '{"choice": {}}'):
        (tmp_path / "summary.json").write_text(text)
        assert notes([row("stage1", "choice", tmp_path)]) == []
