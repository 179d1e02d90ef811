"""The chain: what comes out, that it goes on where it failed, and that nothing is lost without a reason. Kills and Ray: test_whole_chain.py."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from training.curation import chain, extract, report
from training.curation import documents as shards
from training.curation.__main__ import main
from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.layer import Decision, Judge, Layer
from training.curation.perplexity import Perplexity
from training.curation.settings import DEFAULT_LAYERS, Curation
from training.recipe import WorldText
from training.world import text as world

ONE = Engine(workers=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Short(Layer):
    """Drops what is shorter than `least` characters and upper-cases the rest; stops with an error at a text that holds `stop`."""

    name = "short"
    least: int = 10
    stop: str = ""

    def judge(self, work: Path) -> Judge:
        def judge(batch: Sequence[Document], shard: int, first: int) -> list[Decision]:
            return [self._one(made) for made in batch]

        return judge

    def _one(self, made: Document) -> Decision:
        if self.stop and self.stop in made.text:
            raise RuntimeError("stopped")
        if len(made.text) < self.least:
            return Decision(reason="too short", detail=f"{len(made.text)} < {self.least}", counts={"short": 1})
        return Decision(document=dataclasses.replace(made, text=made.text.upper()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Twice(Layer):
    """Drops every text that an earlier row holds: a layer with a first pass over all shards."""

    name = "twice"

    def prepare(self, shards_: Sequence[Path], work: Path, engine: Engine) -> None:
        seen, again = set(), []
        for number, path in enumerate(shards_):
            for row, made in enumerate(shards.read(path, print)):
                if made.text in seen:
                    again.append([number, row])
                seen.add(made.text)
        (work / "again.json").write_text(json.dumps(again))
        with Path(os.environ.get("PREPARED", os.devnull)).open("a") as file:
            file.write("prepared\n")

    def judge(self, work: Path) -> Judge:
        again = {tuple(one) for one in json.loads((work / "again.json").read_text())}
        return lambda batch, shard, first: [
            Decision(reason="again") if (shard, first + index) in again else Decision(document=made) for index, made in enumerate(batch)
        ]


def inputs(directory: Path, files: int = 3, rows: int = 50) -> str:
    directory.mkdir(exist_ok=True)
    for number in range(files):
        made = [
            Document(
                id=f"{number}-{row}",
                text=f"teks nomor {row % 40} dalam berkas" if row % 7 else "pendek",
                language="ind" if row % 2 else "zsm",
                source=f"source {number}",
                licence="CC0-1.0" if number else "CC-BY-4.0",
                extra={"year": 2000 + row},
            )
            for row in range(rows)
        ]
        shards.write(directory / f"{number}.jsonl", made)
    return str(directory)


def corpus(output: Path) -> list[dict]:
    return [made.row() for path in sorted((output / "shards").iterdir()) for made in shards.read(path, print)]


def files(output: Path) -> dict[str, bytes]:
    """Every file but run.json, which names the input as it lies on this machine."""
    return {
        str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file() and path.name != "run.json"
    }


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task a file, so that there are several shards."""
    monkeypatch.setattr(extract, "INPUT_BYTES", 1)


RECIPE = Curation(layers=(Short(), Twice()))


@pytest.mark.usefixtures("small_groups")
def test_the_corpus_is_what_the_layers_say_in_the_order_of_the_input(tmp_path: Path) -> None:
    found = chain.run(RECIPE, [inputs(tmp_path / "in")], tmp_path / "out", ONE)
    rows = [made for path in sorted((tmp_path / "in").iterdir()) for made in shards.read(path, print)]
    expected, seen = [], set()
    for made in rows:
        if len(made.text) >= 10 and made.text not in seen:
            seen.add(made.text)
            expected.append(dataclasses.replace(made, text=made.text.upper()).row())
    assert corpus(tmp_path / "out") == expected
    short, twice = found["layers"][1:]
    assert (short["seen"], short["kept"], short["reasons"]) == (150, 126, {"too short": 24})
    assert short["counts"] == {"short": 24}
    assert (twice["seen"], twice["kept"], twice["reasons"]) == (126, len(expected), {"again": 126 - len(expected)})
    for layer in found["layers"]:
        assert layer["seen"] == layer["kept"] + sum(layer["reasons"].values())
        for key in ("seen", "kept", "seen_bytes", "kept_bytes"):
            assert sum(counts[key] for counts in layer["by_language"].values()) == layer[key]
    assert sum(entry["documents"] for entry in found["corpus"]) == len(expected)
    assert {entry["licence"] for entry in found["corpus"]} == {"CC-BY-4.0"}  # the later files only repeat the first
    dropped = [json.loads(line) for path in (tmp_path / "out/dropped/01-short").iterdir() for line in path.read_text().splitlines()]
    assert len(dropped) == 24
    assert dropped[0]["detail"] == "6 < 10"
    assert not (tmp_path / "out/work").exists()


