"""Suites that a run cannot ask, and why: what they need is the user's to give, and without it the rest is still judged.

Such a suite is left out of the evaluation, and its gates are `not run` with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.suites import SuiteSpec

GIVEN = "given"  # as a suite's option `originals`: the prompts of a checkout that the user names


def lacking(spec: SuiteSpec, originals: Sequence[Path], environment: Mapping[str, str]) -> str:
    """What the suite needs and this run does not give; "" where it can be asked."""
    if spec.options.get("originals") == GIVEN and not originals:
        return f"needs the original's own prompts: give --gate-originals DIR, a checkout of {spec.suite}"
    if spec.options.get("confirm_run_unsafe_code") and environment.get("HF_ALLOW_CODE_EVAL") != "1":
        return "executes code that a model wrote: where that is safe (a container without network), set HF_ALLOW_CODE_EVAL=1"
    return ""
