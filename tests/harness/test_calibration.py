"""The calibration file: it names what it was made of, so that one older than gates or recipes is seen."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from harness import calibration, profiles
from harness.calibrate import Finding, save
from harness.durable import write_json
from harness.gates import Gate, load_gates
from harness.profiles import Profile
from harness.rules import suite_metrics
from tests.harness.gates_kit import LEARNS, loaded, profile_at, without
from training.recipe import ExpandBlocks


def test_every_gate_of_nano_is_calibrated_or_listed_and_the_recipes_are_the_ones_of_today() -> None:
    """Else `python -m harness.calibrate --profile nano --seeds 5` has to run again (some 40 minutes of training)."""
    nano = profiles.load("nano")
    gates = load_gates(nano.gates, nano, {name: suite_metrics(nano, name) for name in nano.suites})
    found = calibration.read(calibration.path_of(nano.gates))
    assert found is not None
    assert found.recipes is not None
    assert calibration.moved(found, nano) == ()
    assert {gate.name for gate in gates if gate.calibrated is None} == set(found.unmeasured)
    assert {gate.name for gate in gates} == set(found.gates) | set(found.unmeasured)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Profile, tuple[Gate, ...]]:
    """A profile with three gates, of which two were calibrated as it stands."""
    gates = loaded(tmp_path, LEARNS, without("margin", name="keeps", rule="retains", against="blessed", relative=0.05, languages=["ind"]))
    profile = profile_at(tmp_path / "gates" / "toy.toml")
    found = [
        Finding(gate=gate, contrasts=(-0.9, -0.91, -0.92), sampling=0.01, degrees=39, line=-0.1, reference=2.0, above=False)
        for gate in gates
        if gate.against != "blessed"
    ]
    save(profile, found)
    return profile, load_gates(profile.gates, profile)


def test_a_fresh_calibration_says_what_it_left_out_and_why(kept: tuple[Profile, tuple[Gate, ...]]) -> None:
    profile, gates = kept
    found = calibration.read(calibration.path_of(profile.gates))
    assert found is not None
    assert [gate.name for gate in gates if gate.calibrated] == ["stage1.learns.ind", "stage1.learns.tha"]
    assert found.unmeasured == {"stage1.keeps.ind": "a blessed checkpoint is not retrained"}
    [note] = calibration.notes(profile, gates)
    assert note.startswith("uncalibrated: 1 of 3 gates (stage1.keeps.ind): margin not held against a detectable difference")


def test_a_recipe_that_moved_is_named_with_the_stages_that_stand_on_it(kept: tuple[Profile, tuple[Gate, ...]]) -> None:
    profile, gates = kept
    stages = dict(profile.stages)
    stages["expand"] = dataclasses.replace(stages["expand"], recipe=ExpandBlocks(new_blocks=3))
    note = calibration.notes(dataclasses.replace(profile, stages=stages), gates)[-1]
    assert "of other recipes (expand moved since), old for gates of expand, stage1, stage2" in note
    assert "python -m harness.calibrate --profile toy --seeds 5" in note


def test_a_gate_that_compares_something_else_is_calibrated_no_more(kept: tuple[Profile, tuple[Gate, ...]], tmp_path: Path) -> None:
    """Its figures are of another comparison. A margin is set by the figures, so moving it keeps them."""
    assert all(gate.calibrated for gate in loaded(tmp_path, {**LEARNS, "margin": 0.3}))
    other = loaded(tmp_path, {**LEARNS, "against": "base"})
    assert not any(gate.calibrated for gate in other)
    assert calibration.notes(kept[0], other)[0].startswith("uncalibrated: all gates:")


def test_a_gate_that_came_later_is_uncalibrated_and_one_that_went_is_named(kept: tuple[Profile, tuple[Gate, ...]], tmp_path: Path) -> None:
    now = loaded(tmp_path, {**LEARNS, "languages": ["tha"]}, {**LEARNS, "name": "new", "languages": ["ind"]})
    notes = calibration.notes(kept[0], now)
    assert "1 of 2 gates (stage1.new.ind)" in notes[0]
    assert "1 gates of it are in the gates file no more, e.g. stage1.learns.ind" in notes[1]


def test_a_file_of_before_is_still_read_and_says_that_it_cannot_tell(kept: tuple[Profile, tuple[Gate, ...]]) -> None:
    profile, _ = kept
    path = calibration.path_of(profile.gates)
    data = json.loads(path.read_text())
    old = {"schema": 1, "profile": "toy", "gates": {n: {k: v for k, v in e.items() if k != "contrast"} for n, e in data["gates"].items()}}
    write_json(path, old)
    gates = load_gates(profile.gates, profile)
    assert sum(gate.calibrated is not None for gate in gates) == 2
    assert "does not say of which recipes it is" in calibration.notes(profile, gates)[-1]
