"""The planted defects that profiles declare (promise 7): they name gates that there are, and are one decision off the honest recipe."""

from __future__ import annotations

import pytest

from harness import profiles
from harness.profiles import Profile
from tests.harness.profile_kit import loaded
from training.recipe import ContinuePretraining

# Kinds of smol's gates that none of its defects is sure to turn red: `base` is read and not trained; the others rest on what a training makes of a
# defect, which no run has shown. tests/harness/test_smol_gates.py turns them red on rows.
UNSURE = {
    "base.beats_trigram",
    "expand.same_bits",
    "curation.uncontaminated",  # the sources that smol curates hold hardly a text that its suites ask
    *(f"{stage}.keeps_{what}" for stage in ("stage1", "stage2") for what in ("choice", "reading", "answers", "knowledge", "culture")),
    *(f"{stage}.keeps_{what}" for stage in ("stage1", "stage2") for what in ("inference", "sentiment", "translation")),
    *(f"{stage}.stays" for stage in ("stage1", "stage2")),
}


@pytest.fixture(params=["nano", "smol"])
def profile(request: pytest.FixtureRequest) -> Profile:
    return profiles.load(request.param)


def test_a_defect_names_gates_of_its_own_stage(profile: Profile) -> None:
    stage_of = {gate.name: gate.stage for gate in loaded(profile)}
    assert profile.variants
    for name, variant in profile.variants.items():
        assert variant.expect_red, name
        assert name.startswith(f"{variant.stage}@"), name
        assert {stage_of[gate] for gate in variant.expect_red} == {variant.stage}, name


def test_a_defect_is_one_decision_off_the_honest_recipe(profile: Profile) -> None:
    """It fails for its defect, and not for another length, size or schedule of training."""
    for name, variant in profile.variants.items():
        honest, planted = profile.stages[variant.stage].recipe, variant.recipe
        assert type(honest) is type(planted)
        differ = {field for field in vars(honest) if getattr(honest, field) != getattr(planted, field)}
        assert len(differ) == 1, f"{name}: {differ}"
        if isinstance(honest, ContinuePretraining):
            assert isinstance(planted, ContinuePretraining)
            assert abs(planted.tokens - honest.tokens) < 50, name


def test_what_no_defect_of_smol_is_sure_to_turn_red_is_known() -> None:
    smol = profiles.load("smol")
    expected = {name for variant in smol.variants.values() for name in variant.expect_red}
    kinds = {gate.name.rpartition(".")[0] for gate in loaded(smol)}
    assert kinds - {name.rpartition(".")[0] for name in expected} == UNSURE
