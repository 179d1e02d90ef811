"""SailCompass's tasks for plain lm-eval: `lm_eval --include_path benchmarks/suites --tasks sailcompass_xcopa_tha`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.suites.lm_eval_task import SuiteTask


class SailCompass(SuiteTask):
    """One data set in one language; `metadata` names them as `data` and `language`."""

    @staticmethod
    def named(told: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata with `suite`, `languages` and `options`."""
        return {**told, "suite": "sailcompass", "languages": [told["language"]], "options": {"task": told["data"]}}
