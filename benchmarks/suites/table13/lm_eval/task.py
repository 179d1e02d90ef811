"""The list's rows for plain lm-eval: `lm_eval --include_path benchmarks/suites --tasks table13_vmlu_vie`, or `--tasks table13` for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.suites.lm_eval_task import SuiteTask
from benchmarks.suites.table13 import ROWS


class TableRow(SuiteTask):
    """One row; `metadata` names it as `row`, and may name fewer `languages`."""

    @staticmethod
    def named(told: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata with `suite` and `languages`."""
        row = ROWS[told["row"]]
        return {**told, "suite": f"table13_{row.name}", "languages": list(told.get("languages", row.languages))}
