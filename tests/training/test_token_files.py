"""Tokenised corpora on disk: what is read is what was written, mapped or in memory, and a damaged one is named."""

from __future__ import annotations

import dataclasses
import errno
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.pretraining.mapped import HEADER, IDS, STARTS, Tokens, TokensError, Writer, dtype_of, join, write
from training.pretraining.packing import Corpus
from training.pretraining.stream import Stream

END = 0
FACTS: dict[str, Any] = {"name": "ind", "language": "ind", "tokenizer": "t", "bytes": 7, "sources": {"web": 2}, "licences": {"": 2}}
documents = st.lists(st.lists(st.integers(1, 2**16 - 1), max_size=12), min_size=1, max_size=10)


def small(directory: Path) -> Tokens:
    return write(directory, [[1, 2], [], [65_535]], dtype="uint16", end=END, **FACTS)


@settings(max_examples=40)
@given(found=st.lists(st.tuples(documents, st.integers(1, 200)), min_size=1, max_size=3), wide=st.booleans(), sequence=st.integers(2, 17))
def test_a_mapped_corpus_gives_the_reader_the_rows_of_one_in_memory(found: list, wide: bool, sequence: int) -> None:
    dtype = "uint32" if wide else "uint16"
    with tempfile.TemporaryDirectory() as directory:
        mapped, held = [], []
        for number, (texts, budget) in enumerate(found):
            facts = {**FACTS, "name": f"p{number}"}
            opened = write(Path(directory) / f"p{number}", texts, dtype=dtype, end=END, **facts)
            mapped.append(join([opened], f"p{number}", "ind", budget))
            held.append(Corpus.of(f"p{number}", "ind", texts, END, budget))
        ours, theirs = Stream(mapped, sequence, 3), Stream(held, sequence, 3)
        for one, other in zip(ours.rows(12), theirs.rows(12), strict=True):
            assert one.ids_T.tolist() == other.ids_T.tolist()
            assert one.lengths == other.lengths
        assert ours.state() == theirs.state()
        assert ours.facts() == theirs.facts()
        for one, other in zip(mapped, held, strict=True):
            assert one.ids_N.dtype == dtype
            assert one.starts_D1.tolist() == other.starts_D1.tolist()


@settings(max_examples=40)
@given(found=st.lists(documents, min_size=1, max_size=4), sequence=st.integers(2, 17))
def test_joined_corpora_give_the_rows_of_one(found: list, sequence: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        parts = [write(Path(directory) / str(n), texts, dtype="uint16", end=END, **FACTS) for n, texts in enumerate(found)]
        joined = join(parts, "p", "ind", 9)
        held = Corpus.of("p", "ind", [ids for texts in found for ids in texts], END, 9)
        assert joined.starts_D1.tolist() == held.starts_D1.tolist()
        assert len(joined.ids_N) == len(held.ids_N)
        ours, theirs = Stream([joined], sequence, 3), Stream([held], sequence, 3)
        for one, other in zip(ours.rows(12), theirs.rows(12), strict=True):
            assert (one.ids_T.tolist(), one.lengths) == (other.ids_T.tolist(), other.lengths)
        assert ours.facts() == theirs.facts()


def test_what_is_counted_on_the_way_stands_in_the_header(tmp_path: Path) -> None:
    counted = {"bytes": 0}

    def ids() -> Any:
        for number in range(1, 4):
            counted["bytes"] += number
            yield [number]

    facts = {name: value for name, value in FACTS.items() if name != "bytes"}
    assert write(tmp_path / "ind", ids(), dtype="uint16", end=END, counted=counted, **facts).header.bytes == 6


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    def ids() -> Any:
        yield [1]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(TokensError, match=r"the disk is full: .*ind is not written; free some space"):
        write(tmp_path / "ind", ids(), dtype="uint16", end=END, **FACTS)
    assert list(tmp_path.iterdir()) == []


def test_the_files_are_what_the_docstring_says(tmp_path: Path) -> None:
    opened = small(tmp_path / "ind")
    assert np.fromfile(tmp_path / "ind" / IDS, "<u2").tolist() == [1, 2, 0, 0, 65_535, 0]
    assert np.fromfile(tmp_path / "ind" / STARTS, "<i8").tolist() == [0, 3, 4, 6]
    assert sorted(path.name for path in (tmp_path / "ind").iterdir()) == sorted([IDS, STARTS, HEADER])
    assert dataclasses.asdict(opened.header) | FACTS == dataclasses.asdict(opened.header)
    assert (opened.header.documents, opened.header.tokens, opened.header.dtype, opened.header.end) == (3, 6, "uint16", END)
    opened.verify()


def test_maps_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        small(tmp_path / "ind").ids_N[0] = 3


def test_an_empty_corpus() -> None:
    with tempfile.TemporaryDirectory() as directory:
        opened = write(Path(directory) / "none", [], dtype="uint16", end=END, **FACTS)
        assert (opened.ids_N.tolist(), opened.starts_D1.tolist(), opened.header.documents) == ([], [0], 0)


@pytest.mark.parametrize(("vocabulary", "dtype"), [(256, "uint16"), (65_536, "uint16"), (65_537, "uint32"), (151_936, "uint32")])
def test_the_narrower_type_that_holds_a_vocabulary(vocabulary: int, dtype: str) -> None:
    assert dtype_of(vocabulary) == dtype
    assert np.iinfo(dtype).max >= vocabulary - 1


def test_ids_that_do_not_fit_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match="token 65536 does not fit uint16"):
        write(tmp_path / "ind", [[1], [65_536]], dtype="uint16", end=END, **FACTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [IDS, STARTS])
