"""Shards: what is written is read again, and what cannot be read is told, with file, row and byte."""

from __future__ import annotations

import gc
import gzip
import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.curation import documents as shards
from training.curation.documents import CurationError, Document, Quarantined

WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=30)
EXTRA = st.dictionaries(st.sampled_from(["year", "score", "tags"]), st.one_of(st.integers(-9, 9), WORDS), max_size=3)
DOCUMENTS = st.lists(
    st.builds(
        Document, id=WORDS.filter(str.strip), text=WORDS.filter(str.strip), url=WORDS, language=st.sampled_from(["", "tha"]), extra=EXTRA
    ),
    max_size=6,
)


def read(path: Path) -> tuple[list[Document], list[Quarantined]]:
    amiss: list[Quarantined] = []
    return list(shards.read(path, amiss.append)), amiss


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
@given(made=DOCUMENTS)
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, suffix: str, made: list[Document]) -> None:
    path = tmp_path_factory.mktemp("shard") / f"a{suffix}"
    assert shards.write(path, made) == len(made)
    assert read(path) == (made, [])


@given(made=DOCUMENTS)
@settings(max_examples=25, deadline=None)
def test_parquet_keeps_every_column(tmp_path_factory: pytest.TempPathFactory, made: list[Document]) -> None:
    """A column of several types is kept as JSON text; one of a single type as it is; absent values come back as null."""
    path = tmp_path_factory.mktemp("shard") / "a.parquet"
    shards.write(path, made)
    found, amiss = read(path)
    assert not amiss
    assert [(one.id, one.text, one.url, one.language) for one in found] == [(one.id, one.text, one.url, one.language) for one in made]
    for before, after in zip(made, found, strict=True):
        for name, value in before.extra.items():
            assert after.extra[name] == value or json.loads(after.extra[name]) == value


