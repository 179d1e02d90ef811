"""A stage that trains on a corpus, end to end: curated, certified, held against what the suites ask, trained on, and built anew when the crawl moves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.store import Store
from tests.plugin.conftest import run_pytest
from training.recipe import WorldText
from training.world import text

pytestmark = pytest.mark.slow  # curates, trains and judges: a minute and a half of a core

PROFILE = """
import dataclasses
from pathlib import Path

from harness.profiles import Profile, StageEntry
from harness.suites import SuiteSpec
from tests.plugin import toy_profile as toy
from training.curation.settings import read
from training.recipe import CrawlFiles, CurateCorpus, CuratedText, Portion

HERE = Path(__file__).parent
curated = Portion(name="ind", language="ind", tokens=16_000, sources=(CuratedText(language="ind"),))
stage1 = dataclasses.replace(toy.stage1, portions=(toy.portion("eng", 8_000), curated))
profile = dataclasses.replace(
    toy.profile,
    name="my-corpus",
    stages={
        "curation": StageEntry(recipe=CurateCorpus(crawl=CrawlFiles(paths=("crawl.jsonl",)), chain=read(HERE / "recipe.toml"))),
        **toy.profile.stages,
        "stage1": StageEntry(recipe=stage1, adds=toy.NEW),
    },
    suites={
        **toy.profile.suites,
        "curation": SuiteSpec(suite="curation", languages=("ind",), options={"truth": False}, stages=("curation",)),
    },
    variants={},
    gates=HERE / "gates.toml",
    directory=HERE,
)
"""
RECIPE = """
layers = ["url", "near", "decontaminate"]
[near]
threshold = {threshold}
"""
GATES = """
[[gate]]
name = "{name}"
stage = "curation"
suite = "curation"
metric = "duplicates_left"
rule = "at_most"
line = {line}
languages = ["ind"]
reason = "no document with another .7 alike"
"""


def stories(documents: int, split: str = "train", seed: int = 1) -> list[str]:
    return [one.text for one in text.documents(WorldText(language="ind", documents=documents, split=split, seed=seed))]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a profile whose crawl holds 200 stories and five texts that its suites ask about; built once."""
    directory = tmp_path_factory.mktemp("corpus-outside")
    write_crawl(directory, [*stories(200), *stories(5, split="held_out", seed=0)])
    toy_gates = (Path(__file__).parent / "toy_gates.toml").read_text(encoding="utf-8")
    (directory / "gates.toml").write_text(toy_gates + GATES.format(name="unique", line=0.2), encoding="utf-8")
    (directory / "recipe.toml").write_text(RECIPE.format(threshold=0.9), encoding="utf-8")
    (directory / "my_profile.py").write_text(PROFILE, encoding="utf-8")
    result = run_pytest(directory, ["-m", "stage1", "--gate-profile=my_profile.py"])
    assert result.returncode == 0, result.stdout + result.stderr
    return directory


def write_crawl(directory: Path, texts: list[str]) -> None:
    rows = [{"text": one, "language": "ind", "url": f"https://host{number}.example/"} for number, one in enumerate(texts)]
    (directory / "crawl.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_the_corpus_is_a_parent_and_holds_nothing_that_is_asked(outside: Path) -> None:
    store = Store(outside / ".seatrials")
    (stage1,) = store.artifacts("my-corpus", "stage1")
    (corpus,) = store.artifacts("my-corpus", "curation")
    assert [(parent.stage, parent.content) for parent in stage1.record.parents][1] == ("curation", corpus.record.content)
    report = json.loads((corpus.path / "report.json").read_text())
    assert report["layers"][-1]["name"] == "decontaminate"
    assert report["layers"][-1]["seen"] - report["layers"][-1]["kept"] == 5  # and the overlap check before stage1 found nothing left
    facts = json.loads((stage1.path / "build.json").read_text())
    assert facts["portions"]["ind"]["documents"] == report["layers"][-1]["kept"]


def test_a_second_run_reuses_everything_and_a_page_more_moves_what_reads_it(outside: Path) -> None:
    def plan() -> dict[str, str]:
        shown = run_pytest(outside, ["-m", "stage1", "--gate-profile=my_profile.py", "--collect-only"]).stdout
        return dict(re.findall(r"^ +(\w+) +(reuse|build .*)", shown, re.MULTILINE))

    assert plan() == dict.fromkeys(("base", "expand", "curation", "stage1"), "reuse")
    kept = (outside / "crawl.jsonl").read_text(encoding="utf-8")
    with (outside / "crawl.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "Satu halaman lagi datang malam itu.", "language": "ind"}) + "\n")
    moved = plan()
    (outside / "crawl.jsonl").write_text(kept, encoding="utf-8")
    assert moved["base"] == moved["expand"] == "reuse"
    assert "data" in moved["curation"]
    assert "its parent curation is built first" in moved["stage1"]


def test_a_corpus_that_fails_its_gates_stops_the_stage(outside: Path) -> None:
    """Every story twice, and no layer that sees it."""
    kept, gates = ((outside / name).read_text(encoding="utf-8") for name in ("crawl.jsonl", "gates.toml"))
    write_crawl(outside, [*stories(60), *stories(60)])
    (outside / "recipe.toml").write_text('layers = ["url", "decontaminate"]\n', encoding="utf-8")
    result = run_pytest(outside, ["-m", "stage1", "--gate-profile=my_profile.py"])
    for name, content in (("crawl.jsonl", kept), ("gates.toml", gates), ("recipe.toml", RECIPE.format(threshold=0.9))):
        (outside / name).write_text(content, encoding="utf-8")
    assert result.returncode == 1, result.stdout + result.stderr
    assert re.search(r"curation\.unique\.ind .* fail", result.stdout)
    assert re.search(r"stage1\.\S+ .*not run: blocked by curation\.unique\.ind \(fail\)", result.stdout)
