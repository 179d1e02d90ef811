"""Extraction: what becomes of files that are empty, broken or of the mirror, what is remarked on, and where each document was read."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from tests.training.curation.test_chain import corpus, files
from training.curation import chain, extract, report
from training.curation import documents as shards
from training.curation.__main__ import main
from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.settings import Curation
from training.curation.settings import of as settings_of
from training.curation.sources import EMPTY, NO_URL

ONE = Engine(workers=1)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task a file, so that there are several shards."""
    monkeypatch.setattr(extract, "INPUT_BYTES", 1)


@pytest.mark.usefixtures("small_groups")
def test_a_duplicate_id_is_dropped_with_the_places_of_both(tmp_path: Path) -> None:
    """By brute force over the files: blank and broken lines count as rows, and the kept one may lie in another shard."""
    rows: list[tuple[str, int, str]] = []
    for name in ("a.jsonl", "b.parquet", "c.jsonl.gz"):
        made = [Document(id=f"{'pqrs'[number * number % 4]}{number % 5}", text=f"teks {name} {number}") for number in range(12)]
        shards.write(tmp_path / name, made)
        rows += [(str(tmp_path / name), number, one.id) for number, one in enumerate(made, 1)]
    (tmp_path / "d.jsonl").write_text('\n{"text": 1}\n{"text": "teks d", "id": "p0"}\n{"text": "lain", "id": "d"}\n')
    rows += [(str(tmp_path / "d.jsonl"), 3, "p0"), (str(tmp_path / "d.jsonl"), 4, "d")]
    expected: list[tuple[str, str, int, str, int]] = []
    first: dict[str, tuple[str, int]] = {}
    for file, row, name in rows:
        if name in first:
            expected.append((name, file, row, *first[name]))
        first.setdefault(name, (file, row))
    chain.run(Curation(layers=()), [str(tmp_path / "*.*")], tmp_path / "out", ONE)
    told = [json.loads(line) for path in sorted((tmp_path / "out/dropped/00-ids").iterdir()) for line in path.read_text().splitlines()]
    assert [tuple(one[key] for key in ("id", "file", "row", "kept_file", "kept_row")) for one in told] == expected
    assert {one["reason"] for one in told} == {"duplicate id"}
    assert told[-1]["detail"] == f"row 3 of {tmp_path / 'd.jsonl'}; kept is row 1 of {tmp_path / 'a.jsonl'}"
    assert set(corpus(tmp_path / "out")[0]) == set(shards.COLUMNS)  # the places are no column
    assert [row["id"] for row in corpus(tmp_path / "out")] == list(first)


