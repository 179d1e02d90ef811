"""Synthetic text: the recipe's counts, sources and licences, and a run that goes on where it was stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.training.test_translate import checkpoint
from training.curation import synthetic
from training.curation.documents import CurationError, Document, read, write
from training.curation.synthetic import EnglishSource, Synthetic, build, draw
from training.models.translate import load_translator


class Reversing:
    """Translates by reading backwards, and stops after so many calls."""

    name = "nllb-reversing"

    def __init__(self, calls: int = 1_000) -> None:
        self.calls, self.asked = calls, list[str]()

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        assert (source, target) == ("eng", "ind")
        if not self.calls:
            raise KeyboardInterrupt
        self.calls -= 1
        self.asked += texts
        return [text[::-1] if "blank" not in text else " " for text in texts]


@pytest.fixture
def recipe(tmp_path: Path) -> Synthetic:
    sources = []
    for name, licence, wanted in (("cosmopedia", "Apache-2.0", 40), ("madlad", "ODC-BY", 40), ("ultrachat", "MIT", 20)):
        documents = [Document(id=str(n), text=f"{name} says {n}.", licence=licence, url=f"u{n}", extra={"topic": n % 3}) for n in range(60)]
        write(tmp_path / f"{name}.jsonl", documents)
        sources.append(EnglishSource(name=name, files=(str(tmp_path / f"{name}.jsonl"),), documents=wanted))
    return Synthetic(language="ind", sources=tuple(sources))


def contents(path: Path) -> list[Document]:
    return list(read(path, lambda found: pytest.fail(found.reason)))


def test_forty_forty_twenty_with_source_and_licence(recipe: Synthetic, tmp_path: Path) -> None:
    shard = build(recipe, tmp_path / "out", Reversing)
    made = contents(shard)
    assert shard == tmp_path / "out" / "ind.parquet"
    assert Counter(document.source for document in made) == {"cosmopedia": 40, "madlad": 40, "ultrachat": 20}
    assert len({document.id for document in made}) == 100
    for document in made:
        assert document.language == "ind"
        assert document.text[::-1].startswith(f"{document.source} says")
        own = {"cosmopedia": "Apache-2.0", "madlad": "ODC-BY", "ultrachat": "MIT"}[document.source]
        assert document.licence == f"{own} + CC-BY-NC-4.0"
        assert document.extra["translator"] == "nllb-reversing"
        assert document.extra["topic"] == int(document.id.split("/")[1]) % 3
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["ind.parquet"]


@pytest.mark.parametrize("stopped", [0, 1, 3])
def test_a_stopped_run_goes_on_and_ends_the_same(recipe: Synthetic, tmp_path: Path, stopped: int) -> None:
    whole = build(recipe, tmp_path / "whole", Reversing)
    first, second = Reversing(stopped), Reversing()
    with pytest.raises(KeyboardInterrupt):
        build(recipe, tmp_path / "parts", lambda: first)
    shard = build(recipe, tmp_path / "parts", lambda: second)
    assert shard.read_bytes() == whole.read_bytes()
    assert len(first.asked) == stopped * synthetic.PART
    assert not set(first.asked) & set(second.asked), "nothing is translated twice"
    assert build(recipe, tmp_path / "parts", lambda: pytest.fail("it is made already")) == shard


def test_another_recipe_does_not_go_on_with_it(recipe: Synthetic, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(recipe, tmp_path / "out", lambda: Reversing(1))
    other = Synthetic(language="ind", sources=recipe.sources, seed=1)
    with pytest.raises(CurationError, match="was begun with other documents"):
        build(other, tmp_path / "out", Reversing)


def test_what_is_drawn_depends_on_texts_and_seed_alone(recipe: Synthetic, tmp_path: Path) -> None:
    drawn = draw(recipe)
    for source in recipe.sources:
        path = Path(source.files[0])
        write(path, reversed(contents(path)))
    assert draw(recipe) == drawn
    assert {made.text for made in draw(Synthetic(language="ind", sources=recipe.sources, seed=1))} != {made.text for made in drawn}


def test_no_text_is_drawn_twice_nor_one_that_is_too_long(tmp_path: Path) -> None:
    documents = [Document(id=str(n), text=f"text {n % 5}") for n in range(20)] + [Document(id="long", text="a" * 30_000)]
    for name in ("one", "two"):
        write(tmp_path / f"{name}.jsonl", documents)
    one, two = (
        EnglishSource(name=name, files=(str(tmp_path / f"{name}.jsonl"),), documents=count) for name, count in (("one", 3), ("two", 2))
    )
    drawn = draw(Synthetic(language="tha", sources=(one, two)))
    assert len({made.text for made in drawn}) == 5
    with pytest.raises(CurationError, match="source two holds 2 documents"):
        draw(Synthetic(language="tha", sources=(one, EnglishSource(name="two", files=two.files, documents=3))))


def test_a_blank_translation_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [Document(id="1", text="blank"), Document(id="2", text="not")])
    source = EnglishSource(name="a", files=(str(tmp_path / "a.jsonl"),), documents=2)
    assert [made.text for made in contents(build(Synthetic(language="ind", sources=(source,)), tmp_path / "out", Reversing))] == ["ton"]


def test_the_command_translates_with_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way, with a tiny random checkpoint of NLLB's class."""
    model = checkpoint(tmp_path / "nllb-tiny")
    for name in synthetic.COUNTS:
        write(tmp_path / f"{name}.jsonl", [Document(id=str(n), text=f"a {name} test {'abcdef'[n]}", licence="MIT") for n in range(3)])
    sources = [part for name in synthetic.COUNTS for part in ("--source", f"{name}:2={tmp_path / name}.jsonl")]
    given = ["--language", "tha", "--translator", str(model), "--output", str(tmp_path / "out"), "--dtype", "float32", *sources]
    assert synthetic.main(given) == 0
    made = contents(Path(capsys.readouterr().out.strip()))
    assert Counter(document.source for document in made) == dict.fromkeys(synthetic.COUNTS, 2)
    drawn = draw(Synthetic(language="tha", sources=synthetic._sources(sources[1::2])))
    assert [document.text for document in made] == load_translator(model).translate([document.text for document in drawn], "eng", "tha")


def test_the_defaults_are_those_of_the_paper_and_mistakes_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = synthetic._sources(["cosmopedia=a", "madlad=b", "ultrachat=c", "cosmopedia=d"])
    assert [(source.documents, source.files) for source in found] == [(4000, ("a", "d")), (4000, ("b",)), (2000, ("c",))]
    for source in ("wiki=a", "wiki:x=a", "wiki"):
        assert synthetic.main(["--language", "ind", "--translator", "t", "--output", str(tmp_path), "--source", source]) == 2
        assert "NAME:COUNT=FILES" in capsys.readouterr().err
    with pytest.raises(CurationError, match="'eng'"):
        Synthetic(language="eng", sources=found)
    with pytest.raises(CurationError, match="'xxx'"):
        Synthetic(language="xxx", sources=found)
