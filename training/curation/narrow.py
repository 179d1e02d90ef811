"""Narrow keys: the small tables a relational layer leaves of each shard, and how Daft reads them back in parts that fit memory.

Daft holds a whole grouping in memory and does not spill, so a query never sees more than AT_ONCE rows: the rows of one key are all in one part,
a range of keys. Files are sorted by key, so a part reads the row groups of its range only. A key is the 64-bit BLAKE2 of what it stands for:
among 10**9 different things two share a key with probability .03, and then one document is dropped, or one line removed, that should not be.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from training import parquet

if TYPE_CHECKING:
    import pyarrow

    from training.curation.engine import Engine

Keys = npt.NDArray[np.int64]

AT_ONCE = 5_000_000  # rows of one query: 12 million rows of line counts took 1.21 GB at once and 0.46 GB in parts of 3 million, in less CPU
ROW_GROUP = 65_536
LEAST, MOST = -(2**63), 2**63 - 1


def keys(texts: Iterable[str]) -> Keys:
    """The key of each text, int64 (signed: Parquet's statistics and Daft's literals are)."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64, copy=False)


def position(shard: int, row: int) -> int:
    """Shard and row as one number that sorts as they do; at most 2**31 shards of 2**32 rows."""
    return shard << 32 | row


def write(path: Path, columns: dict[str, Any]) -> None:
    """Write columns, among them `key`, as Parquet sorted by key."""
    import pyarrow
    import pyarrow.parquet

    order = np.argsort(columns["key"], kind="stable")
    table = pyarrow.table(columns).take(pyarrow.array(order))
    pyarrow.parquet.write_table(table, path, row_group_size=ROW_GROUP, compression="zstd")


def rows(files: Sequence[Path]) -> int:
    """How many rows the files hold, from their footers."""
    import pyarrow.parquet

    return sum(pyarrow.parquet.read_metadata(file).num_rows for file in files)


def in_parts(engine: Engine, files: Sequence[Path]) -> Iterator[Any]:
    """Daft data frames of the files' rows: every row in exactly one, rows of one key in the same. None where there is no row."""
    daft = engine.daft()
    number = math.ceil(rows(files) / AT_ONCE)
    if number == 0:
        return
    frame = daft.read_parquet([str(file) for file in files])
    bounds = [LEAST + part * 2**64 // number for part in range(number)]
    for low, high in zip(bounds, [*(bound - 1 for bound in bounds[1:]), MOST], strict=True):
        yield frame.where((daft.col("key") >= low) & (daft.col("key") <= high)) if number > 1 else frame


def batches(shard: Path, columns: Sequence[str]) -> Iterator[tuple[int, pyarrow.RecordBatch]]:
    """(first row, batch) of those of `columns` that the shard has, a row group in memory at a time."""
    import pyarrow.parquet

    from training.curation.documents import ROW_GROUP as TEXTS

    file = pyarrow.parquet.ParquetFile(shard)
    first = 0
    for batch in parquet.batches(file, TEXTS, [name for name in columns if name in file.schema_arrow.names]):
        yield first, batch
        first += batch.num_rows
