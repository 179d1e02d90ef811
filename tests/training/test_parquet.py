"""Parquet a row group at a time: the rows of the file, and no more of them in memory."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from training import parquet

GROUPS, ROWS, BYTES = 40, 50, 4_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 row groups of 50 texts, 8 MB in all."""
    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    texts = [f"{number:05d}" * (BYTES // 5) for number in range(GROUPS * ROWS)]
    table = pyarrow.table({"number": range(GROUPS * ROWS), "text": texts})
    pyarrow.parquet.write_table(table, path, row_group_size=ROWS, use_dictionary=False)
    return path


@pytest.mark.parametrize("rows", [7, 50, 1_000])
@pytest.mark.parametrize("columns", [None, ("text",), ("text", "number")])
def test_batches_are_the_rows_of_the_file_in_order(file: Path, rows: int, columns: tuple[str, ...] | None) -> None:
    found = list(parquet.batches(pyarrow.parquet.ParquetFile(file), rows, columns))
    assert pyarrow.Table.from_batches(found).equals(
        pyarrow.parquet.read_table(file, columns=None if columns is None else list(columns)).select(found[0].schema.names)
    )
    assert max(batch.num_rows for batch in found) == min(rows, ROWS)


def test_memory_is_that_of_a_row_group_and_not_of_the_file(file: Path) -> None:
    opened = pyarrow.parquet.ParquetFile(file)
    before = pyarrow.total_allocated_bytes()
    most = max(pyarrow.total_allocated_bytes() - before for _ in parquet.batches(opened, ROWS, ["text"]))
    assert most < 5 * ROWS * BYTES < GROUPS * ROWS * BYTES / 4
