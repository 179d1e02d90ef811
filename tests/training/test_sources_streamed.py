"""A data set of the mirror is read as it is handed over: the same documents and errors as from rows in memory, and no more memory for more rows."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.pretraining import select, sources
from training.pretraining.sources import Document, SourceError, read
from training.recipe import HubText

SOURCE = HubText(dataset="some/set", config="main", split="train", field="text", language="ind", licence="CC0")
ROWS = 2_000
MEGABYTES = 8  # of text that ROWS of them hold; the larger set has it eight times
PEAK = """
import sys
from collections import Counter
from pathlib import Path
from training.curation.sources.hub import Mirrored, documents_of_set
from training.recipe import HubText

hub = Path(sys.argv[1])
text = HubText(dataset="some/set", config="main", split="train", field="text", language="ind", licence="CC0")
size = sum(len(made.text) for made in documents_of_set(Mirrored(text=text, hub=hub), Counter()))
told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(size, int(told["VmHWM"].split()[0]))
"""


def written(hub: Path, rows: list[dict[str, object]], suffix: str = ".jsonl", group: int = 500) -> Path:
    """The data set and its manifest."""
    path = hub / f"some/set/main/train{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    manifest = {path.relative_to(hub).as_posix(): {"rows": len(rows), "sha256": sources.file_digest(path)}}
    (hub / "MANIFEST.json").write_text(json.dumps(manifest))
    return path


def held(source: HubText, rows: list[dict[str, object]]) -> list[Document]:
    """What the rule for whole rows makes of rows that are all in memory: the reference."""
    found = []
    for key, members in select.every_row(rows, source.field):
        if text := "\n".join(str(rows[index][source.field]) for index in members if str(rows[index][source.field]).strip()):
            id_, cluster = f"some/set/main/train:text#{key}", f"some/set/train#{key}"
            found.append(Document(id=id_, text=text, language="ind", source=sources.name(source), licence="CC0", cluster=cluster))
    return found


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20), min_size=1, max_size=30))
def test_the_documents_are_those_of_rows_in_memory(tmp_path_factory: pytest.TempPathFactory, suffix: str, texts: list[str]) -> None:
    rows: list[dict[str, object]] = [{"id": number, "text": text, "other": "x"} for number, text in enumerate(["first", *texts])]
    hub = tmp_path_factory.mktemp("hub")
    written(hub, rows, suffix, group=7)
    assert list(read(SOURCE, hub, hub)) == held(SOURCE, rows)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory's peak is read from Linux's /proc")
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_eight_times_the_rows_need_no_more_memory(tmp_path: Path, suffix: str) -> None:
    peaks, sizes = [], []
    for times in (1, 8):
        hub, rng = tmp_path / str(times), random.Random(times)
        each = MEGABYTES * 2**20 // ROWS
        written(hub, [{"text": rng.randbytes(each // 2).hex(), "note": "x" * 20} for _ in range(ROWS * times)], suffix)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run([sys.executable, "-c", PEAK, str(hub)], capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        size, peak = map(int, done.stdout.split())
        sizes.append(size)
        peaks.append(peak / 1024)
    assert sizes == [each * ROWS, 8 * each * ROWS]
    assert peaks[1] - peaks[0] < 1.5 * MEGABYTES, peaks  # the text grew by seven times as much


# ---------------------------------------------------------------------------------------------------------------- faults


def first(hub: Path) -> Document:
    return next(read(SOURCE, hub, hub))


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (b'{"text": "dua"\n', r"train\.jsonl, line 3 is not JSON .*write one object a line"),
        (b'{"text": "\xff"}\n', r"train\.jsonl, line 3, byte 11 is not UTF-8; convert the file"),
        (b"[1]\n", r"train\.jsonl, line 3 is a list, not an object"),
        (b'{"text": "dua"}\n{"text": "tiga"}\n', r"train\.jsonl holds 4 rows, MANIFEST\.json says 3; fetch the file again"),
        (b"", r"train\.jsonl holds 2 rows, MANIFEST\.json says 3"),
        (b'{"text": "lima"}\n', r"is not the file of MANIFEST\.json \(its SHA-256 differs\)"),
    ],
)
def test_what_is_amiss_at_the_end_is_said_before_the_first_document(tmp_path: Path, last: bytes, said: str) -> None:
    path = written(tmp_path, [{"text": "nol"}, {"text": "satu"}, {"text": "dua"}])
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]) + last)
    with pytest.raises(SourceError, match=said):
        first(tmp_path)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_missing_field_is_named_with_those_that_are_there(tmp_path: Path, suffix: str) -> None:
    written(tmp_path, [{"isi": "satu", "judul": "a"}], suffix)
    with pytest.raises(SourceError, match="row 1 has no field 'text'; its fields are isi, judul"):
        first(tmp_path)


def test_a_damaged_row_group_is_said_before_the_first_document(tmp_path: Path) -> None:
    path = written(tmp_path, [{"text": f"teks nomor {number}"} for number in range(40)], ".parquet", group=20)
    data = bytearray(path.read_bytes())
    start = pyarrow.parquet.read_metadata(path).row_group(1).column(0).data_page_offset
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"(?s)train\.parquet is not a readable Parquet file .*fetch it again"):
        first(tmp_path)


def test_a_file_that_changes_while_it_is_read_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, [{"text": f"teks {number} {'x' * 1000}"} for number in range(3_000)])
    found = read(SOURCE, tmp_path, tmp_path)
    next(found)
    with path.open("a") as file:
        file.write('{"text": "satu lagi"}\n')
    with pytest.raises(SourceError, match="held 3000 rows and now holds 3001"):
        list(found)