def test_a_file_cut_off_is_named_when_opened(tmp_path: Path, name: str) -> None:
    small(tmp_path / "ind")
    file = tmp_path / "ind" / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(TokensError, match=f"{name} has .* bytes, not the"):
        Tokens.open(tmp_path / "ind")


def test_a_flipped_byte_is_named_by_verify(tmp_path: Path) -> None:
    small(tmp_path / "ind")
    file = tmp_path / "ind" / IDS
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)
    with pytest.raises(TokensError, match=r"ids\.bin is not what its header names"):
        Tokens.open(tmp_path / "ind").verify()


def test_what_is_no_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match=r"has no header\.json"):
        Tokens.open(tmp_path)
    small(tmp_path / "ind")
    header = tmp_path / "ind" / HEADER
    header.write_text(json.dumps({**json.loads(header.read_text()), "format": 2}))
    with pytest.raises(TokensError, match="is of format 2"):
        Tokens.open(tmp_path / "ind")
    header.write_text('{"name": 1}')
    with pytest.raises(TokensError, match="damaged"):
        Tokens.open(tmp_path / "ind")


@given(found=documents, kept=st.integers(0, 10), torn=st.binary(max_size=9))
def test_a_writer_goes_on_where_it_was_told_to(found: list[list[int]], kept: int, torn: bytes) -> None:
    kept = min(kept, len(found))
    with tempfile.TemporaryDirectory() as name:
        first = Writer(Path(name), "uint16", END)
        for ids in found[:kept]:
            first.add(ids)
        first.sync()
        place = (first.documents, first.tokens)
        first.abandon()
        for file in (IDS, STARTS):  # what a kill may leave
            with (Path(name) / file).open("ab") as end:
                end.write(torn)
        second = Writer(Path(name), "uint16", END, *place)
        for ids in found[kept:]:
            second.add(ids)
        second.close(**FACTS)
        opened, whole = Tokens.open(Path(name)), Corpus.of("ind", "ind", found, END, 1)
        assert opened.ids_N.tolist() == whole.ids_N.tolist()
        assert opened.starts_D1.tolist() == whole.starts_D1.tolist()
        with pytest.raises(TokensError, match="it cannot be gone on with"):
            Writer(Path(name), "uint16", END, place[0] + 99, place[1] + 99)
