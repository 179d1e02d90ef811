"""One document a URL: the longest of those whose addresses have one canonical form (3.1; in the paper half of all tokens go here).

    python -m training.curation url --input a.jsonl --output out/ [--set url.unit=bytes]

First pass: of each shard (key of the address, length, place, id), then Daft finds the places to drop. Documents with no address, or one that is
none, pass untouched and are counted. Characters and bytes choose differently in mixed scripts, so the unit is a setting.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from training.curation import narrow
from training.curation.addresses import canonical
from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.layer import Decision, Judge, Layer

Unit = Literal["characters", "bytes"]
REASON = "same URL"
NO_URL, NOT_A_URL = "documents without a URL", "documents whose URL is none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Url(Layer):
    """Keeps the longest document of a URL, in `unit`; of equally long ones the first, by shard and row."""

    name: ClassVar[str] = "url"
    version: ClassVar[int] = 1
    unit: Unit = "characters"

    def __post_init__(self) -> None:
        """Refuse a unit that is none."""
        if self.unit not in get_args(Unit):
            raise CurationError(f"url.unit is {self.unit!r}; the longest document is that of most {' or '.join(get_args(Unit))}")

    def prepare(self, shards: Sequence[Path], work: Path, engine: Engine) -> None:
        """Leaves dropped-NNN.parquet: (position, kept_id), sorted by position."""
        aside = work / "keys"
        aside.mkdir()
        files = list(engine.map(functools.partial(_keys, aside=aside, unit=self.unit), list(enumerate(shards))))
        for number, part in enumerate(narrow.in_parts(engine, files)):
            _write_dropped(engine, part, work / f"dropped-{number:03d}.parquet")
        shutil.rmtree(aside)

    def judge(self, work: Path) -> Judge:
        """Drops what the plan names."""
        dropped = functools.lru_cache(maxsize=2)(functools.partial(_dropped, work))

        def judge(documents: Sequence[Document], shard: int, first: int) -> list[Decision]:
            plan = dropped(shard)
            return [_decision(document, plan.get(row)) for row, document in enumerate(documents, first)]

        return judge


def _keys(item: tuple[int, Path], aside: Path, unit: Unit) -> Path:
    """The narrow table of one shard: a row for each document whose URL is one."""
    import pyarrow
    import pyarrow.compute as compute

    number, shard = item
    measure = compute.utf8_length if unit == "characters" else compute.binary_length
    columns: dict[str, list[Any]] = {"key": [], "length": [], "position": [], "id": []}
    for first, batch in narrow.batches(shard, ("id", "url", "text")):
        if "url" not in batch.schema.names:
            break
        addresses = [canonical(url or "") for url in batch.column("url").to_pylist()]
        found = [row for row, address in enumerate(addresses) if address]
        ids = batch.column("id").to_pylist() if "id" in batch.schema.names else [None] * batch.num_rows
        columns["key"].append(narrow.keys(addresses[row] for row in found))
        columns["length"].append(measure(batch.column("text")).cast(pyarrow.int64()).to_numpy(zero_copy_only=False)[found])
        columns["position"].append(np.array([narrow.position(number, first + row) for row in found], dtype=np.int64))
        columns["id"] += [ids[row] or f"{shard.name}#{first + row + 1}" for row in found]
    file = aside / f"{number:05d}.parquet"
    joined = {name: np.concatenate([np.empty(0, dtype=np.int64), *columns[name]]) for name in ("key", "length", "position")}
    narrow.write(file, {**joined, "id": pyarrow.array(columns["id"], pyarrow.string())})
    return file


def _write_dropped(engine: Engine, part: Any, file: Path) -> None:
    import pyarrow.parquet

    col = engine.daft().col
    # Most addresses occur once: the rest goes on with those that do not. Ids stay in the file until the dropped are known.
    often = part.groupby("key").agg(col("length").max().alias("longest"), col("length").count().alias("times")).where(col("times") > 1)
    repeated = part.select("key", "length", "position").join(often.select("key", "longest"), on="key")
    kept = repeated.where(col("length") == col("longest")).groupby("key").agg(col("position").min().alias("kept"))
    dropped = repeated.join(kept, on="key").where(col("position") != col("kept")).select("position", "kept").collect()
    ids = part.select(col("position").alias("kept"), col("id").alias("kept_id"))
    table = dropped.join(ids, on="kept").select("position", "kept_id").to_arrow().sort_by("position")
    pyarrow.parquet.write_table(table, file, row_group_size=narrow.ROW_GROUP, compression="zstd")


def _dropped(work: Path, shard: int) -> dict[int, str]:
    """Row -> id of the kept document, for the rows of a shard that are dropped."""
    import pyarrow.parquet

    low, high = narrow.position(shard, 0), narrow.position(shard + 1, 0)
    found: dict[int, str] = {}
    for file in sorted(work.glob("dropped-*.parquet")):
        table = pyarrow.parquet.read_table(file, filters=[("position", ">=", low), ("position", "<", high)])
        found.update(zip((table.column("position").to_numpy() - low).tolist(), table.column("kept_id").to_pylist(), strict=True))
    return found


def _decision(document: Document, kept: str | None) -> Decision:
    if kept is not None:
        return Decision(reason=REASON, detail=f"kept is {kept}")
    if not document.url:
        return Decision(document=document, counts={NO_URL: 1})
    return Decision(document=document, counts={} if canonical(document.url) else {NOT_A_URL: 1})
