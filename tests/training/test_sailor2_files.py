"""The files of stages 1 and 2 hold of a corpus what chapter 3 says: all of it, and the best fifth of each language."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from tests.training import small
from training.curation import documents as shards
from training.curation import stage
from training.curation.decontaminate import write_ngrams
from training.curation.documents import CurationError, Document
from training.pretraining.sources import data_digest, read
from training.recipe import TextFiles, WorldText
from training.recipes import sailor2, sailor2_files
from training.world import text

Scores = dict[str, list[float | None]]


def corpus(directory: Path, scores: Scores) -> Path:
    """Documents of the languages mixed over three shards, each with its score (None: none)."""
    made = [
        Document(
            id=f"{language}-{number}",
            text=f"teks {language} {number}",
            language=language,
            source="crawl",
            licence="CC0-1.0",
            extra={} if score is None else {"quality": score},
        )
        for language, own in scores.items()
        for number, score in enumerate(own)
    ]
    random.Random(7).shuffle(made)
    (directory / "shards").mkdir(parents=True)
    for number in range(3):
        shards.write(directory / "shards" / f"{number:05d}.parquet", iter(made[number::3]))
    return directory


def scored(seed: int = 1) -> Scores:
    draw = random.Random(seed)
    found: Scores = {language: [round(draw.random(), 2) for _ in range(5 + 7 * place)] for place, language in enumerate(sailor2.CRAWLED)}
    found["ind"][3] = found["war"][4] = None
    return found | {"eng": [0.9, 0.8]}


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_all_of_it_and_the_best_fifth(tmp_path: Path) -> None:
    scores = scored()
    made = sailor2_files.write_files(corpus(tmp_path / "corpus", scores), tmp_path / "mine")
    found = {path.relative_to(tmp_path / "mine").as_posix(): ids(path) for path in (tmp_path / "mine").rglob("*.jsonl")}
    assert {name: len(own) for name, own in found.items()} == made
    assert set(made) == {f"stage1/{one}.jsonl" for one in sailor2.STAGE1_NEW} | {f"stage2/{one}.jsonl" for one in sailor2.TABLE_5}
    for language in sailor2.CRAWLED:
        own = {f"{language}-{number}": score for number, score in enumerate(scores[language])}
        judged = {name: score for name, score in own.items() if score is not None}
        best = found[f"stage2/{language}.jsonl"]
        assert len(best) == math.ceil(len(judged) / 5)
        assert min(judged[name] for name in best) >= max(score for name, score in judged.items() if name not in best)
        if language in sailor2.STAGE1_NEW:
            assert sorted(found[f"stage1/{language}.jsonl"]) == sorted(own)
            assert [name for name in found[f"stage1/{language}.jsonl"] if name in best] == best  # in the order of the corpus


def test_they_are_the_files_that_the_recipes_name_and_can_be_read(tmp_path: Path) -> None:
    made = sailor2_files.write_files(corpus(tmp_path / "corpus", scored()), tmp_path / "mine")
    named = {
        source.path: source
        for recipe in (sailor2.stage1(), sailor2.stage2())
        for portion in recipe.portions
        for source in portion.sources
        if isinstance(source, TextFiles)
    }
    assert set(named) - set(made) == {"stage1/eng.jsonl", "stage1/cmn.jsonl", "instructions/eng.jsonl"}
    for path, documents in made.items():
        texts = [one.text for one in read(named[path], None, tmp_path / "mine")]
        assert len(texts) == documents
        assert all(text.startswith(f"teks {named[path].language} ") for text in texts)


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine" / "stage2").mkdir(parents=True)
    (tmp_path / "mine" / "stage2" / "lao.jsonl").write_text("mine\n", encoding="utf-8")
    with pytest.raises(CurationError, match=r"stage2/lao\.jsonl is there already"):
        sailor2_files.write_files(corpus(tmp_path / "corpus", scored()), tmp_path / "mine")
    assert (tmp_path / "mine" / "stage2" / "lao.jsonl").read_text(encoding="utf-8") == "mine\n"


def test_a_corpus_that_lacks_a_language_or_its_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = scored()
    scores["lao"] = [None] * 9
    del scores["jav"]
    where = corpus(tmp_path / "corpus", scores)
    assert sailor2_files.main([str(where), str(tmp_path / "mine")]) == 2
    assert "no document with a score in jav, lao" in capsys.readouterr().err
    assert not list((tmp_path / "mine").rglob("*.jsonl"))
    assert sailor2_files.main([str(tmp_path), str(tmp_path / "mine")]) == 2
    assert "holds no shards" in capsys.readouterr().err


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sailor2_files.main([str(corpus(tmp_path / "corpus", scored())), str(tmp_path / "mine")]) == 0
    assert "stage2/war.jsonl" in capsys.readouterr().out


def stories(language: str, documents: int, seed: int) -> list[text.WorldDocument]:
    return text.documents(WorldText(language=language, documents=documents, seed=seed))


@pytest.mark.slow
def test_the_recipe_makes_of_a_small_crawl_what_the_files_are_made_of(tmp_path: Path) -> None:
    """The whole chain as the profile has it, on stories of every language, each twice under one address; SailCraft's models are not there."""
    pytest.importorskip("fasttext")
    crawl = [
        Document(id=f"{one.id} {again}", url=f"https://{language}.example/{number}", text=one.text + "\n" * again, language=language)
        for language in sailor2.CRAWLED
        for number, one in enumerate(stories(language, 40, seed=11))
        for again in range(2)
    ]
    for name in ("crawl", "kenlm"):
        (tmp_path / name).mkdir()
    shards.write(tmp_path / "crawl" / "mine.jsonl.gz", iter(crawl))
    for seed, kind in enumerate(("good", "crawl")):
        for source in sailor2.quality(kind):
            (tmp_path / source.path).parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps({"text": one.text}) for one in stories(source.language, 60, seed=21 + seed)]
            (tmp_path / source.path).write_text("\n".join(lines), encoding="utf-8")
    windows = tmp_path / "windows.npz"
    write_ngrams([("held-out", "Kapal itu kembali ke pelabuhan membawa ikan segar sebelum matahari terbit pagi itu.")], windows)
    recipe = sailor2.curation()
    assert data_digest(recipe, None, tmp_path)
    job = small.job(tmp_path / "job", tmp_path, stage="curation", evaluation=windows)
    stage.build(recipe, job)
    report = {layer["name"]: layer for layer in json.loads((job.result / "report.json").read_text())["layers"]}
    assert list(report) == ["ids", *(layer.name for layer in recipe.chain.layers)]
    assert report["url"]["kept"] * 2 == report["url"]["seen"] == len(crawl)
    assert report["perplexity"]["kept"] == report["perplexity"]["seen"]
    assert report["quality"]["kept"] == report["quality"]["seen"] == report["pii"]["kept"]
    made = sailor2_files.write_files(job.result, tmp_path / "made")
    assert sum(made[f"stage1/{language}.jsonl"] for language in sailor2.STAGE1_NEW) > 0
    for language in sailor2.STAGE1_NEW:
        assert made[f"stage2/{language}.jsonl"] == math.ceil(made[f"stage1/{language}.jsonl"] / 5)
