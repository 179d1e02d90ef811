"""Corpora among a stage's parents, and what keeps evaluation text out of them: who hands what to whom."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from harness import evaluation_text, evidence, overlap, profiles
from harness.apart import decontaminated
from harness.profiles import Profile, ProfileError
from training.curation import documents as shards
from training.curation.decontaminate import Ngrams
from training.recipe import CuratedText, Portion, encode
from training.recipes import nano as recipes
from training.windows import normalised


@pytest.fixture(scope="module")
def nano() -> Profile:
    return profiles.load("nano")


def order(profile: Profile, names: tuple[str, ...], **more: object) -> dict[str, object]:
    """An order of both children, with some of a profile's suites."""
    return {
        "suites": {name: encode(profile.suites[name]) for name in names},
        "hub": None,
        "profile_dir": str(profile.directory),
        "window": profile.overlap_window,
        **more,
    }


# ------------------------------------------------------------------------------------------------------------------ the graph


def test_a_stage_is_made_from_a_checkpoint_and_trained_on_a_corpus(nano: Profile) -> None:
    assert nano.parents("stage1") == ("expand", "curation")
    assert (nano.made_from("stage1"), nano.corpora("stage1")) == (("expand",), ("curation",))
    assert nano.ancestry("stage2") == ("base", "expand", "curation", "stage1", "stage2")
    assert nano.seen("stage1") == recipes.STAGE1


def test_a_profile_without_curation_trains_on_what_its_recipes_name() -> None:
    smol = profiles.load("smol")
    assert smol.parents("stage1") == smol.made_from("stage1")


def test_a_recipe_that_reads_a_corpus_which_the_profile_lacks_is_refused(nano: Profile) -> None:
    stages = {name: entry for name, entry in nano.stages.items() if name != "curation"}
    with pytest.raises(ProfileError, match="stage1 trains on the corpus of curation, which is no parent of it here; define the stage"):
        dataclasses.replace(nano, stages=stages, variants={})


def test_a_suite_that_compares_with_a_parent_is_given_the_checkpoint(nano: Profile) -> None:
    spec = dataclasses.replace(nano.suites["identity"], stages=("curation", "stage1"))
    profile = dataclasses.replace(nano, suites={**nano.suites, "identity": spec})
    assert "identity" in profile.suites_of("stage1")
    assert "identity" not in profile.suites_of("curation")


# ------------------------------------------------------------------------------------------------------ what is handed over


def test_the_windows_are_those_of_everything_that_is_asked_of_a_checkpoint(nano: Profile, tmp_path: Path) -> None:
    names = ("perplexity", "cause", "curation")
    (tmp_path / "order.json").write_text(json.dumps(order(nano, names)))
    assert evaluation_text.main([str(tmp_path / "order.json")]) == 0
    known = Ngrams(tmp_path / evaluation_text.WINDOWS)
    texts = evaluation_text.evaluation_texts(order(nano, names))
    assert {suite for suite, _, _ in texts} == {"perplexity", "cause"}  # curation asks nothing of a checkpoint
    for _, _, text in texts[:: len(texts) // 40]:
        (found,) = known.look([normalised(f"Something before. {text} And something after.")])
        assert max(found.reached.values()) == 1.0
    assert [table.length for table in known.tables][-1] == nano.overlap_window


def test_a_suite_that_cannot_be_drawn_stands_in_the_error(nano: Profile, tmp_path: Path) -> None:
    told = order(nano, ("perplexity",))
    told["suites"]["perplexity"]["options"]["sources"]["eng"] = ["gone.jsonl"]  # type: ignore[index]
    (tmp_path / "order.json").write_text(json.dumps(told))
    assert evaluation_text.main([str(tmp_path / "order.json")]) == 1
    assert "gone.jsonl" in json.loads((tmp_path / "error.json").read_text())["message"]
    assert not (tmp_path / evaluation_text.WINDOWS).exists()


def test_what_is_asked_is_part_of_the_corpus_identity_and_what_judges_is_not(nano: Profile) -> None:
    def with_suite(name: str, **options: object) -> Profile:
        spec = nano.suites[name]
        return dataclasses.replace(nano, suites={**nano.suites, name: dataclasses.replace(spec, options={**spec.options, **options})})

    before = evidence.texts_digest(nano, None, None)
    assert evidence.texts_digest(with_suite("choice", count=61), None, None) != before
    assert evidence.texts_digest(dataclasses.replace(nano, overlap_window=50), None, None) != before
    assert evidence.texts_digest(with_suite("curation", compared=10), None, None) == before
    assert decontaminated(nano.stages["curation"].recipe)
    assert not decontaminated(recipes.only(recipes.curation(), "url"))
    assert not decontaminated(nano.stages["base"].recipe)


def test_the_check_reads_the_corpus_that_is_trained_on(nano: Profile, tmp_path: Path) -> None:
    asked = [text for suite, _, text in evaluation_text.evaluation_texts(order(nano, ("perplexity",))) if suite == "perplexity"]
    kept = [shards.Document(id="1", text="A text of the harbour that nobody asks about.", url="", language="eng")]
    for name in ("clean", "dirty"):
        (tmp_path / name / "shards").mkdir(parents=True)
    shards.write(tmp_path / "clean" / "shards" / "a.parquet", kept)
    shards.write(tmp_path / "dirty" / "shards" / "a.parquet", [*kept, shards.Document(id="2", text=asked[0], url="", language="eng")])
    portion = Portion(name="eng", language="eng", tokens=10, sources=(CuratedText(language="eng"),))
    recipe = encode(dataclasses.replace(recipes.stage1(), portions=(portion,)))
    for name, overlaps in (("clean", 0), ("dirty", 1)):
        told = order(nano, ("perplexity",), recipe=recipe, share=nano.overlap, corpora={"curation": str(tmp_path / name)})
        assert len(overlap.check(told)["overlaps"]) == overlaps
    assert np.isfinite(overlap.check(told)["overlaps"][0]["share"])
