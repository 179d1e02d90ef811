"""The instruments of benchmarks/speed: what the generated crawl promises, what is counted of processes, and what the truth about pairs says."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import curation_inputs, curation_work, near_truth
from benchmarks.speed.curation_corpus import KINDS, LANGUAGES, Corpus, generate, number_of, plan, text_of
from benchmarks.speed.side_by_side import in_processes, side_by_side
from training.curation import settings
from training.curation.documents import Document, read
from training.curation.engine import Engine
from training.languages import script_of


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return generate(tmp_path_factory.mktemp("speed"), 400, workers=1)


@pytest.fixture(scope="module")
def pages(corpus: Corpus) -> list[Document]:
    return [made for path in corpus.shards for made in read(path, lambda amiss: pytest.fail(amiss.reason))]


def test_every_document_is_made_from_its_number_alone(corpus: Corpus, pages: list[Document]) -> None:
    assert [number_of(made.id) for made in pages] == list(range(400))
    assert corpus.bytes == sum(len(made.text.encode()) for made in pages)
    made = plan(400, 0)
    for number in (399, 7, 200):
        assert text_of(made, number)[0] == pages[number].text
    assert corpus.texts([399, 3]) == {number: pages[number].text for number in (3, 399)}


def test_a_corpus_that_is_there_is_not_made_again(corpus: Corpus) -> None:
    before = [path.stat().st_mtime_ns for path in corpus.shards]
    assert generate(corpus.directory.parent, 400, workers=1) == corpus
    assert [path.stat().st_mtime_ns for path in corpus.shards] == before


def test_duplicates_are_planted_in_their_shares(corpus: Corpus, pages: list[Document]) -> None:
    truth = corpus.truth()
    assert np.bincount(truth["kind"]).tolist() == [260, 40, 40, 60]
    assert not truth["kind"][truth["of"]].any()
    for number, made in enumerate(pages):
        original, kind = pages[truth["of"][number]], KINDS[truth["kind"][number]]
        assert (made.text == original.text) == (kind in ("text", "exact"))
        assert (made.url.partition("?")[0].partition("#")[0] == original.url) == (kind in ("text", "recrawl"))
        assert bool(truth["edits"][number]) == (kind == "near")
        assert made.language == original.language == LANGUAGES[truth["language"][number]]


def test_texts_are_in_five_scripts(pages: list[Document]) -> None:
    found = {script_of(made.text)[0] for made in pages}
    assert found == {"Latin", "Thai", "Lao", "Khmer", "Myanmar"}
    assert all(script_of(made.text)[1] > 0.99 for made in pages)


def test_edited_copies_are_of_every_similarity(corpus: Corpus) -> None:
    pairs, similar = near_truth.planted(corpus, 1000)
    edited = similar[corpus.truth()["kind"][pairs[:, 0]] == KINDS.index("near")]
    assert 0.35 < edited.min() < 0.6
    assert edited.max() > 0.95
    assert np.all(np.histogram(edited, bins=[0.5, 0.7, 0.85, 1.0])[0] > 4)


def test_layers_are_given_what_they_want_once(
    corpus: Corpus, pages: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Examples in every language, evaluation text of which a part stands in a twentieth of the pages."""
    monkeypatch.setattr(curation_inputs, "EVALUATION", 220)
    told = {name: curation_inputs.settings(name, corpus) for name in ("near", "quality", "decontaminate")}
    assert told["near"] == []
    layers = settings.of({"layers": ["quality", "decontaminate"]}, [*told["quality"], *told["decontaminate"]]).layers
    for (path,) in (layers[0].positives, layers[0].negatives):
        assert Counter(made.language for made in read(Path(path), print)) == dict.fromkeys(LANGUAGES, 50)
    layers[1].prepare([], tmp_path, Engine(workers=1))
    judge = layers[1].judge(tmp_path)
    dropped = [one.reason for one in judge(pages, 0, 0)].count("evaluation text")
    assert 0.02 < dropped / len(pages) < 0.1
    before = {path: path.stat().st_mtime_ns for path in corpus.directory.rglob("*")}
    assert curation_inputs.settings("quality", corpus) == told["quality"]
    assert {path: path.stat().st_mtime_ns for path in corpus.directory.rglob("*")} == before


def test_pages_of_a_crawl_hold_the_corpus(corpus: Corpus, pages: list[Document], tmp_path: Path) -> None:
    crawl = curation_inputs.pages(corpus)
    assert (crawl.documents, crawl.bytes) == (40, sum(len(made.text.encode()) for made in pages[:40]))
    files = sorted((crawl.directory / "shards").iterdir())
    assert curation_work.extract(files, tmp_path, Engine(workers=1)) == {"documents": 40, "kept": 40}
    (shard,) = sorted((tmp_path / "kept").iterdir())
    for made, page in zip(read(shard, print), pages, strict=False):
        assert made.url == page.url
        kept = set(made.text.split("\n"))
        said = [line for line in page.text.split("\n") if line.strip()]
        assert sum(len(line) for line in said if line in kept) > 0.8 * len(page.text)


def test_recall_and_precision_of_known_answers(corpus: Corpus) -> None:
    truth = corpus.truth()
    pairs, similar = near_truth.planted(corpus, 1000)
    alone = np.arange(corpus.documents)
    assert near_truth.recall(alone, pairs, similar)["0.8 to 0.85"][1] == 0
    assert near_truth.recall(truth["of"], pairs, similar)["0.8 to 0.85"][1] == 1
    exact_only = np.where(truth["kind"] == KINDS.index("exact"), truth["of"], alone)
    assert near_truth.precision(corpus, exact_only, 0.99, 200) == 1
    strangers = alone // 2 * 2  # each with its neighbour
    assert near_truth.precision(corpus, strangers, 0.7, 200) < 0.1


def test_shingles_are_words_or_characters() -> None:
    assert near_truth.shingles("A b c d e f") == {("a", "b", "c", "d", "e"), ("b", "c", "d", "e", "f")}
    assert near_truth.shingles("ကခဂ ဃင") == {tuple("ကခဂဃင")}
    assert near_truth.shingles("one two") == {("one", "two")}
    assert near_truth.jaccard({1, 2, 3}, {2, 3, 4}) == 0.5


def test_processes_that_outlive_their_parent_are_counted(tmp_path: Path) -> None:
    """datatrove's workers hang below a server that nobody waits for; a parent's own count misses them."""
    burn = "import time; memory = bytearray(60 * 2**20); e = time.process_time() + 0.5\nwhile time.process_time() < e: pass"
    between = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}])"
    script = tmp_path / "parent.py"
    script.write_text(
        f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {between!r}])\ntime.sleep(0.2)\nprint('{{}}')\n"
    )
    found = side_by_side({"it": [sys.executable, str(script)]}, 1, in_processes)["it"]
    assert 0.5 <= found.seconds < 5
    assert found.peak_mb > 55
    assert not found.result["limited"]


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        in_processes([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_a_limit_holds_where_it_can_be_set() -> None:
    greedy = "import json; print(json.dumps({'got': len(bytearray(400 * 2**20))}))"
    assert in_processes([sys.executable, "-c", greedy]).result["got"] == 400 * 2**20
    modest = in_processes([sys.executable, "-c", "print('{}')"], 200)
    if not modest.result["limited"]:
        pytest.skip("no memory cgroup can be made here")
    with pytest.raises(RuntimeError, match="ended with"):
        in_processes([sys.executable, "-c", greedy], 200)