@pytest.mark.usefixtures("small_groups")
def test_the_output_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    told = inputs(tmp_path / "in")
    for workers in (1, 2):
        chain.run(RECIPE, [told], tmp_path / f"out{workers}", Engine(workers=workers))
    assert files(tmp_path / "out1") == files(tmp_path / "out2")


@pytest.mark.usefixtures("small_groups")
def test_a_run_that_failed_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails in the middle of a layer's shards, the mend needs no other setting, and what was done is not done again."""
    told = inputs(tmp_path / "in")
    chain.run(RECIPE, [told], tmp_path / "whole", ONE)
    prepared = tmp_path / "prepared"
    monkeypatch.setenv("PREPARED", str(prepared))
    written = shards.write
    count = 0

    def failing(path: Path, made: object) -> int:
        nonlocal count
        count += 1
        if count in (2, 5, 9, 12):
            raise OSError(28, "No space left on device")
        return written(path, made)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "write", failing)
    failures = 0
    while True:
        try:
            chain.run(RECIPE, [told], tmp_path / "out", ONE)
            break
        except OSError:
            failures += 1
    assert failures == 4
    assert prepared.read_text().splitlines() == ["prepared"]
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_finished_corpus_is_left_as_it_is_and_another_recipe_replaces_it(tmp_path: Path) -> None:
    told = inputs(tmp_path / "in")
    first = chain.run(RECIPE, [told], tmp_path / "out", ONE)
    before = files(tmp_path / "out")
    said: list[str] = []
    assert chain.run(RECIPE, [told], tmp_path / "out", ONE, said.append) == first
    assert said == [f"{tmp_path / 'out'} is complete already"]
    assert files(tmp_path / "out") == before
    other = chain.run(Curation(layers=(Twice(),)), [told], tmp_path / "out", ONE)
    assert other["recipe"] != first["recipe"]
    assert not (tmp_path / "out/dropped/01-short").exists()


def test_of_a_directory_that_a_setting_names_the_content_counts(tmp_path: Path) -> None:
    """Other text to make the models of, or other models, under the same name: the corpus is not complete any more."""
    told, good = inputs(tmp_path / "in"), tmp_path / "good"
    good.mkdir()
    shards.write(good / "a.jsonl", [Document(id=str(number), text=f"teks nomor {number}", language="ind") for number in range(30)])
    recipe = Curation(layers=(Perplexity(text=(str(good),), share=0.9),))
    chain.run(recipe, [told], tmp_path / "out", ONE)
    shutil.copytree(good, tmp_path / "elsewhere" / "good")
    said: list[str] = []
    elsewhere = Curation(layers=(Perplexity(text=(str(tmp_path / "elsewhere" / "good"),), share=0.9),))
    chain.run(elsewhere, [told], tmp_path / "out", ONE, said.append)
    assert said == [f"{tmp_path / 'out'} is complete already"]
    shards.write(good / "b.jsonl", [Document(id="more", text="lain sekali", language="ind")])
    said.clear()
    chain.run(recipe, [told], tmp_path / "out", ONE, said.append)
    assert len(said) > 1


def test_with_kept_work_a_changed_setting_runs_its_layer_and_those_after_it_only(tmp_path: Path) -> None:
    told = inputs(tmp_path / "in")
    chain.run(RECIPE, [told], tmp_path / "out", ONE, keep_work=True)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/work").glob("*/done.json")}
    times = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "out/work").glob("*/done.json")}
    chain.run(Curation(layers=(Short(), Short(least=12), Twice())), [told], tmp_path / "out", ONE, keep_work=True)
    after = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "out/work").glob("*/done.json")}
    assert kept
    assert all(after[name] == times[name] for name in times if name[:2] in ("00", "01"))
    assert len(after) == len(times) + 2


def test_of_documents_with_one_id_the_first_is_kept(tmp_path: Path) -> None:
    for name in ("a", "b"):
        shards.write(tmp_path / f"{name}.jsonl", [Document(id="same", text=f"teks {name}"), Document(id=name, text="lain")])
    found = chain.run(Curation(layers=()), [str(tmp_path / "*.jsonl")], tmp_path / "out", ONE)
    assert [(row["id"], row["text"]) for row in corpus(tmp_path / "out")] == [("same", "teks a"), ("a", "lain"), ("b", "lain")]
    assert found["layers"][0]["reasons"] == {"duplicate id": 1}


