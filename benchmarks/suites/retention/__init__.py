"""Retention: what a South-East Asian gain must not be paid with. Mathematics, code, instructions and English knowledge, by lm-eval's own tasks.

Prompts, shots, filters and metrics are lm-eval's; this suite only names the tasks, their usual shots, and quick samples by their cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import lm_eval_suite
from harness.suites import SuiteError, SuiteSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One ability: lm-eval's task or group, the shots it is usually reported with, and samples (of each task) of a quick run."""

    task: str
    shots: int
    quick: int
    chat: bool = False


PARTS: Mapping[str, Part] = {
    "mathematics": Part(task="gsm8k", shots=5, quick=100),
    "code": Part(task="humaneval", shots=0, quick=60),
    "instructions": Part(task="ifeval", shots=0, quick=100, chat=True),
    "knowledge": Part(task="mmlu", shots=5, quick=5),
}


def build(name: str, languages: Sequence[str] = ("eng",), part: str = "", **options: Any) -> lm_eval_suite.LmEvalSuite:
    """Factory of the entry point. `part` is one of PARTS; `options` are those of `lm_eval:TASK`, such as shots, limit or quick."""
    if part not in PARTS:
        raise SuiteError(f"suite {name}: no part {part!r}; the option `part` is one of {', '.join(PARTS)}")
    if tuple(languages) != ("eng",):
        raise SuiteError(f"suite {name}: retention is asked in English; its languages are eng")
    known = PARTS[part]
    return lm_eval_suite.build(
        name=name, languages=("eng",), task=known.task, **{"shots": known.shots, "quick": known.quick, "chat": known.chat, **options}
    )


def alone(languages: Sequence[str], hub: Path | None, originals: Sequence[str] = ()) -> dict[str, SuiteSpec]:
    """What `--suite retention` stands for: every part that asks for no confirmation; code has to be asked for by option."""
    safe = [part for part in PARTS if part != "code"]
    return {f"retention_{part}": SuiteSpec(suite="retention", languages=("eng",), options={"part": part}) for part in safe}
