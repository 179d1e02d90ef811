"""The gates and metrics of a profile, loaded once a session, and what the gates say of rows without a model behind them."""

from __future__ import annotations

import functools

from harness import gates as gating
from harness import profiles
from harness.gates import Gate, Metrics, RowsLookup, judge_stage, load_gates
from harness.profiles import Profile
from harness.rules import suite_metrics

SIZES = {
    "sailor2-1b": ("Qwen2.5-0.5B", "Sailor2-1B"),
    "sailor2-8b": ("Qwen2.5-7B", "Sailor2-8B"),
    "sailor2-20b": ("Qwen2.5-14B", "Sailor2-20B"),
}


@functools.cache
def metrics_of(name: str) -> Metrics:
    profile = profiles.load(name)
    return {suite: suite_metrics(profile, suite) for suite in profile.suites}


@functools.cache
def gates_of(name: str) -> tuple[Gate, ...]:
    profile = profiles.load(name)
    return load_gates(profile.gates, profile, metrics_of(name))


def loaded(profile: Profile) -> tuple[Gate, ...]:
    return gates_of(profile.name)


def verdicts(profile: Profile, stage: str, rows: RowsLookup) -> dict[str, str]:
    """The verdict on each gate of a stage by its full name; `rows(which, suite)` are a checkpoint's or a baseline's."""
    made = judge_stage(gating.gates_of(loaded(profile), stage), rows, metrics_of(profile.name))
    return {name: verdict.verdict for name, verdict in made.items()}
