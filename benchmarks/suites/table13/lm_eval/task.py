"""The list's rows for plain lm-eval: `lm_eval --include_path benchmarks/suites --tasks table13_vmlu_vie`, or `--tasks table13` for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.suites.lm_eval_task import SuiteTask
from benchmarks.suites.table13 import ROWS


class TableRow(SuiteTask):
    """One row; `metadata` names it as `row`, and may name `languages`: a row that has none of them is run in its own."""

    @staticmethod
    def named(told: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata with `suite` and `languages`."""
        row = ROWS[told["row"]]
        takes = {"sailcompass": ("counts", "split", "originals"), "flores200": ()}.get(row.suite, ("counts",))
        told = {name: value for name, value in told.items() if name in takes or name not in ("counts", "split", "originals")}
        return {
            **told,
            "suite": f"table13_{row.name}",
            "languages": [one for one in row.languages if one in told.get("languages", ())] or list(row.languages),
        }
