"""The stage `curation`: what it leaves depends on its recipe alone, and a user's own crawl is taken as it is."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.training import small
from training.curation import documents as shards
from training.curation import stage
from training.curation.decontaminate import Decontaminate, write_ngrams
from training.curation.documents import CurationError, Document
from training.curation.lines import Lines
from training.curation.near import Near
from training.curation.quality import Quality
from training.curation.rules import Rules
from training.curation.settings import Curation
from training.curation.url import Url
from training.pretraining.sources import SourceError, crawl_files, data_digest
from training.recipe import CrawlFiles, CrawlTexts, CurateCorpus, HubText, TextFiles, WorldText, decode, encode
from training.world import text
from training.world.crawl import Crawl
from training.world.crawl_pages import boilerplate, host_of

RECIPE = CurateCorpus(
    crawl=Crawl(languages=("ind", "tha"), pages=100),
    chain=Curation(layers=(Url(), Near(), Decontaminate(cut=True))),
)


def windows(tmp_path: Path, *texts: str) -> Path:
    """What the pipeline hands over: the windows of evaluation texts."""
    write_ngrams([(str(number), text) for number, text in enumerate(texts)], tmp_path / "windows.npz")
    return tmp_path / "windows.npz"


def held_out() -> list[str]:
    sources = [WorldText(language=language, documents=60, split="held_out") for language in ("ind", "tha")]
    return [made.text for source in sources for made in text.documents(source)]


def built(tmp_path: Path, name: str, recipe: CurateCorpus, evaluation: Path | None = None) -> Path:
    job = small.job(tmp_path / name, tmp_path, stage="curation", evaluation=evaluation)
    stage.build(recipe, job)
    return job.result


def contents(directory: Path) -> dict[str, bytes]:
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_the_same_recipe_leaves_the_same_files_wherever_it_is_built(tmp_path: Path) -> None:
    evaluation = windows(tmp_path, *held_out())
    first, second = (contents(built(tmp_path, name, RECIPE, evaluation)) for name in ("a", "b"))
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} == set()
    report = json.loads(first["report.json"])
    assert [layer["name"] for layer in report["layers"]] == ["ids", "url", "near", "decontaminate"]
    assert report["layers"][3]["counts"]["evaluation texts found"] > 0
    assert b"/resume/" not in b"".join(first.values())
    assert "truth.jsonl" in first
    assert "run.json" not in first


def test_a_recipe_is_what_it_was_after_the_order(tmp_path: Path) -> None:
    assert decode(json.loads(json.dumps(encode(RECIPE)))) == RECIPE


def test_a_users_crawl_is_read_and_its_content_is_in_the_fingerprint(tmp_path: Path) -> None:
    made = [
        Document(id=str(number), text=f"halaman nomor {number} " * 4, url=f"https://a.example/{number % 3}", licence="CC0-1.0")
        for number in range(6)
    ]
    shards.write(tmp_path / "mine.jsonl", made)
    recipe = CurateCorpus(crawl=CrawlFiles(paths=("*.jsonl",)), chain=Curation(layers=(Url(),)))
    before = data_digest(recipe, None, tmp_path)
    result = built(tmp_path, "a", recipe)
    report = json.loads((result / "report.json").read_text())
    assert (report["layers"][1]["seen"], report["layers"][1]["kept"]) == (6, 3)
    assert [(entry["licence"], entry["documents"]) for entry in report["corpus"]] == [("CC0-1.0", 3)]
    assert not (result / "truth.jsonl").exists()
    shards.write(tmp_path / "mine.jsonl", made[:-1])
    assert data_digest(recipe, None, tmp_path) != before


def test_a_crawl_that_is_not_there_is_named(tmp_path: Path) -> None:
    recipe = CurateCorpus(crawl=CrawlFiles(paths=("gone/*.warc.gz",)), chain=Curation(layers=(Url(),)))
    with pytest.raises(SourceError, match=r"gone/\*\.warc\.gz: no such file"):
        data_digest(recipe, None, tmp_path)


def test_a_directory_as_the_crawl_is_all_that_curation_reads(tmp_path: Path) -> None:
    (tmp_path / "crawl").mkdir()
    for name in ("a.warc.gz", "b.wet", "c.pdf", "d.srt", "e.jsonl.zst", "README.txt"):
        (tmp_path / "crawl" / name).write_bytes(b"x")
    found = crawl_files(CrawlFiles(paths=("crawl",)), tmp_path)
    assert [path.name for path in found] == ["a.warc.gz", "b.wet", "c.pdf", "d.srt", "e.jsonl.zst"]


def test_evaluation_text_is_taken_out_of_a_users_crawl(tmp_path: Path) -> None:
    test = "Perahu nelayan kembali ke pelabuhan membawa ikan segar sebelum matahari terbit pagi itu."
    shards.write(tmp_path / "mine.jsonl", [Document(id="a", text="Teks yang lain sama sekali."), Document(id="b", text=f"Awal. {test}")])
    recipe = CurateCorpus(crawl=CrawlFiles(paths=("mine.jsonl",)), chain=Curation(layers=(Decontaminate(),)))
    corpus = built(tmp_path, "a", recipe, windows(tmp_path, test))
    kept = [made.id for path in sorted((corpus / "shards").iterdir()) for made in shards.read(path, print)]
    assert kept == ["a"]


def test_a_chain_that_keeps_evaluation_text_out_wants_to_be_told_which(tmp_path: Path) -> None:
    shards.write(tmp_path / "mine.jsonl", [Document(id="a", text="Teks yang lain sama sekali.")])
    recipe = CurateCorpus(crawl=CrawlFiles(paths=("mine.jsonl",)), chain=Curation(layers=(Decontaminate(),)))
    with pytest.raises(CurationError, match="names no windows of evaluation text"):
        built(tmp_path, "a", recipe)


# ------------------------------------------------------------------------------------------------------- text sources as a crawl


def mirrored(tmp_path: Path, config: str, language: str, texts: list[str]) -> HubText:
    """A set of the Hub's mirror, its rows the tellings of one parallel text."""
    path = tmp_path / "hub/org/set" / config / "train.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"body": one}) + "\n" for one in texts))
    manifest = tmp_path / "hub/MANIFEST.json"
    listed = json.loads(manifest.read_text()) if manifest.exists() else {}
    manifest.write_text(json.dumps({**listed, f"org/set/{config}/train.jsonl": {"rows": len(texts)}}))
    return HubText(dataset="org/set", config=config, split="train", field="body", language=language, licence="CC BY 4.0")


