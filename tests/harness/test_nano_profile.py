"""The default profile's gates and planted defects: each kind of gate is turned red by one of them (promise 7)."""

from __future__ import annotations

import tomllib

import pytest

from harness import profiles
from harness.gates import Gate, load_gates
from harness.profiles import Profile
from harness.rules import suite_metrics
from training.pretraining.sources import sources_of
from training.recipe import CurateCorpus
from training.world.crawl_truth import KINDS


@pytest.fixture(scope="module")
def nano() -> Profile:
    return profiles.load("nano")


@pytest.fixture(scope="module")
def gates(nano: Profile) -> tuple[Gate, ...]:
    return load_gates(nano.gates, nano, {name: suite_metrics(nano, name) for name in nano.suites})


def kind(gate: Gate) -> tuple[object, ...]:
    """What one [[gate]] entry of the file expands from: its languages differ, these do not."""
    return gate.stage, gate.name.split(".")[1], len(gate.languages) > 1


def test_every_kind_of_gate_is_turned_red_by_a_planted_defect(nano: Profile, gates: tuple[Gate, ...]) -> None:
    written = tomllib.loads(nano.gates.read_text(encoding="utf-8"))["gate"]
    expected = {name for variant in nano.variants.values() for name in variant.expect_red}
    covered = {kind(gate) for gate in gates if gate.name in expected}
    assert len({kind(gate) for gate in gates}) == len(written)
    assert {kind(gate) for gate in gates} - covered == set()


def test_what_the_quality_classifier_learns_from_is_read_by_nothing_else(nano: Profile) -> None:
    curation = nano.stages["curation"].recipe
    assert isinstance(curation, CurateCorpus)
    examples, negatives = set(curation.positives), curation.negatives
    assert {source.language for source in examples} == set(nano.languages) == set(negatives.crawl.languages)
    others = [(entry.recipe, name) for name, entry in nano.stages.items() if name != "curation"]
    for recipe, name in others:
        assert not examples & set(sources_of(recipe)), name
    assert not examples & set(curation.reads)
    assert negatives.crawl.seed != curation.crawl.seed
    assert all("quality" in KINDS[kind].layers for kind in negatives.crawl.only)
