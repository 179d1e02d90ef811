"""Synthetic text as the quality classifier's positives (3.2), the whole way by the commands: translated, trained on, a pool judged by it."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.training.test_translate import checkpoint
from training.curation import quality, ranking, synthetic
from training.curation.__main__ import main
from training.curation.documents import Document, read, write
from training.curation.quality import FACTS, HELD_OUT, text_key
from training.recipe import WorldText
from training.world import text as world

COUNTS = {"cosmopedia": 40, "madlad": 40, "ultrachat": 20}
LICENCES = {"cosmopedia": "Apache-2.0", "madlad": "ODC-BY", "ultrachat": "MIT"}
NEW, CRAWLED, READ = 12, 68, 4  # of the pool: translations that are no examples, documents of a crawl, and examples


def contents(*paths: Path) -> list[Document]:
    return [made for path in paths for made in read(path, lambda found: pytest.fail(found.reason))]


def english(directory: Path, seed: int, count: int) -> list[str]:
    """Shards of the three sources, as options of the command: sentences that a model of single letters reads."""
    rng, options = random.Random(seed), []
    for name in COUNTS:
        path = directory / f"{name}-{seed}.jsonl"
        texts = ["\n".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=3)) + "." for _ in range(6)) for _ in range(count + 10)]
        write(path, [Document(id=f"{seed}-{n}", text=text, licence=LICENCES[name]) for n, text in enumerate(texts)])
        options += ["--source", f"{name}:{COUNTS[name] * count // 40}={path}"]
    return options


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """synthetic/, pool/ and crawl/, and out/ that the layer made of them."""
    place = tmp_path_factory.mktemp("made")
    model = ["--translator", str(checkpoint(place / "nllb-tiny")), "--dtype", "float32", "--language", "ind"]
    assert synthetic.main([*model, "--output", str(place / "synthetic"), *english(place, 1, 28)]) == 0
    assert synthetic.main([*model, "--output", str(place / "new"), *english(place, 2, 8)]) == 0
    positives, told = contents(place / "synthetic" / "ind.parquet"), world.documents(WorldText(language="ind", documents=220, seed=77))
    crawl = [Document(id=f"c{n}", text=one.text, language="ind", licence="CC0-1.0") for n, one in enumerate(told)]
    for directory in ("crawl", "pool"):
        (place / directory).mkdir()
    write(place / "crawl" / "0.parquet", crawl[:120])
    known = {text_key(one.text) for one in positives}
    new = [one for one in contents(place / "new" / "ind.parquet") if text_key(one.text) not in known][:NEW]
    assert len(new) == NEW
    pool = [*new, *crawl[150 : 150 + CRAWLED], *positives[:READ]]
    random.Random(5).shuffle(pool)
    write(place / "pool" / "0.parquet", pool[:50])
    write(place / "pool" / "1.parquet", pool[50:])
    settings = [f"quality.positives={place / 'synthetic'}", f"quality.negatives={place / 'crawl'}", "quality.epochs=25"]
    given = ["quality", "--input", str(place / "pool"), "--output", str(place / "out"), "--workers", "1", "--set", *settings]
    assert main(given) == 0
    return place


def test_the_examples_are_the_translations_but_for_those_of_the_pool(made: Path) -> None:
    positives = contents(made / "synthetic" / "ind.parquet")
    assert {one.source for one in positives} == set(COUNTS)
    distinct = {text_key(one.text) for one in positives}
    in_pool = distinct & {text_key(one.text) for one in contents(*sorted((made / "pool").iterdir()))}
    assert len(in_pool) >= 1
    (facts,) = [json.loads(path.read_text())["ind"] for path in (made / "out").rglob(FACTS)]
    (held,) = [[json.loads(line) for line in path.read_text().splitlines()] for path in (made / "out").rglob(HELD_OUT)]
    held_positives = [row["excerpt"] for row in held if row["positive"]]
    assert facts["positives"] + len(held_positives) == len(distinct - in_pool)
    assert facts["positives"] > 40
    starts = Counter(" ".join(one.text.split())[: quality.EXCERPT] for one in positives if text_key(one.text) not in in_pool)
    assert set(held_positives) <= set(starts)
    good, bad = (np.array([row["score"] for row in held if row["positive"] is want]) for want in (True, False))
    assert facts["held-out AUC"] == ranking.auc(good, bad) > 0.9


def test_the_layer_keeps_translations_that_it_has_not_read_and_drops_the_crawl(made: Path) -> None:
    """A fifth of the pool stays: its translations, and the best document of the crawl."""
    pool = {one.id: one for one in contents(*sorted((made / "pool").iterdir()))}
    kept = {one.id: one for one in contents(*sorted((made / "out" / "shards").iterdir()))}
    (file,) = (made / "out" / "dropped" / "01-quality").iterdir()
    dropped = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(kept) == math.ceil(0.2 * len(pool)) == NEW + READ + 1
    assert sorted([*kept, *(row["id"] for row in dropped)]) == sorted(pool)
    lowest = min(one.extra["quality"] for one in kept.values())
    assert all(float(row["detail"].split()[1]) <= lowest + 5e-5 for row in dropped)  # printed to four places
    known = {text_key(one.text) for one in contents(made / "synthetic" / "ind.parquet")}
    new = {one.id for one in pool.values() if one.extra.get("translator") and text_key(one.text) not in known}
    assert len(new) == NEW
    assert len(new & set(kept)) >= NEW - 1
    translations = [one for one in kept.values() if one.extra.get("translator")]
    for one in translations:  # whose words these are, and under what, is carried through
        assert one.licence == f"{LICENCES[one.source]} + CC-BY-NC-4.0"
        assert one.extra["translated_from"] == "eng"
        assert one.text == pool[one.id].text