def test_places_are_told_from_where_the_quarantine_s_are(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text('{"text": "satu", "id": "x"}\n{"text": "dua", "id": "x"}\n{}\n')
    chain.run(Curation(layers=()), [str(tmp_path / "in")], tmp_path / "out", ONE, shown_from=tmp_path)
    assert str(tmp_path) not in (tmp_path / "out/dropped/00-ids/00000.jsonl").read_text()
    assert json.loads((tmp_path / "out/quarantine.jsonl").read_text())["file"] == "in/a.jsonl"


def test_what_cannot_be_read_is_counted_and_listed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "satu"}\n{"text": ""}\n\xff\n')
    whole = gzip.compress(b'{"text": "dua"}\n' * 50_000)
    (tmp_path / "b.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    found = chain.run(Curation(layers=()), [str(tmp_path / "*.jsonl*")], tmp_path / "out", ONE)
    told = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert found["quarantined"] == len(told) == 3
    assert [Path(one["file"]).name for one in told] == ["a.jsonl", "a.jsonl", "b.jsonl.gz"]
    assert [one["row"] for one in told][:2] == [2, 3]


def test_a_file_of_which_nothing_can_be_had_is_quarantined_and_the_others_are_read(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    shards.write(tmp_path / "a.jsonl", [Document(id="a", text="satu")])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 torn")
    pyarrow.parquet.write_table(pyarrow.table({"content": ["dua"]}), tmp_path / "c.parquet")
    found = chain.run(Curation(layers=()), [str(tmp_path)], tmp_path / "out", ONE)
    assert [row["id"] for row in corpus(tmp_path / "out")] == ["a"]
    told = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert [(Path(one["file"]).name, one["row"]) for one in told] == [("b.parquet", 0), ("c.parquet", 0)]
    assert "torn" in told[0]["reason"]
    assert "no column `text`" in told[1]["reason"]
    assert found["quarantined"] == 2


def test_a_file_whose_name_is_no_unicode_is_read_like_others(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl"))
    path.write_text('{"text": "satu"}\n{"text": "dua", "id": "x"}\n{"text": "tiga", "id": "x"}\n{}\n')
    chain.run(Curation(layers=()), [str(tmp_path)], tmp_path / "out", ONE)
    assert [row["id"] for row in corpus(tmp_path / "out")] == ["\\udcff.jsonl#1", "x"]
    assert json.loads((tmp_path / "out/quarantine.jsonl").read_text())["file"] == str(path)


def test_empty_files_are_named_each_once_and_nothing_ends_at_them(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    shards.write(tmp_path / "a.jsonl", [Document(id="a", text="satu")])
    for name, data in (
        ("b.jsonl", b""),
        ("c.jsonl", b"\n \r\n\n"),
        ("d.jsonl.gz", b""),
        ("e.jsonl.gz", gzip.compress(b"")),
        ("f.jsonl.gz", gzip.compress(b"\n\n")),
        ("g.jsonl.zst", b""),
        ("h.warc", b""),
        ("i.warc.gz", gzip.compress(b"")),
        ("j.srt", b""),
        ("k.vtt", b"WEBVTT\n"),
        ("m.jsonl", b"\xef\xbb\xbf"),
    ):
        (tmp_path / name).write_bytes(data)
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), tmp_path / "l.parquet")
    shards.write(tmp_path / "n.jsonl.zst", [])
    (tmp_path / "o.pdf").write_bytes(b"")
    found = chain.run(Curation(layers=()), [str(tmp_path)], tmp_path / "out", ONE)
    told = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert [Path(one["file"]).name[0] for one in told] == list("bcdefghijklmno")  # one line a file
    assert [(one["row"], one["offset"], one["reason"], one["kept"]) for one in told[:-1]] == [(0, 0, EMPTY, False)] * 13
    assert found["quarantine_reasons"][EMPTY] == 13
    assert (found["quarantined"], found["remarks"]) == (14, 0)
    assert [row["id"] for row in corpus(tmp_path / "out")] == ["a"]


def test_a_file_whose_rows_are_all_amiss_is_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    found = chain.run(Curation(layers=()), [str(tmp_path)], tmp_path / "out", ONE)
    assert found["quarantine_reasons"] == {"it has no `text`": 1}


def test_a_url_that_is_none_is_remarked_and_its_document_kept(tmp_path: Path) -> None:
    urls = ["not a url", "https://a.example/1", "http://", "ftp:///x", "junk " * 2000, "", None, "\ud800", "http://a.example/\ud800", 17]
    lines = [json.dumps({"id": str(number), "text": f"teks {number}", "url": url}) + "\n" for number, url in enumerate(urls)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    found = chain.run(settings_of({"layers": ["url"]}), [str(tmp_path / "a.jsonl")], tmp_path / "out", ONE)
    rows = corpus(tmp_path / "out")
    assert [row["text"] for row in rows] == [f"teks {number}" for number in range(len(urls))]
    assert [row["url"] for row in rows][:5] == urls[:5]  # as they came: what is published is the input's
    told = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    none = [0, 2, 3, 4, 7, 9]
    assert [one["row"] - 1 for one in told] == none
    assert [one["offset"] for one in told] == [len("".join(lines[:row])) for row in none]
    assert {(one["reason"], one["kept"]) for one in told} == {(NO_URL, True)}
    assert told[0]["detail"] == "'not a url'"
    assert told[3]["detail"].endswith("... (10,000 characters)")
    assert len(told[3]["detail"]) < 200
    assert (found["quarantined"], found["quarantine_reasons"]) == (0, {})
    assert (found["remarks"], found["remark_reasons"]) == (len(none), {NO_URL: len(none)})
    assert found["layers"][1]["counts"]["documents whose URL is none"] == len(none)
    assert f"kept with a remark: {len(none)}" in report.text(found)
    assert NO_URL in report.text(found)
    assert f"Kept with a remark: {len(none)}" in report.page(tmp_path / "out", found)


def mirror(directory: Path, rows: int = 3, counted: int = 3) -> Path:
    """A mirror of one data set in two languages, `row` of each the same text in both."""
    for language in ("ind", "tha"):
        path = directory / f"some/set/{language}/train.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps({"isi": f"teks {language} {row}", "id": row}) + "\n" for row in range(rows)))
    (directory / "MANIFEST.json").write_text(
        json.dumps({f"some/set/{language}/train.jsonl": {"rows": counted} for language in ("ind", "tha")})
    )
    return directory


ORIGINS = """layers = ["url"]
[[sources.origins]]
pattern = "hub:some/set/ind/*"
field = "isi"
language = "ind"
licence = "CC0-1.0"
[[sources.origins]]
pattern = "hub:some/set/*"
field = "isi"
language = "tha"
licence = "MIT"
source = "some"
"""


def test_a_data_set_of_the_mirror_is_an_input_like_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub, recipe = mirror(tmp_path / "hub"), tmp_path / "recipe.toml"
    recipe.write_text(ORIGINS)
    shards.write(tmp_path / "a.jsonl", [Document(id="a", text="satu")])
    given = ["--input", "hub:some/set/ind/train", str(tmp_path / "a.jsonl"), "hub:some/set/tha/train", "--workers", "1"]
    monkeypatch.delenv("SEATRIALS_HUB", raising=False)
    assert main(["run", str(recipe), *given, "--output", str(tmp_path / "none")]) == 2
    assert "--hub DIR" in capsys.readouterr().err
    assert main(["run", str(recipe), *given, "--output", str(tmp_path / "out"), "--hub", str(hub)]) == 0
    rows = corpus(tmp_path / "out")
    assert [row["text"] for row in rows] == [*(f"teks ind {row}" for row in range(3)), "satu", *(f"teks tha {row}" for row in range(3))]
    assert [(row["language"], row["licence"], row["source"]) for row in rows[2:5]] == [
        ("ind", "CC0-1.0", "some/set/ind/train:isi"),
        ("", "", ""),
        ("tha", "MIT", "some"),
    ]
    monkeypatch.setenv("SEATRIALS_HUB", str(hub))
    assert main(["run", str(recipe), *given, "--output", str(tmp_path / "env")]) == 0
    assert files(tmp_path / "env") == files(tmp_path / "out")


@pytest.mark.parametrize(
    ("named", "body", "said"),
    [
        ("hub:some/set/ind/train", 'layers = ["url"]', '[[sources.origins]]\npattern = "hub:some/set/*"\n'),
        ("hub:some/set/ind/train", 'layers = ["url"]', "--set 'sources.origins=[{pattern = "),
        ("hub:some/set/ind/train", ORIGINS.replace("MIT", "").replace("CC0-1.0", ""), 'licence = "..."'),
        ("hub:some/set/ind/train", ORIGINS.replace("isi", "text"), "has no field 'text'"),
        ("hub:some/set/ind/train", ORIGINS + 'kind = "pairs"\n', ""),
        ("hub:some/set/tha/train", ORIGINS + 'kind = "pairs"\n', "of documents"),
        ("hub:some/set/jav/train", ORIGINS, "the mirror has no"),
        ("hub:set", ORIGINS, "hub:DATASET/CONFIG/SPLIT"),
    ],
)
def test_a_data_set_that_cannot_be_read_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], named: str, body: str, said: str
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(body)
    told = ["run", str(recipe), "--input", named, "--output", str(tmp_path / "out"), "--hub", str(mirror(tmp_path / "hub"))]
    assert main(told) == (2 if said else 0)
    assert said in capsys.readouterr().err


def test_a_data_set_needs_no_recipe_and_its_blank_rows_are_counted(tmp_path: Path) -> None:
    hub = mirror(tmp_path / "hub", rows=2)
    path = hub / "some/set/ind/train.jsonl"
    path.write_text(path.read_text() + '{"isi": "  ", "id": 2}\n')
    told = ["extract", "--input", "hub:some/set/ind/train", "--output", str(tmp_path / "out"), "--hub", str(hub), "--workers", "1"]
    origin = '{pattern = "hub:some/set/*", field = "isi", licence = "MIT", language = "ind"}'
    assert main([*told, "--set", f"sources.origins=[{origin}]"]) == 0
    assert [row["text"] for row in corpus(tmp_path / "out")] == ["teks ind 0", "teks ind 1"]
    assert report.load(tmp_path / "out")["skipped"] == {"a row of the mirror without text": 1}


def test_rows_that_the_mirror_s_manifest_does_not_count_end_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(ORIGINS)
    told = ["run", str(recipe), "--input", "hub:some/set/ind/train", "--output", str(tmp_path / "out")]
    assert main([*told, "--hub", str(mirror(tmp_path / "hub", counted=4))]) == 2
    assert "holds 3 rows, MANIFEST.json says 4" in capsys.readouterr().err
    assert not (tmp_path / "out/run.json").exists()


def test_a_file_of_a_kind_that_is_not_read_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("satu")
    with pytest.raises(CurationError, match=r"a\.txt: curation reads \.warc"):
        chain.run(Curation(layers=()), [str(tmp_path / "*.txt")], tmp_path / "out", ONE)
    assert not (tmp_path / "out").exists()