def test_parquet_and_jsonl_hold_the_same_bytes_of_text(tmp_path: Path) -> None:
    made = [Document(id="a", text="ก\r\nข\u2028ค  "), Document(id="b", text="\ufeffmulai")]
    for suffix in shards.SUFFIXES:
        shards.write(tmp_path / f"a{suffix}", made)
        assert read(tmp_path / f"a{suffix}")[0] == made


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "Expecting"),
        (b"[1]", "a list, not an object"),
        (b'{"id": "a"}', "no `text`"),
        (b'{"text": 3}', "an int, not a string".replace("an int", "a int")),
        (b'{"text": "  \\n"}', "blank"),
        (b'{"text": "a\\u0000b"}', "U+0000 at character 1"),
        (b'{"text": "a\\ud800"}', "U+D800 at character 1"),
        (b'{"text": "a", "url": ["x"]}', "`url` is a list"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_row_that_cannot_be_read_is_told_and_the_others_are_read(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "satu"}\n' + line + b'\n{"text": "dua"}\n')
    found, amiss = read(path)
    assert [(one.id, one.text) for one in found] == [("a.jsonl#1", "satu"), ("a.jsonl#3", "dua")]
    assert len(amiss) == 1
    assert (amiss[0].file, amiss[0].row) == (str(path), 2)
    assert reason in amiss[0].reason
    assert 17 <= amiss[0].offset <= 17 + len(line)


def test_a_huge_line_is_passed_over_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LONGEST_LINE", 1000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "' + b"x" * 5_000_000 + b'"}\n{"text": "dua"}\n')
    found, amiss = read(path)
    assert [one.text for one in found] == ["dua"]
    assert [(one.row, one.offset) for one in amiss] == [(1, 0)]
    assert "longer than 1000 bytes" in amiss[0].reason


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_a_torn_stream_gives_what_it_holds_and_says_where_it_ends(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    many = [
        Document(id=str(number), text=f"{number} " + " ".join(str(number * step % 9973) for step in range(200))) for number in range(400)
    ]
    shards.write(path, many)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    found, amiss = read(path)
    assert found == many[: len(found)]
    assert 0 < len(found) < 400
    assert len(amiss) == 1
    assert "torn" in amiss[0].reason


def test_a_flipped_byte_in_gzip_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    data = bytearray(gzip.compress(b'{"text": "satu"}\n' * 3))
    data[-8] ^= 1  # of the checksum
    path.write_bytes(bytes(data))
    found, amiss = read(path)
    assert len(found) <= 3
    assert "torn" in amiss[0].reason


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all"])
def test_a_torn_parquet_file_is_a_clear_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    with pytest.raises(CurationError, match="no Parquet file, or a torn one"):
        read(path)


def test_a_parquet_without_text_names_its_columns(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"content": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(CurationError, match="no column `text` \\(it has content\\)"):
        read(tmp_path / "a.parquet")


def parquet(path: Path, rows: int = 2500) -> Path:
    """Rows of their own in groups of a thousand."""
    import pyarrow
    import pyarrow.parquet

    texts = [f"teks nomor {number} {'perahu ' * (number % 7)}" for number in range(1, rows + 1)]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path, row_group_size=1000, compression="zstd", use_dictionary=False)
    return path


def test_a_damaged_row_group_is_quarantined_and_the_others_are_read(tmp_path: Path) -> None:
    import pyarrow.parquet

    path = parquet(tmp_path / "a.parquet")
    place = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    middle = place.data_page_offset + place.total_compressed_size // 2
    data[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(bytes(data))
    found, amiss = read(path)
    assert [made.text.split()[2] for made in found] == [str(number) for number in (*range(1, 1001), *range(2001, 2501))]
    assert [(one.row, one.offset) for one in amiss] == [(1001, place.data_page_offset)]
    assert "row group 1 is damaged, rows 1001 to 2000 are lost" in amiss[0].reason


def test_bytes_that_are_no_text_in_a_parquet_column_cost_their_row_alone(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    torn = pyarrow.array([b"satu", b"du\xff\xfea", b"tiga"], pyarrow.binary()).cast(pyarrow.string(), safe=False)
    pyarrow.parquet.write_table(pyarrow.table({"text": torn}), path)
    found, amiss = read(path)
    assert [made.text for made in found] == ["satu", "tiga"]
    assert [one.row for one in amiss] == [2]
    assert "codec can't decode" in amiss[0].reason


@pytest.mark.parametrize("value", [2**80, "\ud800 alone", [2**70]])
def test_a_column_that_arrow_has_no_type_for_is_carried_as_json(tmp_path: Path, value: object) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "satu", "extra": value}) + "\n" + json.dumps({"text": "dua", "extra": None}) + "\n")
    found, amiss = read(path)
    assert not amiss
    shards.write(tmp_path / "b.parquet", found)
    again, _ = read(tmp_path / "b.parquet")
    assert [made.text for made in again] == ["satu", "dua"]
    assert json.loads(again[0].extra["extra"]) == value


def test_an_empty_shard_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    assert read(tmp_path / "a.jsonl") == ([], [])
    shards.write(tmp_path / "a.parquet", [])
    assert read(tmp_path / "a.parquet") == ([], [])


def test_a_failed_write_leaves_no_shard(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        shards.write(tmp_path / "a.jsonl", [Document(id="a", text="\ud800")])
    assert not (tmp_path / "a.jsonl").exists()


def test_patterns_name_files_once_and_a_missing_one_is_told(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.parquet", "notes.txt", ".hidden.jsonl"):
        (tmp_path / name).touch()
    found = shards.files_of([str(tmp_path), str(tmp_path / "*.jsonl")])
    assert [path.name for path in found] == ["a.parquet", "b.jsonl"]
    with pytest.raises(CurationError, match=r"--input .*gone\*"):
        shards.files_of([str(tmp_path / "gone*")])


@given(sizes=st.lists(st.integers(1, 40), max_size=30))
@settings(max_examples=30, deadline=None)
def test_shards_keep_the_order_and_their_limits(sizes: list[int]) -> None:
    made = [Document(id=str(index), text="x" * size) for index, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_DOCUMENTS", 4)
        patch.setattr(shards, "SHARD_BYTES", 60)
        parts = [list(part) for part in shards.in_shards(made)]
    assert [one for part in parts for one in part] == made
    assert all(1 <= len(part) <= 4 and sum(len(one.text) for one in part[:-1]) < 60 for part in parts)


def test_a_parquet_shard_is_what_arrow_writes_of_the_whole_table(tmp_path: Path) -> None:
    made = [
        Document(
            id=str(row), text="กข\n" * (row % 7 + 1), extra={"year": row} if row % 3 else {"year": row, "tags": ["a", row][row // 1_500]}
        )
        for row in range(2_500)
    ]
    assert shards.write(tmp_path / "a.parquet", iter(made)) == len(made)
    columns = {name: pyarrow.array([getattr(one, name) for one in made], pyarrow.string()) for name in shards.COLUMNS}
    tags = [one.extra.get("tags") for one in made]  # of two types: as JSON
    columns["tags"] = pyarrow.array([None if tag is None else json.dumps(tag) for tag in tags])
    columns["year"] = pyarrow.array([one.extra["year"] for one in made])
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "b.parquet", row_group_size=shards.ROW_GROUP, compression="zstd")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


@pytest.mark.parametrize("suffix", shards.SUFFIXES)
def test_of_a_shard_two_row_groups_of_documents_are_held_and_no_more(tmp_path: Path, suffix: str) -> None:
    alive: list[weakref.ref[Document]] = []
    most = 0

    def made() -> Iterator[Document]:
        nonlocal most
        for row in range(6 * shards.ROW_GROUP):
            one = Document(id=str(row), text="x")
            alive.append(weakref.ref(one))
            if row % 500 == 0:
                gc.collect()
                most = max(most, sum(ref() is not None for ref in alive))
            yield one

    for number, part in enumerate(shards.in_shards(made())):
        shards.write(tmp_path / f"{number}{suffix}", part)
    assert len(alive) == 6 * shards.ROW_GROUP
    assert most <= 2 * shards.ROW_GROUP + 2


def test_a_parquet_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def made() -> Iterator[Document]:
        yield Document(id="a", text="one")
        raise CurationError("stop")

    with pytest.raises(CurationError, match="stop"):
        shards.write(tmp_path / "a.parquet", made())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_a_document_knows_its_row_and_where_bytes_have_places_its_byte(tmp_path: Path, suffix: str) -> None:
    made = [Document(id=str(number), text=f"teks ก {number}") for number in range(5)]
    shards.write(tmp_path / f"a{suffix}", made)
    shards.write(tmp_path / "b.jsonl", made)
    found, _ = read(tmp_path / f"a{suffix}")
    assert [one.place.row for one in found] == [1, 2, 3, 4, 5]
    data = (tmp_path / "b.jsonl").read_bytes()
    starts = [0, *(at + 1 for at, byte in enumerate(data[:-1]) if byte == 10)]
    assert [one.place.offset for one in found] == ([-1] * 5 if suffix == ".parquet" else starts)
    assert found == made  # where it stands is no part of what it is
    assert "place" not in found[0].row()


def test_a_lone_surrogate_beside_the_text_is_escaped_and_costs_no_document(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "satu", "id": "\\ud800", "url": "http://a.example/\\udfff", "source": "\\ud801x"}\n')
    (made,), amiss = read(tmp_path / "a.jsonl")
    assert not amiss
    assert (made.id, made.url, made.source) == ("\\ud800", "http://a.example/\\udfff", "\\ud801x")
    shards.write(tmp_path / "a.parquet", [made])
    assert read(tmp_path / "a.parquet")[0] == [made]


@pytest.mark.parametrize("suffix", shards.SUFFIXES)
def test_the_same_documents_are_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        made = (Document(id=str(number), text=f"teks {number}") for number in range(2 * shards.ROW_GROUP + 1))
        assert shards.write(tmp_path / f"{name}{suffix}", made) == 2 * shards.ROW_GROUP + 1
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_line_leaves_out_what_has_no_value(tmp_path: Path) -> None:
    """NaN is no JSON, and null no column: each reads back as absent."""
    shards.write(tmp_path / "a.jsonl", [Document(id="1", text="satu", extra={"score": float("nan"), "year": None, "tags": ["a"], "n": 0})])
    assert "NaN" not in (tmp_path / "a.jsonl").read_text()
    (made,), _ = read(tmp_path / "a.jsonl")
    assert made.extra == {"tags": ["a"], "n": 0}
