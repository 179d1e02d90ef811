"""Corpora among a stage's parents, and what keeps evaluation text out of them: who hands what to whom."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from harness import evaluation_text, overlap, profiles
from harness.apart import decontaminated
from harness.pipeline import Pipeline
from harness.profiles import Profile, ProfileError, Variant
from harness.settings import Settings
from training.curation import documents as shards
from training.curation.decontaminate import Ngrams
from training.pretraining.sources import file_digest
from training.recipe import CuratedText, Portion, WorldText, encode
from training.recipes import defects
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
        "originals": [],
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
    profile = profiles.load("sailor2-1b")
    assert profile.parents("stage1") == profile.made_from("stage1")
    assert profiles.load("smol").corpora("stage1") == ("curation",)


def test_a_recipe_that_reads_a_corpus_which_it_cannot_have_is_refused(nano: Profile) -> None:
    stages = {name: entry for name, entry in nano.stages.items() if name != "curation"}
    with pytest.raises(ProfileError, match="stage1 trains on the corpus of curation, which the profile does not define; define the stage"):
        dataclasses.replace(nano, stages=stages, variants={})
    portion = Portion(name="eng", language="eng", tokens=10, sources=(CuratedText(language="eng"),))
    base = dataclasses.replace(nano.stages["base"], recipe=dataclasses.replace(recipes.base(), portions=(portion,)))
    with pytest.raises(ProfileError, match="base trains on the corpus of curation, which stage1, stage2 may do; give it other sources"):
        dataclasses.replace(nano, stages={**nano.stages, "base": base}, variants={})
    plain = dataclasses.replace(portion, sources=(WorldText(language="eng", documents=9),))
    reads_none = dataclasses.replace(nano.stages["stage1"], recipe=dataclasses.replace(recipes.stage1(), portions=(plain,)))
    planted = Variant(stage="stage1", recipe=dataclasses.replace(recipes.stage1(), portions=(portion,)))
    with pytest.raises(ProfileError, match="stage1@other trains on another corpus than stage1"):
        dataclasses.replace(nano, stages={**nano.stages, "stage1": reads_none}, variants={"stage1@other": planted})


def test_a_stage_that_reads_no_corpus_has_none_for_a_parent(nano: Profile) -> None:
    portion = Portion(name="vie", language="vie", tokens=10, sources=(WorldText(language="vie", documents=9),))
    entry = dataclasses.replace(nano.stages["stage1"], recipe=dataclasses.replace(recipes.stage1(), portions=(portion,)))
    profile = dataclasses.replace(nano, stages={**nano.stages, "stage1": entry}, variants={})
    assert profile.parents("stage1") == ("expand",)
    assert profile.parents("stage2") == ("stage1", "curation")


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
    known = Ngrams.read(tmp_path / evaluation_text.WINDOWS)
    texts = evaluation_text.evaluation_texts(order(nano, names))
    assert {suite for suite, _, _ in texts} == {"perplexity", "cause"}  # curation asks nothing of a checkpoint
    for _, _, text in texts[:: len(texts) // 40]:
        (found,) = known.look([normalised(f"Something before. {text} And something after.")], 0.5)
        assert max(found.values()) == 1.0
    assert [table.length for table in known.tables][-1] == nano.overlap_window


def test_a_suite_that_cannot_be_drawn_stands_in_the_error(nano: Profile, tmp_path: Path) -> None:
    told = order(nano, ("perplexity",))
    told["suites"]["perplexity"]["options"]["sources"]["eng"] = ["gone.jsonl"]  # type: ignore[index]
    (tmp_path / "order.json").write_text(json.dumps(told))
    assert evaluation_text.main([str(tmp_path / "order.json")]) == 1
    assert "gone.jsonl" in json.loads((tmp_path / "error.json").read_text())["message"]
    assert not (tmp_path / evaluation_text.WINDOWS).exists()


def test_the_digest_is_of_the_text_and_not_of_who_asks_it_or_how(nano: Profile) -> None:
    def digest(profile: Profile, *names: str) -> str:
        texts = (text for _, _, text in evaluation_text.evaluation_texts(order(profile, names)))
        return evaluation_text.texts_digest(texts, profile.overlap_window)

    def with_choice(**options: object) -> Profile:
        spec = nano.suites["choice"]
        return dataclasses.replace(nano, suites={**nano.suites, "choice": dataclasses.replace(spec, options={**spec.options, **options})})

    before = digest(nano, "choice", "cause")
    assert digest(nano, "cause", "choice") == before
    assert digest(dataclasses.replace(nano, suites={**nano.suites, "again": nano.suites["choice"]}), "choice", "cause", "again") == before
    assert digest(nano, "choice", "cause", "curation") == before
    assert digest(with_choice(count=61), "choice", "cause") != before
    assert evaluation_text.texts_digest(["a text of the harbour and its ferry"], 50) != evaluation_text.texts_digest(
        ["a text of the harbour and its ferry"], 100
    )
    assert evaluation_text.texts_digest(["no"], 50) == evaluation_text.texts_digest([], 50)  # a phrase


def test_a_corpus_is_unknown_until_what_is_asked_has_been_read(nano: Profile, tmp_path: Path) -> None:
    suites = {name: nano.suites[name] for name in ("choice", "curation")}
    small = dataclasses.replace(
        nano, suites=suites, stages={"curation": nano.stages["curation"]}, variants={}, gates=tmp_path / "gates.toml"
    )
    small.gates.write_text(
        'schema = 1\n[[gate]]\nname = "present"\nstage = "curation"\nsuite = "curation"\nmetric = "present"\nrule = "at_least"\n'
        'line = 0.9\nlanguages = ["eng"]\nreason = "r"\n'
    )
    pipeline = Pipeline(Settings(profile=small, store=tmp_path / "store"))
    assert pipeline.fingerprint("curation") is None
    (planned,) = pipeline.plan(("curation",))
    assert (planned.action, planned.why.partition(";")[0]) == ("build", "what the suites ask is read first")
    windows = pipeline._apart().windows("curation", nano.stages["curation"].recipe)
    assert windows is not None
    assert Ngrams.read(windows).names.size > 0
    assert pipeline.fingerprint("curation") is not None
    facts = windows.with_name(evaluation_text.FACTS)
    told = json.loads(facts.read_text())
    assert told["sha256"] == file_digest(windows)
    before = pipeline.fingerprint("curation")
    whole = windows.read_bytes()
    windows.write_bytes(whole[:-1])  # damaged: read anew, and the same
    assert pipeline._apart().windows("curation", nano.stages["curation"].recipe) == windows
    assert windows.read_bytes() == whole
    assert pipeline.fingerprint("curation") == before
    facts.write_text(json.dumps({**told, "digest": "of another text"}))
    assert pipeline.fingerprint("curation") != before


def test_a_suite_that_this_run_cannot_ask_is_left_out() -> None:
    profile = profiles.load("sailor2-8b")
    names = tuple(name for name, spec in profile.suites.items() if spec.options.get("originals") == "given")
    assert names
    assert evaluation_text.evaluation_texts(order(profile, names)) == []


def test_only_a_corpus_with_the_layer_is_held_against_the_text(nano: Profile) -> None:
    assert decontaminated(nano.stages["curation"].recipe)
    assert not decontaminated(defects.only(recipes.curation(), "url"))
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
