"""Subtitles, bilingual pairs, documents as they are, and the mirror: order, windows, borders, determinism."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curation import documents
from training.curation.documents import CurationError, Document, Quarantined
from training.curation.sources import SUFFIXES, Origin, Sources, documents_of, of_hub
from training.curation.sources.bilingual import switched
from training.curation.sources.subtitles import windows
from training.recipe import HubText, encode

SRT = """\ufeff1
00:00:01,000 --> 00:00:03,000
<i>Kapal itu</i>
sudah pergi.

2
00:00:04,000 --> 00:00:05,000
{\\an8}Ke mana &amp; kapan?

no times here

3
00:00:06,000 --> 00:00:07,000

4
00:00:08,000 --> 00:00:09,000
Aku < kamu.
"""
VTT = "WEBVTT - a film\n\nSTYLE\n::cue { color: red }\n\nNOTE a remark\n\nintro\n00:01.000 --> 00:02.000 align:start\n<v Budi>Halo <00:01.500>semua</v>\n"


def read(path: Path, settings: Sources | None = None) -> tuple[list[Document], list[Quarantined]]:
    amiss: list[Quarantined] = []
    return list(documents_of(path, settings or Sources(), amiss.append)), amiss


def rows(path: Path, found: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------------------------------ windows


@given(st.lists(st.integers(), max_size=60), st.integers(1, 12), st.integers(1, 12))
def test_windows_bring_every_item_in_order(items: list[int], window: int, stride: int) -> None:
    stride = min(stride, window)
    found = list(windows(items, window, stride))
    assert all(part == items[index * stride : index * stride + window] for index, part in enumerate(found))
    assert [item for index, part in enumerate(found) for item in (part if not index else part[window - stride :])] == items
    assert all(len(part) == window for part in found[:-1])


@given(st.lists(st.text(min_size=1), max_size=50), st.integers(1, 9))
def test_windows_that_do_not_overlap_are_the_input(items: list[str], window: int) -> None:
    assert [item for part in windows(items, window, window) for item in part] == items


# ---------------------------------------------------------------------------------------------------------------------- subtitles


def test_srt_lines_are_what_is_on_the_screen(tmp_path: Path) -> None:
    path = tmp_path / "film.srt"
    path.write_text(SRT.replace("\n", "\r\n"), encoding="utf-8")
    (made,), amiss = read(path, Sources(origins=(Origin(licence="CC0", source="films", language="ind"),)))
    assert made.text == "Kapal itu sudah pergi.\nKe mana & kapan?\nAku < kamu."
    assert (made.extra["film"], made.licence, made.source, made.language) == ("film", "CC0", "films", "ind")
    assert [(one.row, one.reason) for one in amiss] == [(3, "block 3 has no line of times: 'no times here'")]


def test_webvtt_has_heads_and_remarks_that_are_no_lines(tmp_path: Path) -> None:
    (tmp_path / "film.vtt").write_text(VTT, encoding="utf-8")
    (made,), amiss = read(tmp_path / "film.vtt")
    assert (made.text, amiss) == ("Halo semua", [])


def test_srt_in_an_older_encoding_is_read_and_noise_quarantined(tmp_path: Path) -> None:
    lines = [f"{number}\n00:00:01,000 --> 00:00:02,000\nเรือลำนั้นออกจากท่าแต่เช้าตรู่\n" for number in range(9)]
    (tmp_path / "a.srt").write_bytes("\n".join(lines).encode("tis-620"))
    (made,), _ = read(tmp_path / "a.srt")
    assert made.text.split("\n") == ["เรือลำนั้นออกจากท่าแต่เช้าตรู่"] * 9
    (tmp_path / "b.srt").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "c.srt").write_text(SRT, encoding="utf-8")
    assert [len(read(tmp_path / "b.srt")[part]) for part in (0, 1)] == [0, 1]
    assert [len(read(tmp_path / "c.srt", Sources(largest_record=99))[part]) for part in (0, 1)] == [0, 1]


def test_windows_never_cross_a_film(tmp_path: Path) -> None:
    lines = [{"text": f"film {film} line {line}", "film": film, "language": "ind"} for film in "abca" for line in range(250)]
    path = rows(tmp_path / "subtitles.jsonl", lines)
    settings = Sources(origins=(Origin(kind="subtitles", licence="CC0"),))
    found, amiss = read(path, settings)
    assert amiss == []
    assert [len(made.text.split("\n")) for made in found] == [100, 100, 50] * 4
    assert all({line.split()[1] for line in made.text.split("\n")} == {made.extra["film"]} for made in found)
    assert [line for made in found for line in made.text.split("\n")] == [line["text"] for line in lines]
    assert len({made.id for made in found}) == 12
    assert {(made.language, made.licence) for made in found} == {("ind", "CC0")}
    overlapping, _ = read(path, Sources(origins=settings.origins, stride=50))
    assert [len(made.text.split("\n")) for made in overlapping[:4]] == [100, 100, 100, 100]


def test_a_line_without_a_film_is_quarantined(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", [{"text": "one", "film": "x"}, {"text": "two"}, {"text": "three", "film": "x"}, {"film": "x"}])
    (made,), amiss = read(path, Sources(origins=(Origin(kind="subtitles"),)))
    assert made.text == "one\nthree"
    assert sorted((one.row, one.reason) for one in amiss) == [(2, "row a.jsonl#2 names no film: it has no `film`"), (4, "it has no `text`")]
    assert [one.offset for one in amiss if one.row == 2] == [len(path.read_text().splitlines()[0]) + 1]


# -------------------------------------------------------------------------------------------------------------------------- pairs


def pairs(path: Path) -> Path:
    return rows(path, [{"text": f"ind {film} {n}", "translation": f"eng {film} {n}", "film": film} for film in "ab" for n in range(150)])


def test_pairs_become_documents_in_two_languages(tmp_path: Path) -> None:
    path = pairs(tmp_path / "pairs.jsonl")
    origin = Origin(kind="pairs", languages="ind,eng", licence="CC0")
    found, amiss = read(path, Sources(origins=(origin,), ratio=0.3, seed=5))
    assert amiss == []
    lines = [[line.split() for line in made.text.split("\n")] for made in found]
    assert [len(part) for part in lines] == [100, 50, 100, 50]
    assert [sum(language == "eng" for language, _, _ in part) for part in lines] == [30, 15, 30, 15]
    assert [(film, int(number)) for part in lines for _, film, number in part] == [(film, n) for film in "ab" for n in range(150)]
    assert {made.extra["languages"] for made in found} == {"ind,eng"}
    assert found == read(path, Sources(origins=(origin,), ratio=0.3, seed=5))[0]
    assert found != read(path, Sources(origins=(origin,), ratio=0.3, seed=6))[0]
    assert {language for part in lines for language, _, _ in part} == {"ind", "eng"}


def test_pairs_without_a_group_are_one_text_and_one_without_a_translation_is_quarantined(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", [{"text": "satu", "en": "one"}, {"text": "dua", "en": None}, {"text": "tiga", "en": "three"}])
    (made,), amiss = read(path, Sources(origins=(Origin(kind="pairs", group="", translation="en"),), ratio=1.0))
    assert made.text == "one\nthree"
    assert [(one.row, one.reason) for one in amiss] == [(2, "row a.jsonl#2 has no translation: `en` is None")]
    assert made.place.row == 1  # where its first pair stands


@given(st.lists(st.tuples(st.text(), st.text()), max_size=40), st.floats(0, 1), st.text(max_size=5))
def test_each_sentence_stands_once_in_one_language(found: list[tuple[str, str]], ratio: float, seed: str) -> None:
    lines = switched([(f"1{first}", f"2{second}") for first, second in found], ratio, seed)
    assert [line[1:] in pair for line, pair in zip(lines, found, strict=True)] == [True] * len(found)
    assert abs(sum(line[0] == "2" for line in lines) - ratio * len(found)) <= 0.5


# ---------------------------------------------------------------------------------------------------------------- documents, mirror


def test_shards_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    documents.write(path, [Document(id="1", text="one", licence="MIT", extra={"n": 1}), Document(id="2", text="two")])
    found, _ = read(path, Sources(origins=(Origin(pattern="*/a.parquet", licence="CC0", source="ours"),)))
    assert [(made.id, made.licence, made.source) for made in found] == [("1", "MIT", "ours"), ("2", "CC0", "ours")]
    assert found[0].extra == {"n": 1}


def test_a_file_of_another_kind_is_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(CurationError, match=r"a\.docx.*\.warc\.gz"):
        read(tmp_path / "a.docx")
    assert len(set(SUFFIXES)) == len(SUFFIXES)


def test_settings_of_a_toml_are_settings() -> None:
    made = Sources(origins=({"pattern": "*.srt", "licence": "CC0"},))  # type: ignore[arg-type]
    assert made.origins == (Origin(pattern="*.srt", licence="CC0"),)
    assert encode(made)["origins"][0]["licence"] == "CC0"
    assert made.origin(Path("/x/film.srt")).licence == "CC0"
    assert made.origin(Path("/x/film.pdf")) == Origin()


@pytest.mark.parametrize(
    ("field", "value"), [("stride", 101), ("stride", 0), ("ratio", 1.5), ("largest_record", 0), ("origins", ({"kind": "films"},))]
)
def test_settings_that_cannot_work_are_refused(field: str, value: Any) -> None:
    with pytest.raises(CurationError, match=f"sources.{field}"):
        Sources(**{field: value})


def test_the_mirror_s_data_sets_are_documents(hub: Path) -> None:
    source = HubText(dataset="un/udhr", config="ind", split="train", field="text", language="ind", licence="public domain")
    found = list(of_hub(source, hub))
    assert len(found) > 20
    assert {(made.language, made.licence) for made in found} == {("ind", "public domain")}
    assert len({made.id for made in found}) == len(found)
    with pytest.raises(CurationError, match="the mirror has no"):
        list(of_hub(HubText(dataset="no/such", config="a", split="b", field="text", language="ind", licence=""), hub))


def test_what_is_left_out_need_not_be_counted(tmp_path: Path) -> None:
    counted: Counter[str] = Counter()
    path = rows(tmp_path / "a.jsonl", [{"text": "one"}])
    assert list(documents_of(path, Sources(), lambda _: None)) == list(documents_of(path, Sources(), lambda _: None, counted))
    assert counted == {}