def test_files_of_one_name_do_not_share_ids(tmp_path: Path) -> None:
    for language in ("ind", "tha"):
        (tmp_path / language).mkdir()
        (tmp_path / language / "train.jsonl").write_text(
            f'{{"text": "teks {language}"}}\n{{"text": "lain {language}", "id": "{language}"}}\n'
        )
    chain.run(Curation(layers=()), [str(tmp_path / "*/train.jsonl")], tmp_path / "out", ONE)
    assert [row["id"] for row in corpus(tmp_path / "out")] == ["ind/train.jsonl#1", "ind", "tha/train.jsonl#1", "tha"]


def test_a_report_from_before_there_were_remarks_is_told(tmp_path: Path) -> None:
    found = chain.run(RECIPE, [inputs(tmp_path / "in")], tmp_path / "out", ONE)
    del found["remarks"], found["remark_reasons"]
    assert "kept with a remark: 0" in report.text(found)
    assert "Kept with a remark: 0" in report.page(tmp_path / "out", found)


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_the_corpus_in_another_form_holds_the_same(tmp_path: Path, form: str) -> None:
    told = inputs(tmp_path / "in")
    recipe = Curation(layers=(Short(),))
    chain.run(recipe, [told], tmp_path / "parquet", ONE)
    for workers in (1, 2):
        chain.run(recipe, [told], tmp_path / f"out{workers}", Engine(workers=workers), form=form)
    names = [path.name for path in sorted((tmp_path / "out1/shards").iterdir())]
    assert names == [f"{number:05d}.{form}" for number in range(3)]
    assert corpus(tmp_path / "out1") == corpus(tmp_path / "parquet")
    assert files(tmp_path / "out1") == files(tmp_path / "out2")
    mine, theirs = files(tmp_path / "out1"), files(tmp_path / "parquet")
    assert {name: mine[name] for name in mine if "shards" not in name} == {name: theirs[name] for name in theirs if "shards" not in name}


def test_another_form_rewrites_the_shards_alone_where_the_work_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = inputs(tmp_path / "in")
    chain.run(RECIPE, [told], tmp_path / "out", ONE, keep_work=True)
    parquet = files(tmp_path / "out/shards")
    ran: list[str] = []
    monkeypatch.setattr(chain, "_judge_shard", lambda *_, **__: pytest.fail("a layer ran"))
    for form in ("jsonl", "jsonl", "parquet"):
        said: list[str] = []
        chain.run(RECIPE, [told], tmp_path / "out", ONE, said.append, keep_work=True, form=form)
        ran.append("".join(said))
        assert {path.name.partition(".")[2] for path in (tmp_path / "out/shards").iterdir()} == {form}
    assert [bool(said) for said in ran] == [False, True, False]
    assert "is complete already" in ran[1]
    assert files(tmp_path / "out/shards") == parquet
    assert json.loads((tmp_path / "out/run.json").read_text())["format"] == "parquet"


def test_another_form_without_the_work_says_that_the_layers_run_again(tmp_path: Path) -> None:
    told = inputs(tmp_path / "in")
    chain.run(RECIPE, [told], tmp_path / "out", ONE)
    said: list[str] = []
    chain.run(RECIPE, [told], tmp_path / "out", ONE, said.append, form="jsonl")
    assert said[0].endswith("holds parquet and no work (--keep-work): for jsonl its layers run again")
    assert [path.name for path in (tmp_path / "out/shards").iterdir()] == ["00000.jsonl"]
    with pytest.raises(CurationError, match=r"a corpus is written as jsonl, jsonl\.gz, jsonl\.zst or parquet, not csv"):
        chain.run(RECIPE, [told], tmp_path / "out", ONE, form="csv")


def test_a_corpus_of_before_there_were_forms_is_parquet(tmp_path: Path) -> None:
    told = inputs(tmp_path / "in")
    chain.run(RECIPE, [told], tmp_path / "out", ONE)
    path = tmp_path / "out/run.json"
    path.write_text(json.dumps({"fingerprint": json.loads(path.read_text())["fingerprint"]}))
    said: list[str] = []
    chain.run(RECIPE, [told], tmp_path / "out", ONE, said.append)
    assert said == [f"{tmp_path / 'out'} is complete already"]


def test_a_run_over_nothing_readable_ends_with_an_empty_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n\n")
    found = chain.run(RECIPE, [str(tmp_path / "a.jsonl")], tmp_path / "out", ONE)
    assert corpus(tmp_path / "out") == []
    assert all(layer["seen"] == 0 for layer in found["layers"])
    assert "not readable: 1" in report.text(found)