def test_text_sources_are_a_crawl(tmp_path: Path) -> None:
    """Every document of every source reaches the chain once, with its language, name and licence; two files of one name lose none."""
    told = [f"Perahu nomor {number} kembali ke pelabuhan." for number in range(5)]
    said = [f"เรือลำที่ {number} กลับเข้าฝั่ง" for number in range(5)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.jsonl").write_text("".join(json.dumps({"text": f"{name}{number}"}) + "\n" for number in range(3)))
    sources = (
        mirrored(tmp_path, "id", "ind", told),
        mirrored(tmp_path, "th", "tha", said),
        *(TextFiles(path=f"{name}/mine.jsonl", language="jav", licence="CC0") for name in ("a", "b")),
        WorldText(language="sun", documents=4),
    )
    recipe = CurateCorpus(crawl=CrawlTexts(sources=(*sources, sources[0])), chain=Curation(layers=(Url(),)))
    job = small.job(tmp_path / "a", tmp_path, stage="curation", hub=tmp_path / "hub")
    stage.build(recipe, job)
    kept = [made for path in sorted((job.result / "shards").iterdir()) for made in shards.read(path, print)]
    assert [(made.language, made.text) for made in kept[:16]] == [
        *(("ind", one) for one in told),
        *(("tha", one) for one in said),
        *(("jav", f"{name}{number}") for name in ("a", "b") for number in range(3)),
    ]
    assert Counter((made.language, made.source, made.licence) for made in kept) == {
        ("ind", "org/set/id/train:body", "CC BY 4.0"): 5,
        ("tha", "org/set/th/train:body", "CC BY 4.0"): 5,
        ("jav", "a/mine.jsonl", "CC0"): 3,
        ("jav", "b/mine.jsonl", "CC0"): 3,
        ("sun", "world/sun/train/0", "Apache-2.0"): 4,
    }
    assert len({made.id for made in kept}) == len(kept)
    record = {made.id: made.extra["record"] for made in kept}
    assert [record[one.id] for one in kept[:5]] == [record[one.id] for one in kept[5:10]]  # tellings of one text share a record
    assert not (job.result / "truth.jsonl").exists()
    assert decode(json.loads(json.dumps(encode(recipe)))) == recipe


def test_the_content_of_text_sources_is_in_the_fingerprint(tmp_path: Path) -> None:
    source = mirrored(tmp_path, "id", "ind", ["satu", "dua"])
    recipe = CurateCorpus(crawl=CrawlTexts(sources=(source,)), chain=Curation(layers=(Url(),)))
    before = data_digest(recipe, tmp_path / "hub", tmp_path)
    mirrored(tmp_path, "id", "ind", ["satu", "tiga"])
    assert data_digest(recipe, tmp_path / "hub", tmp_path) != before
    with pytest.raises(SourceError, match="give --gate-hub"):
        data_digest(recipe, None, tmp_path)


def test_a_crawl_of_texts_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"text": "satu"}\n{"text": 2}\n')
    recipe = CurateCorpus(crawl=CrawlTexts(sources=(TextFiles(path="mine.jsonl", language="ind"),)), chain=Curation(layers=(Url(),)))
    job = small.job(tmp_path / "a", tmp_path, stage="curation")
    with pytest.raises(SourceError, match=r"mine\.jsonl, row 2, field 'text' is a int"):
        stage.build(recipe, job)
    assert not (job.resume / "crawl").exists()
    (tmp_path / "mine.jsonl").write_text('{"text": "satu"}\n{"text": "dua"}\n')
    stage.build(recipe, job)
    assert json.loads((job.result / "report.json").read_text())["layers"][1]["kept"] == 2


