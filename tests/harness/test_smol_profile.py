"""The profile smol: its real text as a crawl, and the gates of its curation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from harness import profiles, suites
from training.pretraining.sources import data_digest, manifest, name, read, sources_of
from training.recipe import CurateCorpus, CuratedText
from training.recipes import smol


def test_what_is_curated_is_what_the_stages_train_on() -> None:
    """Each source of the crawl is read from the corpus by its name, and nothing is read past it."""
    profile = profiles.load("smol")
    crawled = [(source.language, name(source)) for source in smol.curation().crawl.sources]
    assert len(set(crawled)) == len(crawled)  # no two data sets of a language share a name
    read_back = [source for stage in ("stage1", "stage2") for source in sources_of(profile.stages[stage].recipe)]
    assert all(isinstance(source, CuratedText) for source in read_back)
    assert {(source.language, one) for source in read_back for one in source.sources} == set(crawled)


def test_held_out_text_is_no_part_of_the_crawl() -> None:
    held_out = {source for language in smol.LANGUAGES for source in smol.held_out_sources(language)}
    assert not held_out & set(sources_of(smol.curation()))


def test_every_document_of_every_source_is_crawled_once(hub: Path) -> None:
    """What goes into the chain is what was trained on without one: ids tell all of it apart."""
    recipe = smol.curation()
    assert isinstance(recipe, CurateCorpus)
    ids = Counter(document.id for source in recipe.crawl.sources for document in read(source, hub, Path()))
    assert ids.total() > 40_000
    assert max(ids.values()) == 1
    assert data_digest(recipe, hub, Path()) != data_digest(recipe.crawl.sources[1:], hub, Path())


def test_its_gates_see_every_layer_that_drops() -> None:
    """A share for each layer of the chain, but for the one that masks."""
    profile = profiles.load("smol")
    suite = suites.load(profile.suites["curation"], "curation", profile.directory)
    shares = {metric.name.removeprefix("share_") for metric in suite.metrics if metric.name.startswith("share_")}
    assert shares == {layer.name for layer in smol.curation().chain.layers} - {"pii"}


def test_the_data_card_names_every_file_of_the_mirror_and_its_use(hub: Path) -> None:
    """A line a source; a file that neither trains, is held out nor is asked is one of shots (dev, validation, train) or another language's."""
    lines = [line.replace("held out", "held").split() for line in smol.card(hub).splitlines()[1:]]
    assert {line[1] for line in lines} == {"train", "held", "asked"}
    for language in smol.LANGUAGES:
        for use, sources in (("train", smol.training_sources), ("held", smol.held_out_sources)):
            of_use = [" ".join(line) for line in lines if line[:2] == [language, use]]
            assert len(of_use) == len(sources(language))
            for source in sources(language):
                assert any(f"{source.dataset}/{source.config}" in line and source.licence in line for line in of_use)
    asked = {line[2] for line in lines if line[1] == "asked"}
    wanted = {spec.suite for spec in profiles.load("smol").suites.values()}
    assert wanted - {
        "perplexity",
        "isolation",
        "mixture",
        "identity",
        "language",
        "curation",
        "culture",
        "sailcompass",
        "nusax_mt",
        "pud_mt",
    } == {
        "lm_eval:xcopa",
        "lm_eval:belebele_jav_Latn",
        "lm_eval:global_mmlu_id",
    }
    assert {"cambridgeltl/xcopa/th", "facebook/belebele/jav_Latn", "CohereLabs/Global-MMLU-Lite/id"} <= asked
    mirrored = {file.rpartition("/")[0] for file in manifest(hub)}
    assert {line[2] for line in lines} <= mirrored
