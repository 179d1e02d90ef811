"""Parquet files a row group at a time: asked for all groups at once, Arrow holds every one that it has read to the end of the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet


def batches(file: pyarrow.parquet.ParquetFile, rows: int, columns: Sequence[str] | None = None) -> Iterator[pyarrow.RecordBatch]:
    """The rows of a file in order, at most `rows` a batch, of these columns (None: all). No batch crosses a row group."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(batch_size=rows, row_groups=[group], columns=None if columns is None else list(columns))