JUNK = Crawl(languages=("ind", "tha"), pages=80, seed=7, only=("salad", "repetition"))
TAUGHT = CurateCorpus(
    crawl=CrawlFiles(paths=("mine.jsonl",)),
    chain=Curation(layers=(Quality(keep="all", learning_rate=0.5, epochs=25, dimensions=4, buckets=1000),)),
    positives=tuple(WorldText(language=language, documents=60, seed=8) for language in JUNK.languages),
    negatives=CurateCorpus(crawl=JUNK, chain=Curation(layers=(Lines(),))),
)


def test_a_classifier_learns_from_the_examples_that_the_recipe_names(tmp_path: Path) -> None:
    pool = [document for source in TAUGHT.positives for document in text.documents(dataclasses.replace(source, documents=30, seed=9))]
    good = [Document(id=f"good {made.id}", text=made.text, language=made.language) for made in pool]
    shards.write(tmp_path / "mine.jsonl", good)
    result = built(tmp_path, "a", TAUGHT)
    facts = json.loads((result / "facts/01-quality/quality.json").read_text())
    held = [json.loads(line) for line in (result / "facts/01-quality/held_out.jsonl").read_text().splitlines()]
    for language in JUNK.languages:
        assert facts[language]["positives"] == 54
        assert 60 <= facts[language]["negatives"] <= 72  # repeated words come twice now and then
        assert facts[language]["held-out AUC"] > 0.9
        assert Counter(row["positive"] for row in held if row["language"] == language) == {True: 6, False: facts[language]["held out"] - 6}
    kept = {made.id: made.extra["quality"] for path in (result / "shards").iterdir() for made in shards.read(path, print)}
    assert len(kept) == len(good)
    assert sum(score > 0.5 for score in kept.values()) > 0.9 * len(kept)
    negatives = list(shards.read(tmp_path / "a" / "resume" / stage.EXAMPLES["negatives"], print))
    said = [line for language in JUNK.languages for host in range(3) for line in boilerplate(language, host_of(language, host))]
    assert not any(line in made.text.split("\n") for made in negatives for line in said)  # their layer took the lines of their hosts
    assert decode(json.loads(json.dumps(encode(TAUGHT)))) == TAUGHT


def test_examples_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    shards.write(tmp_path / "mine.jsonl", [Document(id="a", text="Teks.", language="ind")])
    with pytest.raises(CurationError, match="positives alone"):
        built(tmp_path, "a", dataclasses.replace(TAUGHT, negatives=()))
    for crawl in (TAUGHT.crawl, CrawlTexts(sources=TAUGHT.positives)):
        of_files = CurateCorpus(crawl=crawl, chain=Curation(layers=(Lines(),)))
        with pytest.raises(CurationError, match="negatives: examples from a crawl of files"):
            built(tmp_path, "b", dataclasses.replace(TAUGHT, negatives=of_files))


def test_a_users_own_examples_are_in_the_fingerprint(tmp_path: Path) -> None:
    shards.write(tmp_path / "mine.jsonl", [Document(id="a", text="Teks.", language="ind")])
    for name in ("good", "bad"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": name}) + "\n")
    recipe = dataclasses.replace(
        TAUGHT, positives=(TextFiles(path="good.jsonl", language="ind"),), negatives=(TextFiles(path="bad.jsonl", language="ind"),)
    )
    before = data_digest(recipe, None, tmp_path)
    (tmp_path / "bad.jsonl").write_text(json.dumps({"text": "worse"}) + "\n")
    assert data_digest(recipe, None, tmp_path) != before


def test_a_file_that_a_layer_names_lies_beside_the_profile_and_is_in_the_fingerprint(tmp_path: Path) -> None:
    shards.write(tmp_path / "mine.jsonl", [Document(id="a", text="Kapal itu berlayar ke pulau. " * 20, language="ind")])
    (tmp_path / "flagged.toml").write_text('ind = ["berlayar"]\n')
    chain = Curation(layers=(Rules(flagged="flagged.toml"),))
    recipe = CurateCorpus(crawl=CrawlFiles(paths=("mine.jsonl",)), chain=chain)
    before = data_digest(recipe, None, tmp_path)
    report = json.loads((built(tmp_path, "a", recipe) / "report.json").read_text())
    assert report["layers"][1]["seen"] == 1
    (tmp_path / "flagged.toml").write_text('ind = ["kapal"]\n')
    assert data_digest(recipe, None, tmp_path) != before
    nested = CurateCorpus(crawl=JUNK, chain=chain)
    taught = dataclasses.replace(TAUGHT, negatives=nested)
    before = data_digest(taught, None, tmp_path)
    (tmp_path / "flagged.toml").write_text('ind = ["pulau"]\n')
    assert data_digest(taught, None, tmp_path) != before
