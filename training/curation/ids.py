"""The first layer of every chain: of documents with the same id the first is kept, as ids are how everything after refers to them.

Where a document was read, its shard does not say. Extraction leaves that beside the shards (`places/` beside `kept/`: file and row of each
document), and of the duplicates and what is kept in their stead this layer looks it up there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from training.curation import narrow
from training.curation.documents import Document
from training.curation.engine import Engine
from training.curation.layer import Decision, Judge, Layer

PLACES = "places"
AGAIN = "again.parquet"
Numbers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ids(Layer):
    """Drops what has the id of an earlier document, by shard and row."""

    name: ClassVar[str] = "ids"

    def prepare(self, shards: Sequence[Path], work: Path, engine: Engine) -> None:
        """Leaves again.parquet: position, file and row of all but the first of each id, file and row of that first; sorted by position."""
        import pyarrow
        import pyarrow.parquet

        starts = np.cumsum([0, *(narrow.rows([path]) for path in shards)], dtype=np.int64)
        every = np.empty(starts[-1], np.uint64)  # 8 bytes a document are all that comes back of a shard
        for number, hashes in enumerate(engine.map(_hashes, shards)):
            every[starts[number] : starts[number + 1]] = hashes
        known, firsts = np.unique(every, return_index=True)
        later = np.ones(len(every), np.bool_)
        later[firsts] = False
        again = np.flatnonzero(later)
        kept = firsts[np.searchsorted(known, every[again])]
        del known, firsts, every, later
        shard = np.searchsorted(starts, again, side="right") - 1
        file, row = _places(shards, starts, again)
        kept_file, kept_row = _places(shards, starts, kept)
        table = pyarrow.table(
            {"position": shard << 32 | again - starts[shard], "file": file, "row": row, "kept_file": kept_file, "kept_row": kept_row}
        )
        pyarrow.parquet.write_table(table, work / AGAIN, row_group_size=narrow.ROW_GROUP, compression="zstd")

    def judge(self, work: Path) -> Judge:
        """Drops what came again."""
        again = functools.lru_cache(maxsize=2)(functools.partial(_again, work / AGAIN))

        def judge(batch: Sequence[Document], shard: int, first: int) -> list[Decision]:
            plan = again(shard)
            return [_decision(made, plan.get(row)) for row, made in enumerate(batch, first)]

        return judge


def write_places(path: Path, files: Sequence[str], rows: Sequence[int]) -> None:
    """Leave file and row of each document of a shard."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"file": pyarrow.array(files, pyarrow.string()).dictionary_encode(), "row": pyarrow.array(rows, pyarrow.int64())})
    pyarrow.parquet.write_table(table, path, compression="zstd")


def _hashes(shard: Path) -> npt.NDArray[np.uint64]:
    """A hash of each id of a shard, read a row group at a time."""
    found = [narrow.keys(batch.column("id").to_pylist()) for _, batch in narrow.batches(shard, ("id",))]
    return np.concatenate([*found, np.empty(0, np.int64)]).view(np.uint64)


def _places(shards: Sequence[Path], starts: Numbers, wanted: Numbers) -> tuple[Any, Numbers]:
    """File (a dictionary array) and row of the documents of these numbers, counted over all shards."""
    import pyarrow
    import pyarrow.parquet

    order = np.argsort(wanted, kind="stable")
    ordered = wanted[order]
    names: dict[str, int] = {}
    codes, rows = np.empty(len(wanted), np.int32), np.empty(len(wanted), np.int64)
    for number, shard in enumerate(shards):
        low, high = np.searchsorted(ordered, starts[number : number + 2])
        if low == high:
            continue
        here = ordered[low:high] - starts[number]
        path = shard.parent.with_name(PLACES) / shard.name
        if path.is_file():
            table = pyarrow.parquet.read_table(path).take(pyarrow.array(here))
            file = table.column("file").combine_chunks()
            code = np.array([names.setdefault(name, len(names)) for name in file.dictionary.to_pylist()], np.int32)
            codes[order[low:high]] = code[file.indices.to_numpy()]
            rows[order[low:high]] = table.column("row").to_numpy()
        else:  # shards that no extraction made are the files that their documents were read in
            codes[order[low:high]] = names.setdefault(str(shard), len(names))
            rows[order[low:high]] = here + 1
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array(codes), pyarrow.array(list(names), pyarrow.string())), rows


def _again(path: Path, shard: int) -> dict[int, dict[str, Any]]:
    """Row in the shard -> the places of both documents, for what is dropped of it."""
    import pyarrow.parquet

    low, high = narrow.position(shard, 0), narrow.position(shard + 1, 0)
    found = pyarrow.parquet.read_table(path, filters=[("position", ">=", low), ("position", "<", high)]).to_pylist()
    return {place.pop("position") - low: place for place in found}


def _decision(made: Document, places: dict[str, Any] | None) -> Decision:
    if places is None:
        return Decision(document=made)
    detail = f"{_where(places['file'], places['row'])}; kept is {_where(places['kept_file'], places['kept_row'])}"
    return Decision(reason="duplicate id", detail=detail, told=places)


def _where(file: str, row: int) -> str:
    return f"row {row} of {file}" if row > 0 else file
