"""The gates and metrics of the paper's profiles, loaded once a session."""

from __future__ import annotations

import functools

from harness import profiles
from harness.gates import Gate, Metrics, load_gates
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