def test_the_report_tells_layers_reasons_languages_and_licences(tmp_path: Path) -> None:
    told = inputs(tmp_path / "in")
    shards.write(tmp_path / "in/9.jsonl", [Document(id="evil", text="<b>&", language="eng", source="<script>")])
    chain.run(RECIPE, [told], tmp_path / "out", ONE)
    found = report.load(tmp_path / "out")
    told_text = report.text(found)
    assert "too short" in told_text
    assert "CC-BY-4.0" in told_text
    page = report.page(tmp_path / "out", found)
    assert "<script>" not in page
    assert "&lt;b&gt;&amp;" in page


def test_the_report_of_an_unfinished_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "out/work").mkdir(parents=True)
    with pytest.raises(CurationError, match="not finished: start it again"):
        report.load(tmp_path / "out")


def test_the_command_runs_one_layer_reports_and_gives_clear_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = inputs(tmp_path / "in")
    assert main(["extract", "--input", told, "--output", str(tmp_path / "out"), "--workers", "1"]) == 0
    assert main(["report", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/report.html").is_file()
    out = capsys.readouterr().out
    assert "CC0-1.0" in out
    recipe = tmp_path / "recipe.toml"
    for body, said in (
        ("layers = ['nears']", "did you mean near?"),
        ("layer = ['near']", "nothing is called 'layer'"),
        ("layers = ['url']\n[near]\nthreshold = .7", "cannot be read"),
        ("layers = ['url']\n[near]\nthreshold = 0.7", "not among its layers"),
        ("layers = ['near']\n[near]\npermutation = 256", "did you mean permutations?"),
        ("layers = ['near']\n[near]\npermutations = 'many'", "near.permutations is 'many', a str; it is a int"),
    ):
        recipe.write_text(body)
        assert main(["run", str(recipe), "--input", told, "--output", str(tmp_path / "other")]) == 2
        assert said in capsys.readouterr().err
    assert main(["near", "--input", told, "--output", str(tmp_path / "other"), "--set", "permutations=256"]) == 2
    assert "write LAYER.SETTING=VALUE" in capsys.readouterr().err
    assert main(["extract", "--input", str(tmp_path / "none.jsonl"), "--output", str(tmp_path / "other")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert main(["extract", "--input", told, "--output", str(tmp_path / "lines"), "--format", "jsonl.gz", "--workers", "1"]) == 0
    assert corpus(tmp_path / "lines") == corpus(tmp_path / "out")
    assert [path.name for path in (tmp_path / "lines/shards").iterdir()] == ["00000.jsonl.gz"]
    both = ["--set", "near.permutations=128", "near.threshold=0.8", "--set", "near.bands=16", "near.rows=8"]  # as the layers' files say it
    assert main(["near", "--input", told, "--output", str(tmp_path / "set"), *both]) == 0
    (near,) = json.loads((tmp_path / "set" / "report.json").read_text())["recipe"]["layers"]
    assert (near["permutations"], near["threshold"], near["bands"], near["rows"]) == (128, 0.8, 16, 8)


def test_code_switched_documents_come_through_the_default_chain(tmp_path: Path) -> None:
    """Of a file of pairs; the filter used to take every one of them for a mixture. One that is in another language than it declares goes."""
    told = {
        iso: re.split(r"(?<=[.!?])\s+|\n", "\n".join(made.text for made in world.documents(WorldText(language=iso, documents=150, seed=3))))
        for iso in ("ind", "eng", "tgl", "vie")
    }
    for name, first, second in (("films", "ind", "eng"), ("mislabelled", "tgl", "vie")):
        rows = [
            {"text": one, "translation": other, "film": str(at // 200)}
            for at, (one, other) in enumerate(zip(told[first], told[second], strict=False))
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[[sources.origins]]\nkind = "pairs"\nlanguages = "ind,eng"\nlicence = "CC0-1.0"\n')
    asked = [
        "run",
        str(recipe),
        "--input",
        str(tmp_path / "films.jsonl"),
        str(tmp_path / "mislabelled.jsonl"),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*asked, "--workers", "1"]) == 0
    found = json.loads((tmp_path / "out/report.json").read_text())
    assert [layer["name"] for layer in found["layers"]] == ["ids", *DEFAULT_LAYERS]
    kept = corpus(tmp_path / "out")
    assert len(kept) > 5
    assert {(row["language"], row["languages"], row["licence"]) for row in kept} == {("", "ind,eng", "CC0-1.0")}
    assert {row["id"].partition("#")[0] for row in kept} == {"films.jsonl"}
    (language,) = [layer for layer in found["layers"] if layer["name"] == "language"]
    assert language["counts"] == {"several languages declared": len(kept)}
    assert language["reasons"].keys() <= {"mixed languages", "wrong language"}
    for row in kept:
        assert {line in told["eng"] for line in row["text"].splitlines()} == {True, False}
